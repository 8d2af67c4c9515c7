"""Exports: which formats there are, when one is refused, what a folder is checked for, how sure an accuracy is."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy.stats import binomtest

from fmnist_sweep import counts, exporting
from fmnist_sweep.arch import ArchSpec, BlockSpec, TrainSpec, fingerprint
from fmnist_sweep.commands import export as command
from fmnist_sweep.data import DataSource
from fmnist_sweep.errors import ExportError, UsageError
from fmnist_sweep.exporting import FormatCheck, Written, accuracy, card, checks, examples, manifest
from fmnist_sweep.exporting import folder as folder_of_exports
from fmnist_sweep.exporting.formats import FORMATS
from fmnist_sweep.home import Home
from fmnist_sweep.options import settings_of
from fmnist_sweep.scores import TestScore, packed
from fmnist_sweep.state import JobRecord, StudyState
from tests.report_stand_ins import Story

ROOT = Path(__file__).parent.parent


def names(given_: list[str]) -> list[str]:
    return [form.name for form in exporting.chosen(given_)]


def test_all_stands_for_the_formats_that_give_what_the_original_gives() -> None:
    assert names(["all"]) == ["keras", "saved_model", "onnx", "litert"]
    assert names(["onnx", "all", "litert-int8", "keras"]) == ["onnx", "keras", "saved_model", "litert", "litert-int8"]


@pytest.mark.parametrize("name", ["docx", "", "Keras"])
def test_an_unknown_format_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(UsageError, match=f"--format {name!r} is unknown; valid: keras, saved_model, onnx, litert"):
        exporting.chosen(["keras", name])


@pytest.mark.parametrize(
    ("name", "modules"),
    [("onnx", "tf2onnx and onnxruntime"), ("litert", "ai_edge_litert"), ("litert-int8", "ai_edge_litert")],
)
def test_a_missing_package_is_named_with_what_to_type(name: str, modules: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tf2onnx", "onnxruntime", "ai_edge_litert"):
        monkeypatch.setitem(sys.modules, module, None)
    assert util.find_spec("onnxruntime") is None
    with pytest.raises(ExportError) as error:
        exporting.chosen([name])
    assert str(error.value) == (
        f"--format {name} needs {modules}, which is not installed; pip install 'fmnist-sweep[export]'"
    )
    assert names(["keras", "saved_model"]) == ["keras", "saved_model"]


CHECK = FormatCheck("model.x", 1, {}, 10_000, 0.0, 1.0, 1.0, 1.0)


@given(difference=st.floats(0, 1), same=st.integers(0, 10_000))
def test_an_exact_format_must_give_every_image_its_class(difference: float, same: int) -> None:
    check = replace(CHECK, max_abs_difference=difference, argmax_agreement=same / 10_000)
    reason = checks.refusal(FORMATS["onnx"], check)
    assert (reason == "") == (same == 10_000 and difference <= checks.TOLERANCE)
    assert not reason or f"same class for {same:,} of 10,000 images" in reason


def test_probabilities_that_are_no_numbers_are_refused() -> None:
    assert "disagrees" in checks.refusal(FORMATS["onnx"], replace(CHECK, max_abs_difference=float("nan")))


@given(lost=st.floats(-1, 1), same=st.floats(0, 1))
def test_eight_bits_may_lose_one_point_and_no_more(lost: float, same: float) -> None:
    check = replace(CHECK, argmax_agreement=same, val_accuracy=0.5, val_accuracy_loss=lost)
    assert (checks.refusal(FORMATS["litert-int8"], check) == "") == (lost <= 0.01)


@given(data=st.data(), images=st.integers(1, 20_000))
def test_wilsons_interval_is_scipys(data: st.DataObject, images: int) -> None:
    hits = data.draw(st.integers(0, images))
    known = binomtest(hits, images).proportion_ci(0.95, method="wilson")
    assert counts.wilson(hits, images) == pytest.approx((known.low, known.high), abs=1e-6)


ARCH = ArchSpec((28, 28, 1), 10, (BlockSpec(8),))


def final(seed: int, share: float | None, arch: ArchSpec = ARCH, epochs: int = 2) -> JobRecord:
    train = TrainSpec(epochs=epochs, seed=seed)
    hits = np.random.default_rng(seed).uniform(size=10_000) < (share or 0.0)
    score = TestScore(float(hits.mean()), 0.3, len(hits), packed(hits), 1.0, 9.0)
    tested = None if share is None else score
    name = f"final-trial-1-seed{seed}-{epochs}-{len(arch.blocks)}"
    return JobRecord(name, "final", -1, arch, train, fingerprint(arch, train), {}, (1.0,), tested=tested)


def test_a_nets_test_accuracy_is_the_mean_of_its_finals_and_of_no_others() -> None:
    ours = [final(seed, 0.9) for seed in range(1, 7)]
    others = [final(7, None), final(8, 0.5, epochs=3), final(9, 0.5, arch=replace(ARCH, dense=(16,)))]
    state = StudyState(jobs={job.key: job for job in [*ours, *others]})
    trial = replace(ours[0], key="trial-0001", kind="trial", train=TrainSpec(epochs=2, seed=0), tested=None)
    found = accuracy.test(state, trial)
    net = found["net"]
    assert found["weights"] is None
    assert list(net["by_seed"]) == ["1", "2", "3", "4", "5", "6"]
    assert net["accuracy"] == pytest.approx(np.mean([job.tested.accuracy for job in ours if job.tested]))
    assert net["low"] < 0.9 < net["high"]
    assert net["high"] - net["low"] < 0.02
    own = accuracy.test(state, ours[0])["weights"]
    assert ours[0].tested is not None
    assert own["accuracy"] == ours[0].tested.accuracy
    assert own["low"] < own["accuracy"] < own["high"]


def test_a_net_that_the_finals_did_not_judge_has_no_test_accuracy() -> None:
    alone = final(1, 0.9)
    state = StudyState(jobs={alone.key: alone})
    assert accuracy.test(state, replace(alone, tested=None, arch=replace(ARCH, dense=(16,)))) == {
        "weights": None,
        "net": None,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export of three formats whose files hold anything."""
    (tmp_path / "saved_model" / "variables").mkdir(parents=True)
    paths = {
        "keras": ["model.keras"],
        "onnx": ["model.onnx"],
        "saved_model": ["saved_model/saved_model.pb", "saved_model/variables/variables.index"],
    }
    for path in (path for files in paths.values() for path in files):
        (tmp_path / path).write_text(path)
    formats = {
        name: {"files": {path: hashlib.sha256(path.encode()).hexdigest() for path in files}}
        for name, files in paths.items()
    }
    change(tmp_path, manifest_version=2, classes=["shirt", "shoe"], input={"shape": [28, 28, 1]}, formats=formats)
    return tmp_path


def change(folder: Path, **values: Any) -> None:
    path = folder / "manifest.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**before, **values}))


def test_predict_prefers_keras_and_takes_what_is_there(folder: Path) -> None:
    assert exporting.read(folder).form.name == "keras"
    (folder / "model.keras").unlink()
    assert exporting.read(folder).form.name == "onnx"
    (folder / "model.onnx").unlink()
    found = exporting.read(folder)
    assert (found.form.name, found.path, found.classes) == ("saved_model", folder / "saved_model", ("shirt", "shoe"))
    (folder / "saved_model").rename(folder / "gone")
    with pytest.raises(ExportError, match=r"holds no model: model.keras, model.onnx, saved_model is missing"):
        exporting.read(folder)


def test_predict_passes_over_a_format_whose_runtime_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (folder / "model.keras").unlink()
    assert exporting.read(folder).form.name == "saved_model"
    (folder / "saved_model").rename(folder / "gone")
    with pytest.raises(ExportError, match=r"model.onnx needs onnxruntime, .*fmnist-sweep\[export\]"):
        exporting.read(folder)


@pytest.mark.parametrize("path", ["model.keras", "saved_model/variables/variables.index"])
def test_an_altered_or_missing_file_is_named(folder: Path, path: str) -> None:
    assert exporting.read_manifest(folder)["classes"] == ["shirt", "shoe"]
    (folder / path).write_text("altered")
    with pytest.raises(ExportError, match=f"{path}: sha256 is .*, the manifest says"):
        exporting.read_manifest(folder)
    (folder / path).unlink()
    with pytest.raises(ExportError, match=f"{path}: sha256 is no file"):
        exporting.read_manifest(folder)


def test_a_file_that_the_manifest_does_not_name_is_refused(folder: Path) -> None:
    (folder / "saved_model" / "assets.extra").write_text("more")
    with pytest.raises(ExportError, match=r"assets.extra: sha256 is .*, the manifest says that there is none"):
        exporting.read_manifest(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"manifest_version": 1}, "has a manifest of version 1; valid: 2. Export the model again"),
        ({"formats": {"docx": {"files": {}}}}, "can't be read: KeyError 'docx'"),
        ({"formats": {"keras": {"files": 3}}}, "can't be read: TypeError"),
        ({"formats": {}}, "it names no format"),
        ({"classes": 3}, "can't be read: TypeError"),
        ({"input": {"shape": [28, 28]}}, "it names no format, or no images"),
        ({"input": {"shape": [28, "x", 1]}}, "can't be read: ValueError"),
    ],
)
def test_a_manifest_that_is_none(folder: Path, values: dict[str, Any], message: str) -> None:
    change(folder, **values)
    with pytest.raises(ExportError) as error:
        exporting.read(folder)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ('{"name": "a web app"}', "exists and is no export"),
        ('{"manifest_version": 2, "formats": {"keras": {"files": {}}}}', "holds 'notes.txt' beside an export"),
    ],
)
def test_a_folder_that_holds_anything_else_is_left_as_it_is(tmp_path: Path, manifest: str, message: str) -> None:
    target = tmp_path / "site"
    target.mkdir()
    (target / exporting.MANIFEST).write_text(manifest)
    (target / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match=message):
        exporting.write(target, [], None, None, log=tmp_path / "log")  # type: ignore[arg-type]
    assert sorted(it.name for it in tmp_path.rglob("*")) == [exporting.MANIFEST, "notes.txt", "site"]


def test_an_export_replaces_an_older_one_from_within_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / exporting.MANIFEST).write_text('{"manifest_version": 1, "formats": {"older": {"files": {"old": ""}}}}')
    (target / "old").write_text("old")
    done = Written({}, {})

    def fill(scratch: Path, *_: object) -> Written:
        (scratch / "new").write_text("new")
        return done

    monkeypatch.setattr(folder_of_exports, "_fill", fill)
    monkeypatch.chdir(target)
    assert exporting.write(Path(), [], None, None, log=tmp_path / "log") is done  # type: ignore[arg-type]
    assert [str(it.relative_to(tmp_path)) for it in sorted(tmp_path.rglob("*"))] == ["model", "model/new"]


def test_a_link_to_an_export_leads_to_it_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_of_exports, "_fill", lambda scratch, *_: (scratch / "new").write_text("new"))
    (tmp_path / "other disk").mkdir()
    (tmp_path / "mine").symlink_to(tmp_path / "other disk" / "model")
    exporting.write(tmp_path / "mine", [], None, None, log=tmp_path / "log")  # type: ignore[arg-type]
    assert (tmp_path / "mine").is_symlink()
    assert (tmp_path / "other disk" / "model" / "new").read_text() == "new"


def test_what_came_into_the_folder_meanwhile_is_not_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model"

    def fill(*_: object) -> Written:
        target.mkdir()
        (target / "notes.txt").write_text("mine")
        return Written({}, {})

    monkeypatch.setattr(folder_of_exports, "_fill", fill)
    with pytest.raises(ExportError, match="exists and is no export"):
        exporting.write(target, [], None, None, log=tmp_path / "log")  # type: ignore[arg-type]
    assert [str(it.relative_to(tmp_path)) for it in sorted(tmp_path.rglob("*"))] == ["model", "model/notes.txt"]


def test_every_example_is_short_and_good_python() -> None:
    for form in FORMATS.values():
        text = examples.script(form, {"input": {"shape": [28, 28, 1]}})
        compile(text, examples.file_name(form), "exec")
        code = [line for line in text.splitlines() if line and not line.startswith(("import", "from", '"""'))]
        assert len(code) <= 11
        assert form.path in text
        assert "fmnist" not in text


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, source: DataSource) -> dict[str, Any]:
    """What ``export_stand_ins`` says, run as a program, so that its workers start from a server of their own."""
    folder = tmp_path_factory.mktemp("bad")
    code = "from tests.export_stand_ins import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(source.folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("FMNIST_")},
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "log": (folder / "log").read_text()}


OLDER = ["export", "export/manifest.json", "export/old"]


@pytest.mark.slow
def test_a_format_that_disagrees_is_removed_and_the_others_stay(outcomes: dict[str, Any]) -> None:
    beside = outcomes["beside"]
    assert beside["formats"] == ["keras"]
    assert "disagrees with the original: largest difference" in beside["refused"]["wrong"]
    assert "is no longer as good: accuracy falls by" in beside["refused"]["rough"]
    files = ["MODEL_CARD.md", "example_keras.py", "manifest.json", "model.keras"]
    assert beside["files"] == ["export", *(f"export/{name}" for name in files)]


@pytest.mark.slow
def test_the_older_export_stays_where_no_format_agrees(outcomes: dict[str, Any]) -> None:
    assert "format wrong disagrees with the original" in outcomes["alone"]["error"]
    assert outcomes["alone"]["error"].endswith("nothing was exported")
    assert outcomes["alone"]["files"] == OLDER


@pytest.mark.slow
def test_a_converter_that_dies_is_named_and_the_older_export_stays(outcomes: dict[str, Any]) -> None:
    error = outcomes["dying"]["error"]
    assert error.startswith("format dying can't be written: the worker was ended by SIGKILL, 3 times")
    assert outcomes["dying"]["files"] == OLDER
    assert "a converter's last words" in outcomes["log"]


def ending(state: StudyState, written: Written, tmp_path: Path) -> str:
    console = Console(file=io.StringIO(), width=80)
    settings = replace(settings_of(tmp_path / "fmnist_runs"), home=Home(tmp_path / "fmnist_runs"))
    command._closing(settings, state, state.ranked()[0], Path("my model"), written).show(console)
    assert isinstance(console.file, io.StringIO)
    assert max(len(line) for line in console.file.getvalue().splitlines()) <= 80
    return " ".join(console.file.getvalue().split())


def test_the_last_lines_say_what_is_there_how_exact_it_is_and_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    story = Story().begin().lab().search(6)
    rounded = replace(CHECK, argmax_agreement=0.98765)
    told = ending(story.state, Written({"keras": CHECK, "litert-int8": rounded}, {"onnx": "disagrees"}), tmp_path)
    for part in (
        f"trial {story.state.ranked()[0].number} is in my model as keras, litert-int8: ",
        "keras: the original's class for all 10,000 test images. "
        "litert-int8: the original's class for 98.77 % of 10,000 test images.",
        "Refused, and not there: onnx.",
        "or was lucky, compare tells",
        "my model/MODEL_CARD.md",
        "predict 'my model' IMAGE.png",
        "fmnist_sweep compare",
    ):
        assert part in told
    story.compare(1, 2)
    told = ending(story.state, Written({"litert-int8": rounded}, {}), tmp_path)
    assert "for all" not in told
    assert "compare" not in told


def test_of_one_of_the_labs_nets_nobody_asks_whether_it_beats_them(tmp_path: Path) -> None:
    story = Story().begin().lab()
    console, settings = Console(file=io.StringIO(), width=80), settings_of(tmp_path)
    net, written = story.state.jobs["lab-cnn1"], Written({"keras": CHECK}, {})
    command._closing(settings, story.state, net, Path("model"), written).show(console)
    assert isinstance(console.file, io.StringIO)
    assert "compare" not in console.file.getvalue()  # which would find no trial
    story.search(2)
    command._closing(settings, story.state, net, Path("model"), written).show(console)
    told = " ".join(console.file.getvalue().split())
    assert "or was lucky" not in told
    assert "fmnist_sweep compare" in told


def test_of_the_finals_the_champion_alone_is_exported() -> None:
    story = Story().begin().search(2)
    story.compare(1, 2)
    final = next(job.key for job in story.state.of_kind("final"))
    for key in (final, "trial-0000"):
        story.tell("kept", key)
    with pytest.raises(UsageError, match=f"'{final}' has no kept model; valid: best, champion, 0$"):
        command._chosen(story.state, final)


@pytest.mark.parametrize(("seeds", "by"), [(2, "validation"), (6, "verdicts")])
def test_what_made_a_final_the_champion_is_told_as_it_was(seeds: int, by: str) -> None:
    story = Story().begin().search(2)
    story.compare(1, seeds)
    final = next(job for job in story.state.of_kind("final"))
    source = manifest._training(story.state, final)
    assert source["crowned_by"] == by
    net = {"by_seed": {"1": 0.9}}
    told = card._tested(None, net, crowned=card._crowned({"source": source}))
    assert ("had a part in naming it" in told) == (by == "verdicts")
    assert "crowned_by" not in manifest._training(story.state, story.state.trials()[0])
