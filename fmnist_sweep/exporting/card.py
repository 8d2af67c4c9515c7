"""The model card: what the manifest says, for people (after Mitchell et al., Model Cards for Model Reporting, 2019)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fmnist_sweep.data import FASHION_MNIST
from fmnist_sweep.wording import points

FILE = "MODEL_CARD.md"

_USE = """\
For telling which kind of clothing a small grey picture shows: for teaching, for trying out how a model is
put to use, and as a yardstick for other nets on this data set. Not for anything that matters to a person: the data
are a shop's product pictures, and how the model does on other pictures was not measured."""

_LIMITS = """\
- It takes grey pictures of {height}x{width} pixels with one piece of clothing, upright, in the middle, filling the
  frame, light on a dark ground. Larger pictures must be scaled down first, which the example does.
- Dark on light, as photographs mostly are, it is lost: with dark and light exchanged, {inverted} of the validation
  images are classified correctly. Invert such pictures first.
- It names one of its {classes} classes whatever the picture shows. A high probability is no proof: probabilities were
  not calibrated."""

_DATA = """\
[Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist): 70,000 grey product pictures in classes of equal
size, by Zalando SE, MIT licence (Xiao, Rasul and Vollgraf, *Fashion-MNIST: a Novel Image Dataset for
Benchmarking Machine Learning Algorithms*, arXiv 1708.07747, 2017). Trained on {training:,} images; {validation:,} more
chose between epochs and nets; the data set's 10,000 test images {test}.
Some test images have near-duplicates among the training images (arXiv 1906.08255)."""

_OTHER_USE = """\
For telling which of {names} a picture shows, where the picture is of the same kind as those of the data set
{name}. How it does on other pictures was not measured."""

_OTHER_LIMITS = """\
- It takes {colour} pictures of {height}x{width} pixels. Others must be brought to that size first, which the example
  does.
- With dark and light exchanged, {inverted} of the validation images are classified correctly.
- It names one of its {classes} classes whatever the picture shows. A high probability is no proof: probabilities were
  not calibrated."""

_OTHER_DATA = """\
The data set {name}, files that the sweep named (MD5: {sums}). {about} Trained on {training:,} images;
{validation:,} more chose between epochs and nets; the test images {test}."""

_NO_PART = "had no part in either"
_JUDGED = "judged nets in the finals, and so had a part in naming this one the champion"
_TRIED = "scored nets in the finals, and had no part in naming this one the champion: so few seeds give no verdict"


def text(manifest: dict[str, Any]) -> str:
    """The card in Markdown, from the manifest alone."""
    sections = {
        "What it is for": _use(manifest),
        "How good it is": _accuracy(manifest),
        "What it can't do": _limits(manifest),
        "Data": _data(manifest),
        "Training": _training(manifest),
        "Files": _files(manifest),
        "Checksums": _checksums(manifest),
    }
    head = (
        f"# {manifest['name']}\n\nA classifier of {_what(manifest)}: {manifest['net']}; "
        f"{manifest['parameters']:,} parameters, {manifest['flops'] / 1e6:,.1f} million floating-point operations an "
        f"image. Input: {_shape(manifest)}. Output: the probability of each of {', '.join(manifest['classes'])}.\n"
    )
    return "\n".join([head, *(f"## {title}\n\n{body}\n" for title, body in sections.items())])


def _shape(manifest: dict[str, Any]) -> str:
    height, width, channels = manifest["input"]["shape"]
    return f"raw pixels from 0 to 255, float32, shape (images, {height}, {width}, {channels})"


def _accuracy(manifest: dict[str, Any]) -> str:
    found = manifest["accuracy"]
    validation, weights, net = found["validation"], found["test"]["weights"], found["test"]["net"]
    rows = [("validation", validation, "these weights")]
    rows += [("test", weights, "these weights")] if weights else []
    rows += [("test", net, f"the net trained under {len(net['by_seed'])} seeds: their mean")] if net else []
    table = _table(
        ("images", "how many", "accuracy", "95 % interval", "of"),
        ((name, f"{it['images']:,}", _percent(it["accuracy"]), _interval(it), of) for name, it, of in rows),
    )
    by_class = ", ".join(f"{name} {_percent(share)}" for name, share in validation["by_class"].items())
    confused = "; ".join(f"{pair['is']} for {pair['taken_for']} ({pair['images']})" for pair in validation["confused"])
    mistaken = f"Most often mistaken: {confused}. " if confused else ""
    return (
        f"{table}\n\nThe validation score is {manifest['source']['chosen']}; such a choice flatters. "
        f"{_tested(weights, net, crowned=_crowned(manifest))}\n\n"
        f"On the validation images. By class: {by_class}. {mistaken}"
    ).rstrip()


def _crowned(manifest: dict[str, Any]) -> str:
    """What made the model the finals' champion, who export no other of theirs; "" for all other models."""
    source = manifest["source"]
    return str(source.get("crowned_by", "verdicts")) if str(source["job"]).startswith("final-") else ""


def _tested(weights: dict[str, Any] | None, net: dict[str, Any] | None, *, crowned: str) -> str:
    """What the test scores are of."""
    if not net:
        return "" if weights else "The test set was not used for this net; `compare` judges nets on it."
    by_seed = ", ".join(_percent(value) for value in net["by_seed"].values())
    told = f"By seed, the net's test scores are {by_seed}, each after the last epoch, under seeds new to the search."
    if crowned == "verdicts":
        told += " The finals' verdicts on these images had a part in naming it the champion, which may flatter, too."
    return told if weights else f"{told} The weights in this folder were not tested themselves."


def _fashion(manifest: dict[str, Any]) -> bool:
    return bool(manifest["data"]["name"] == FASHION_MNIST.name)


def _what(manifest: dict[str, Any]) -> str:
    return "clothing" if _fashion(manifest) else f"the images of {manifest['data']['name']}"


def _use(manifest: dict[str, Any]) -> str:
    if _fashion(manifest):
        return _USE
    return _OTHER_USE.format(names=", ".join(manifest["classes"]), name=manifest["data"]["name"])


def _limits(manifest: dict[str, Any]) -> str:
    height, width, channels = manifest["input"]["shape"]
    return (_LIMITS if _fashion(manifest) else _OTHER_LIMITS).format(
        inverted=_percent(manifest["accuracy"]["validation"]["inverted_accuracy"]),
        classes=len(manifest["classes"]),
        height=height,
        width=width,
        colour="grey" if channels == 1 else "colour",
    )


def _data(manifest: dict[str, Any]) -> str:
    part = {"verdicts": _JUDGED, "validation": _TRIED}.get(_crowned(manifest), _NO_PART)
    data = {**manifest["data"], "test": part}
    if _fashion(manifest):
        return _DATA.format(**data)
    sums = ", ".join(f"{md5} {name}" for name, md5 in data["files"].items())
    about = data["about"] or "Its source and licence were not stated."
    return _OTHER_DATA.format(**{**data, "about": about, "sums": sums})


def _training(manifest: dict[str, Any]) -> str:
    train, source = manifest["train"], manifest["source"]
    recipe = ", ".join(
        f"{name.replace('_', ' ')} {value}"
        for name, value in train.items()
        if name != "seed" and value not in (0, False, "constant")
    )
    commit = f" at commit {source['git_commit'][:12]}" if source["git_commit"] else ""
    run = f", MLflow's run {source['run_id']}" if source["run_id"] else ""
    versions = ", ".join(f"{name} {number}" for name, number in manifest["versions"].items())
    tools = ", ".join(f"{name} {number}" for name, number in manifest["exported_with"].items())
    return (
        f"Study {source['study']}, {source['job']}{run}, by fmnist_sweep{commit}: {recipe}, seed {train['seed']}; "
        f"the weights are those after epoch {source['epoch']:g}. "
        f"{source['train_s']:.0f} s of training on {source['machine']}.\n\n"
        f"Trained with {versions}. Exported with {tools}."
    )


def _files(manifest: dict[str, Any]) -> str:
    formats = manifest["formats"]
    table = _table(
        ("format", "path", "size", "same class", "largest difference", "one image", "64 images"),
        (
            (
                name,
                f"`{it['path']}`",
                f"{it['bytes'] / 1e6:.2f} MB",
                f"{100 * it['argmax_agreement']:.6g} %",
                f"{it['max_abs_difference']:.1g}",
                f"{it['latency_ms']:.3g} ms",
                f"{it['batch_latency_ms']:.3g} ms",
            )
            for name, it in formats.items()
        ),
    )
    images = next(iter(formats.values()))["images"]
    note = (
        f"Each format was compared with the original on the {images:,} test images (images alone, no label), on the "
        "machine that exported it. Each has an `example_*.py` beside it; `manifest.json` holds all of this for "
        "programs."
    )
    lossy = [
        f" In 8-bit integers ({name}) {_percent(it['val_accuracy'])} of the validation images are right, "
        f"{points(-it['val_accuracy_loss'])} points against the original."
        for name, it in formats.items()
        if "val_accuracy" in it
    ]
    return f"{table}\n\n{note}{''.join(lossy)}"


def _checksums(manifest: dict[str, Any]) -> str:
    sums = {name: value for it in manifest["formats"].values() for name, value in it["files"].items()}
    lines = "\n".join(f"{value}  {name}" for name, value in sums.items())
    return f"SHA-256, as `sha256sum --check` reads them:\n\n```\n{lines}\n```"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _interval(found: dict[str, Any]) -> str:
    return f"{100 * found['low']:.2f} to {100 * found['high']:.2f} %"
