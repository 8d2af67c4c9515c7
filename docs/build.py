"""Builds the pages that are taken from the code: ``python -m docs.build`` (or ``make docs``).

``sweep-files.md`` comes from the schema of sweep files, ``commands.md`` from what ``--help`` prints. The tests compare
the committed pages with what this gives.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import typer
import typer.core
from pydantic import BaseModel

from fmnist_sweep import cli, config, mistakes, space  # noqa: F401  (loading cli puts the commands into app)
from fmnist_sweep.app import app
from fmnist_sweep.arch import ArchSpec, BlockSpec, TrainSpec
from fmnist_sweep.schema import ARCH_KEYS, BLOCK_KEYS, SPACE_KEYS, TRAIN_KEYS, Domain, SweepConfig

FOLDER = Path(__file__).resolve().parent
WIDTH = 80

_GENERATED = "<!-- Built by `make docs` from the code. Change it there. -->"
_WRONG = "?"  # no key takes this
_OWN_WORDS = {
    "depth": "Number of convolutional blocks; 0 makes a fully connected net.",
    "dense_units": "Units of the hidden dense layer; 0 for none.",
}

_SWEEP_FILES = """\
# Sweep files

A sweep file says what is searched, how, on which images, and when to stop. It is TOML. Five are shipped
(`python -m fmnist_sweep sweeps` lists them); copy one and pass it with `--sweep my.toml`:

```toml
{example}
```

Mistakes in a file are reported together, each with its key, its value and what would be valid; one in a section may
hide how its keys fit together. `python -m
fmnist_sweep preview --sweep my.toml` shows in seconds what a file would train and what that would cost.

What makes a study is fixed when it is begun: the space and how it is searched, rungs, limits, seed, images. A later run
that names a sweep with another value for one of these is refused, with the difference named; without `--sweep`, `run
--study NAME` goes on as the study was begun. `study.trials`, `study.keep_models`, the lab's nets and where image files
are may change at any time: what the last run that named the sweep found there holds for all commands until another
does. So may `study.patience`, by `--patience`. The title, and what the images are called and said to be, may change
too; a study shows those that it was begun with.

Only `title` and `[space]` must be there.
"""

_SPACE = """\
## [space]

What a net may be. Each key holds one of:

| form | meaning |
| --- | --- |
| `filters = 32` | one value, not searched |
| `filters = [32, 64, 128]` | one value for each block (keys of blocks only), not searched |
| `filters = {{ choices = [16, 32, 64] }}` | one of these |
| `dropout = {{ low = 0.0, high = 0.5, step = 0.25 }}` | a range; without `step` any number, for whole numbers 1 |
| `learning_rate = {{ low = 0.0005, high = 0.005, log = true }}` | a range drawn on a logarithmic scale |
| `filters = {{ choices = [16, 32], per = "block" }}` | each block draws its own (keys of blocks only) |

A key that is left out keeps its default. A key that can't matter in a net (the dropout of a dense layer that is not
there) is not drawn for it. What a table of such a key may hold:

{domain}

### Keys of a block

{blocks}

### Keys of the net

{net}

### Keys of the recipe

{recipe}
"""

_CASES = """\
## [cases.NAME]

Named bundles of fixed values, for an ablation: where there are any, each trial takes one of them, and its values stand
in for those of `[space]`. `batchnorm` is such a sweep; with `sampler = "grid"` each case is trained under every seed:

```toml
{example}
```
"""

_DATA = """
Without `train`, the images are Fashion-MNIST's. With it, they are your own:

```toml
[data]
train = "birds/train.npz"
test = "birds/test.npz"
class_names = ["crow", "finch", "owl"]
about = "Photographs of the bird station, 2024, CC BY 4.0."
```

- Images are unsigned bytes, raw pixels from 0 to 255: (images, height, width) for grey ones, with 1 or 3 as a fourth
  dimension otherwise. Labels are whole numbers from 0 on, one for each image. Shape and classes are read from the
  files.
- An `.npz` file holds `images` and `labels`; or `train_images`, `train_labels`, and the same with `val_` and `test_`;
  or `x_train`, `y_train`, `x_val`, `x_test` and so on. Nothing in it is unpickled.
- A pair of IDX files, packed by gzip or not: `train = ["train-images.gz", "train-labels.gz"]`.
- What has no file of its own is a share of `train`, drawn class by class, always the same. The search never reads the
  test images.
- The training images are shuffled once, always the same way, so `train_images = 1000` is a fair sample even of a file
  that is sorted by class. (Fashion-MNIST's keep their order, as in the lab's notebook.)
- Paths start at the sweep file's folder, and may lead anywhere that you may read. A file that has moved is looked for
  by its name in `--data-dir`. MD5 sums are recorded, and a study refuses files whose content is not what it was.
- `python -m fmnist_sweep data --sweep my.toml` checks the files and tells shape, classes and split.
- The lab's nets are built for your images; of `all`, those that don't fit (three poolings need 8 pixels a side) are
  left out. The lab's three claims are about Fashion-MNIST, so on other images none is decided.
"""

_COMMANDS = """\
# Commands

What `--help` prints. `fmnist-sweep` is the same program as `python -m fmnist_sweep`.

Output for people goes to standard error. With `--json` the last thing on standard output is one JSON object. Exit
codes: 0 done, or out of the time that `--timeout` gave; 1 it could not go on (one line says why, `-v` shows the
traceback, and `--json` prints nothing), or something is left open, as a finding of `doctor`, a format that `export`
refuses, what could not be delivered to MLflow, or a `compare` out of time; 2 wrong usage or sweep file; 130
interrupted, and the same command goes on (without `--fresh`).
"""


def pages() -> dict[str, str]:
    """Every built page, by its file's name."""
    return {"sweep-files.md": sweep_files(), "commands.md": commands()}


def sweep_files() -> str:
    """The reference of sweep files."""
    parts = [_GENERATED, "", _SWEEP_FILES.format(example=_shipped("smoke"))]
    for name, field in SweepConfig.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            parts += [f"## [{name}]", "", f"{_first(model)}", "", _of_model(model)]
            parts += [_DATA] if name == "data" else [""]
    parts += [_space(), _CASES.format(example=_shipped("batchnorm"))]
    return "\n".join(parts)


def commands() -> str:
    """The reference of commands."""
    program = typer.main.get_command(app)
    assert isinstance(program, typer.core.TyperGroup)
    context = program.make_context("python -m fmnist_sweep", [], resilient_parsing=True, terminal_width=WIDTH)
    parts = [_GENERATED, "", _COMMANDS, _fenced(program.get_help(context))]
    for name, command in program.commands.items():
        inner = command.make_context(name, [], parent=context, resilient_parsing=True, terminal_width=WIDTH)
        parts += ["", f"## {name}", "", _fenced(command.get_help(inner))]
    return "\n".join(parts) + "\n"


def main() -> None:
    """Writes the pages that have changed."""
    for name, text in pages().items():
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(FOLDER.parent)}")


def _fenced(text: str) -> str:
    return "\n".join(["```", *(line.rstrip() for line in text.strip().splitlines()), "```"])


def _shipped(name: str) -> str:
    return (config.folder() / f"{name}.toml").read_text(encoding="utf-8").strip()


def _of_model(model: type[BaseModel]) -> str:
    about = _attributes(model)
    return _table(
        ("key", "what it is", "valid", "default"),
        (
            (f"`{key}`", about[key], _valid(key, field), _shown(field.get_default(call_default_factory=True)))
            for key, field in model.model_fields.items()
        ),
    )


def _space() -> str:
    defaults = _defaults()
    about = {**_attributes(ArchSpec), **_attributes(BlockSpec), **_attributes(TrainSpec), **_OWN_WORDS}
    groups = {"blocks": BLOCK_KEYS, "recipe": TRAIN_KEYS, "net": [key for key in ARCH_KEYS if key not in BLOCK_KEYS]}
    tables = {
        name: _table(
            ("key", "what it is", "valid", "default"),
            (
                (f"`{key}`", about[key], _valid_by_complaint({"space": {key: _WRONG}}), _shown(defaults[key]))
                for key in keys
            ),
        )
        for name, keys in groups.items()
    }
    return _SPACE.format(domain=_of_model(Domain), **tables)


def _valid_by_complaint(wrong: dict[str, Any]) -> str:
    """What the reader of sweep files says would be valid, in place of a wrong value."""
    (line,) = mistakes.in_space(wrong)
    return _plain(line.partition("valid: ")[2])


def _defaults() -> dict[str, Any]:
    """What a space without any key draws."""
    empty = SweepConfig(title="defaults", space={})
    arch, train = space.sample(empty, space.RandomSuggest(0), input_shape=(64, 64, 1), classes=2)
    block = {key: getattr(arch.blocks[0], key) for key in BLOCK_KEYS}
    own = {"depth": len(arch.blocks), "dense_units": sum(arch.dense)}
    rest = {
        key: getattr(train if key in TRAIN_KEYS else arch, key) for key in SPACE_KEYS if key not in {**block, **own}
    }
    return {**block, **own, **rest}


def _attributes(documented: type) -> dict[str, str]:
    """What a class's docstring says of each attribute; of its own text, for one that it speaks of nowhere else."""
    text = inspect.getdoc(documented) or ""
    found = {}
    for entry in re.split(r"\n(?=    \w+: )", text.partition("Attributes:\n")[2]):
        name, _, words = entry.strip().partition(": ")
        found[name] = _plain(words)
    rest = {key: _plain(text.partition("\n")[0]) for key in _keys(documented) if key not in found}
    return {**rest, **found}


def _keys(documented: type) -> list[str]:
    if issubclass(documented, BaseModel):
        return list(documented.model_fields)
    assert is_dataclass(documented)
    return [field.name for field in fields(documented)]


def _first(model: type[BaseModel]) -> str:
    return _plain((inspect.getdoc(model) or "").partition("\n\n")[0])


def _plain(text: str) -> str:
    """A docstring's words as Markdown, on one line."""
    return re.sub(r"\s+", " ", text).replace("``", "`").strip()


def _valid(key: str, field: Any) -> str:
    """What a key may hold, from its type and its limits."""
    if key == "variants":
        return f"list of texts: {_valid_by_complaint({'lab': {key: [_WRONG]}})}"
    limits = {type(it).__name__.lower(): it for it in field.metadata}
    shape = _type(field.annotation)
    low, high = (getattr(limits.get(name), name, None) for name in ("ge", "le"))
    if low is not None and high is not None and abs(high) < 1e9:
        shape += f", {low:g} to {high:g}"
    elif low is not None and abs(low) < 1e9:
        shape += f", {low:g} or more"
    few, many = (getattr(limits.get(f"{name}len"), f"{name}_length", None) for name in ("min", "max"))
    if few is not None and few == many:
        shape += f", {few} of them"
    elif few is not None or many is not None:
        shape += "".join(f", {word} {count}" for word, count in (("at least", few), ("up to", many)) if count)
    return shape


def _type(annotation: Any) -> str:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is typing.Annotated:
        return "one text, or a list of texts"  # Files is the one key of this kind
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(it) for it in inner if it is not type(None)))
    if origin is list:
        items = [_type(it) for it in typing.get_args(inner[0]) or inner]
        return f"list of {', '.join(items[:-1]) + ' or ' if items[:-1] else ''}{items[-1]}s".replace("falses", "false")
    names = {int: "whole number", float: "number", bool: "true or false", str: "text"}
    return "value" if origin is None and annotation not in names else names[annotation]


def _shown(default: Any) -> str:
    if default is None or default is MISSING or default == "":
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`".replace("'", '"')


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |" for cells in lines)


if __name__ == "__main__":
    main()
