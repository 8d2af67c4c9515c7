"""Real exports of a trained net: every format, used with and without this package, and served by MLflow."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from fmnist_sweep import data as datasets
from fmnist_sweep.arch import ArchSpec, BatchNorm, BlockSpec, Head, Pooling
from fmnist_sweep.data import DataSource
from fmnist_sweep.errors import ExportError
from fmnist_sweep.exporting.formats import FORMATS
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.state import StudyState
from tests import stand_ins
from tests.conftest import Study

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@dataclasses.dataclass(frozen=True)
class Exported:
    """What ``export`` said, where it wrote, and validation images to try it on."""

    result: dict[str, Any]
    folder: Path
    images: NDArray[np.uint8]

    @property
    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text())
        return found


@pytest.fixture(scope="module")
def exported(finished: Study, source: DataSource, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The best trial of the finished study in every format, by the command line."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    words = ("--study", "smoke", "--home", "home", "--format", "all,litert-int8", "--out", str(folder))
    result = finished.cli.json("export", *words)
    images = datasets.prepare(source, finished.home / "data").load().validation_images[:70]
    return Exported(result, folder, images)


def test_every_format_agrees_on_the_whole_test_set(exported: Exported, finished: Study) -> None:
    formats = exported.result["formats"]
    assert list(formats) == ["keras", "saved_model", "onnx", "litert", "litert-int8"]
    for name, found in formats.items():
        assert {"path", "bytes", "max_abs_difference", "latency_ms", "batch_latency_ms"} <= found.keys()
        assert exported.manifest["formats"][name]["images"] == 10_000
        path = Path(found["path"])
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        assert sum(file.stat().st_size for file in files) == found["bytes"] > 0
        if name != "litert-int8":
            assert found["argmax_agreement"] == 1.0
            assert found["max_abs_difference"] < 1e-4
    rounded = formats["litert-int8"]
    assert 0.9 < rounded["argmax_agreement"] <= 1
    assert rounded["bytes"] < formats["litert"]["bytes"] / 2
    best = exported.manifest["accuracy"]["validation"]["accuracy"]
    assert rounded["val_accuracy"] + rounded["val_accuracy_loss"] == pytest.approx(best)
    assert best == pytest.approx(finished.result["best"]["val_accuracy"], abs=1e-4)
    assert exported.result["refused"] == {}
    assert exported.result["source"] == {
        "run_id": finished.result["best"]["run_id"],
        "study": "smoke",
        "trial": finished.result["best"]["trial"],
    }


def test_every_format_predicts_the_same_for_any_number_of_images(exported: Exported) -> None:
    pixels = np.asarray(exported.images, np.float32)
    classes = {}
    for form in FORMATS.values():
        predict = form.load(exported.folder / form.path)
        for count in (70, 1, 64):
            found = predict(pixels[:count])
            assert found.shape == (count, 10)
            np.testing.assert_allclose(found.sum(-1), 1, atol=0.05)  # eight bits don't add up to one
        classes[form.name] = predict(pixels).argmax(-1).tolist()
    assert classes["keras"] == classes["saved_model"] == classes["onnx"] == classes["litert"]
    assert np.mean(np.equal(classes["keras"], classes["litert-int8"])) > 0.8


def test_the_card_says_what_must_be_known(exported: Exported) -> None:
    card = (exported.folder / "MODEL_CARD.md").read_text()
    validation, judged = exported.manifest["accuracy"]["validation"], exported.manifest["accuracy"]["test"]["net"]
    assert validation["low"] < validation["accuracy"] < validation["high"]
    for part in (
        f"{100 * validation['accuracy']:.2f} %",
        f"{100 * validation['low']:.2f} to {100 * validation['high']:.2f} %",
        "MIT licence",
        "Trained on 2,000 images",
        "By seed, the net's test scores are" if judged else "The test set was not used for this net",
        "Ankle boot",
        "dark and light exchanged",
        "tensorflow 2.",
        *(f"| {name} |" for name in FORMATS),
    ):
        assert part in card
    assert max(validation["by_class"].values()) > validation["accuracy"] > min(validation["by_class"].values())
    for described in exported.manifest["formats"].values():
        for path, sha256 in described["files"].items():
            assert f"{sha256}  {path}" in card
    assert str(exported.folder.parent) not in card + json.dumps(exported.manifest)


# Runs each script as a program would, in one process that can't import this package.
ALONE = """
import runpy, sys
sys.modules["fmnist_sweep"] = None
try:
    import fmnist_sweep
except ImportError:
    print("alone")
picture, *scripts = sys.argv[1:]
for script in scripts:
    sys.argv = [script, picture]
    runpy.run_path(script, run_name="__main__")
"""


def test_the_examples_work_without_this_package(exported: Exported, finished: Study, tmp_path: Path) -> None:
    picture, grey, turned = tmp_path / "one.png", exported.images[0, :, :, 0], Image.Exif()
    half_there = np.where(np.arange(28) < 20, 255, 100).astype(np.uint8) * np.ones((28, 1), np.uint8)
    turned[ExifTags.Base.Orientation] = 6
    Image.fromarray(np.stack([grey, grey, grey, half_there], axis=-1)).save(picture, exif=turned)
    names = [f"example_{name.replace('-', '_')}.py" for name in FORMATS]
    assert sorted(path.name for path in exported.folder.glob("example_*.py")) == sorted(names)
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(picture), *(str(exported.folder / name) for name in names)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, *said = done.stdout.splitlines()
    assert first == "alone"
    (row,) = finished.cli.json("predict", str(exported.folder), str(picture))["predictions"]
    assert len(said) == len(names)
    assert set(said[:4]) == {f"{row['class']} {row['probability']:.1%}"}


def test_predict_takes_pictures_arrays_and_idx_files(
    exported: Exported, finished: Study, source: DataSource, tmp_path: Path
) -> None:
    picture, four = tmp_path / "one.png", tmp_path / "four.npy"
    Image.fromarray(exported.images[0, :, :, 0]).save(picture)
    np.save(four, exported.images[:4])
    idx = source.folder / "t10k-images-idx3-ubyte.gz"
    done = finished.cli.json("predict", str(exported.folder), str(picture), str(four), str(idx))
    found = done["predictions"]
    assert done["format"] == "keras"
    assert len(found) == 5 + 10_000
    alone, among_four = found[0], found[1]
    assert (alone["label"], alone["class"]) == (among_four["label"], among_four["class"])
    # Sums of a batch of one and of four are taken in another order, so the last digit may differ.
    assert alone["probability"] == pytest.approx(among_four["probability"], abs=1e-5)
    classes = exported.manifest["classes"]
    assert all(row["class"] == classes[row["label"]] and 0 < row["probability"] <= 1 for row in found)
    labels = datasets.open_test_set(source).labels
    assert np.mean([row["label"] for row in found[5:]] == labels) > 0.6


def test_predict_needs_no_tensorflow_where_there_is_another_format(exported: Exported, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(exported.folder, folder)
    (folder / "model.keras").unlink()
    np.save(tmp_path / "four.npy", exported.images[:4])
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from fmnist_sweep.cli import main\n"
        "sys.argv[1:1] = ['predict']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(tmp_path / "four.npy"), "--json"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["format"] == "onnx"
    assert not [line for line in done.stderr.splitlines() if "WARNING" in line or "INFO" in line]


def test_an_altered_export_is_refused(exported: Exported, finished: Study, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(exported.folder, folder)
    with (folder / "model.keras").open("ab") as file:
        file.write(b"x")
    done = finished.cli.run("predict", str(folder), "x.png")
    assert done.returncode == 1
    assert "model.keras: sha256 is" in done.stderr
    assert "the manifest says" in done.stderr


def every_kind_of_net() -> Iterator[ArchSpec]:
    for pooling in get_args(Pooling):
        yield ArchSpec((8, 8, 1), 3, (BlockSpec(8, pooling=pooling, dropout=0.1),), head="global_average")
    for placement in get_args(BatchNorm):
        extra = placement != "none"
        block = BlockSpec(8, 5, convs=2)
        yield ArchSpec(
            (8, 8, 3), 3, (block,), placement, bn_dense=extra, bn_logits=extra, dense=(8,), dense_dropout=0.1
        )
    yield ArchSpec((8, 8, 1), 3, dense=(8, 8))


def test_a_saved_model_of_every_kind_of_net_is_read_back(tmp_path: Path) -> None:
    from fmnist_sweep.model import build

    form = FORMATS["saved_model"]
    nets = list(every_kind_of_net())
    assert {net.head for net in nets} == set(get_args(Head))
    for place, arch in enumerate(nets):
        model = build(arch).model
        images = np.full((2, *arch.input_shape), 90, np.float32)
        form.write(model, tmp_path / str(place), images)
        found = form.load(tmp_path / str(place))(images)
        np.testing.assert_allclose(found, np.asarray(model(images)), atol=1e-6)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("how", ["reads", "saves"])
def test_a_saved_model_that_touches_files_is_not_loaded(tmp_path: Path, how: str, deep: bool) -> None:
    import tensorflow as tf

    def reads(images: Any) -> Any:
        return images + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)

    def saves(images: Any) -> Any:
        """As an export of ours saves its variables, but to any place, and whenever it is asked for a class."""
        tf.raw_ops.SaveV2(prefix=str(tmp_path / "written"), tensor_names=["a"], shape_and_slices=[""], tensors=[images])
        return tf.identity(images)

    inner = tf.function({"reads": reads, "saves": saves}[how])
    spy = tf.Module()
    spy.serve = tf.function(
        (lambda images: inner(images)) if deep else inner.python_function,
        input_signature=[tf.TensorSpec((None, 28, 28, 1))],
    )
    tf.saved_model.save(spy, str(tmp_path / "model"))
    with pytest.raises(ExportError, match=r"has the operation .*, which no export of this program has"):
        FORMATS["saved_model"].load(tmp_path / "model")
    assert not list(tmp_path.glob("written*"))


def test_a_saved_model_that_hides_what_is_called_is_not_loaded(tmp_path: Path) -> None:
    """TensorFlow calls a function that an object names, listed among the concrete ones or not."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    def saves(images: Any) -> Any:
        tf.raw_ops.SaveV2(prefix=str(tmp_path / "written"), tensor_names=["a"], shape_and_slices=[""], tensors=[images])
        return tf.identity(images)

    spy, path = tf.Module(), tmp_path / "model"
    spy.serve = tf.function(saves, input_signature=[tf.TensorSpec((None, 28, 28, 1))])
    tf.saved_model.save(spy, str(path))
    content = saved_model_pb2.SavedModel()
    content.ParseFromString((path / "saved_model.pb").read_bytes())
    content.meta_graphs[0].object_graph_def.concrete_functions.clear()
    (path / "saved_model.pb").write_bytes(content.SerializeToString())
    with pytest.raises(ExportError, match="has the operation SaveV2"):
        FORMATS["saved_model"].load(path)


def test_mlflow_serves_the_champion(finished: Study, exported: Exported) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["models", "serve", "-m", "models:/fmnist-sweep@champion", "--env-manager", "local"]
    programs = str(Path(sys.executable).parent)  # mlflow starts the server by its name
    changes = {
        "MLFLOW_TRACKING_URI": finished.result["tracking_uri"],
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *words, "--host", "127.0.0.1", "--port", str(port)],
        cwd=finished.cli.folder,
        env=finished.cli.environment(changes),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        stand_ins.wait_for(lambda: server.poll() is not None or answers(port), "MLflow's server")
        body = json.dumps({"inputs": exported.images[:1].tolist()}).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            served = np.asarray(json.load(answer)["predictions"])
    finally:
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(server.pid, 15)
        server.wait(120)
    original = champion(finished)
    expected = np.asarray(original(np.asarray(exported.images[:1], np.float32)))
    np.testing.assert_allclose(served, expected, atol=1e-5)


def champion(finished: Study) -> Any:
    """The registered model, rebuilt from the weights that it was logged from."""
    import mlflow

    from fmnist_sweep.model import rebuild

    client = mlflow.MlflowClient(finished.result["tracking_uri"])
    key = client.get_model_version_by_alias("fmnist-sweep", "champion").tags["sweep.job"]
    folder = finished.home / "studies" / "smoke"
    ledger = Ledger(folder / "ledger.db")
    try:
        job = StudyState.of(ledger.events()).jobs[key]
    finally:
        ledger.close()
    return rebuild(job.arch, (folder / "jobs" / key / "weights.npz").read_bytes())


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
