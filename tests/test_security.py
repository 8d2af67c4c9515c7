"""Hostile names, links and model files, and passwords: refused, never run, shown and kept nowhere."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import pickle
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import fmnist_sweep
import mlflow_server
from fmnist_sweep import cli, durable, exporting  # noqa: F401  (loading cli puts the commands into app)
from fmnist_sweep.addresses import PASSWORD, USER, credentials, entrusted, masked
from fmnist_sweep.app import app
from fmnist_sweep.commands import predict as predicting
from fmnist_sweep.errors import DataError, ExportError, UsageError
from fmnist_sweep.exporting.formats import FORMATS
from fmnist_sweep.home import Home
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.state import StudyState
from fmnist_sweep.views.tensorboard import write as write_curves
from mlflow_server import ServerSettings
from tests.conftest import Cli

HOSTILE = ("../x", "a/../../x", "%2e%2e", "%2e%2e%2fx", "..", "a..b", "/etc/x", "a\nb", "$(id)", ".hidden", "x" * 300)
COMMANDS = ("run", "lab", "compare", "status", "report", "export", "doctor", "ui")


# Names and links


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_study_name_is_refused_by_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    done = CliRunner().invoke(app, [command, "--home", "home", f"--study={name}"])
    assert done.exit_code in (1, 2)
    (line,) = [line for line in done.output.splitlines() if line.startswith("error: ")]
    assert repr(name)[1:-1] in line
    assert [path.name for path in tmp_path.rglob("*")] == ["home"]


@pytest.mark.parametrize("name", ["%2e%2e", "a b", ".x", "a..b", "ä"])
def test_a_sweep_file_whose_name_is_no_safe_name_for_a_study_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(f"{name}.toml").write_text('title = "x"\n[space]\nfilters = 8\nepochs = 1\n')
    done = CliRunner().invoke(app, ["run", "--home", "home", "--sweep", f"./{name}.toml", "--trials", "1"])
    assert done.exit_code == 2
    assert f"--study is {name!r}; valid:" in done.output
    assert not Path("home").exists()


@pytest.mark.parametrize("sweep", ["..", "../secret", "%2e%2e/secret", "/etc/passwd", "missing\0.toml"])
def test_a_sweep_that_is_no_sweep_file_shows_nothing_of_what_it_is(tmp_path: Path, sweep: str) -> None:
    (tmp_path / "secret").write_text("password = 'canary'")
    (tmp_path / "below").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "below")
        done = CliRunner().invoke(app, ["preview", "--sweep", sweep])
    assert done.exit_code in (1, 2)
    assert "canary" not in done.output
    assert "root:" not in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("uri", ["http://anna:s[ecret]@host", "http://anna:s\uff0fecret@host", "http://[::1:5000"])
def test_an_address_that_is_none_is_named_without_its_password(uri: str) -> None:
    with pytest.raises(UsageError, match=r"--tracking-uri 'http://.*is no address; valid: as in https://") as refused:
        entrusted(uri)
    assert "ecret" not in str(refused.value)


@pytest.mark.parametrize("what", ["study", "job"])
def test_a_link_in_the_place_of_a_folder_is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    home = Home(tmp_path / "home")
    place = home.path / "studies" / "mine"
    place = place / "jobs" / "trial-0000" if what == "job" else place
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is a link; valid: a folder of its own"):
        home.study("mine").job("trial-0000")


def test_a_link_in_the_place_of_a_file_is_replaced_and_where_it_leads_left_alone(tmp_path: Path) -> None:
    (precious := tmp_path / "precious").write_text("mine")
    folder = Home(tmp_path / "home").study("mine")
    folder.job("trial-0000").mkdir(parents=True)
    (checkpoint := folder.job("trial-0000") / "checkpoint").symlink_to(precious)
    (folder.path / "lock").symlink_to(precious)
    durable.write_sealed(checkpoint, b"state")
    with pytest.raises(OSError, match="lock"), folder.locked():
        pytest.fail("a lock that leads elsewhere was taken")
    assert precious.read_text() == "mine"
    assert not checkpoint.is_symlink()


# Model files


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._mark),)


def pickled(mark: Path) -> bytes:
    """An .npz file with the bomb in the place of an array."""
    buffer = io.BytesIO()
    content = np.empty(1, object)
    content[0] = Bomb(mark)
    np.savez(buffer, **{"000": content, "progress": content, "said": content})  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_nothing_is_unpickled_from_weights_or_a_checkpoint(tmp_path: Path) -> None:
    from fmnist_sweep.model import weights_from_bytes
    from fmnist_sweep.train import Training

    mark = tmp_path / "exploded"
    with pytest.raises(ExportError, match="weights can't be read"):
        weights_from_bytes(pickled(mark))
    training: Any = Training.__new__(Training)
    training._variables = list
    with pytest.raises(ValueError, match="allow_pickle=False"):
        training.restore(pickled(mark))
    assert not mark.exists()


@pytest.mark.parametrize("content", ["object", "pickle"])
def test_nothing_is_unpickled_from_images(tmp_path: Path, content: str) -> None:
    mark, path = tmp_path / "exploded", tmp_path / "images.npy"
    if content == "object":
        array = np.empty(1, object)
        array[0] = Bomb(mark)
        np.save(path, array)
    else:
        path.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(DataError, match=r"no \.npy array that can be read"):
        predicting._array(path)
    assert not mark.exists()


def keras_file(path: Path, layer: dict[str, Any]) -> None:
    """A file in Keras' format whose net has ``layer``."""
    config = {"module": "keras.src.models.functional", "class_name": "Functional", "config": {"layers": [layer]}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("model.weights.h5", b"")


@pytest.mark.parametrize(
    "layer",
    [
        {"module": "keras.layers", "class_name": "Lambda", "config": {"function": {"class_name": "__lambda__"}}},
        {"module": "keras.layers", "class_name": "TextVectorization", "config": {"vocabulary": "/etc/passwd"}},
        {"module": "os", "class_name": "system", "config": {"command": "touch exploded"}},
        {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"},
        {"module": "keras.layers", "class_name": "Dense", "config": {"a": [{"module": "os", "class_name": "Dense"}]}},
    ],
)
def test_a_model_file_with_anything_but_the_layers_of_our_nets_is_not_loaded(
    tmp_path: Path, layer: dict[str, Any]
) -> None:
    keras_file(tmp_path / "model.keras", layer)
    with pytest.raises(ExportError, match=r"has the part .*, which no export of this program has; not loaded"):
        FORMATS["keras"].load(tmp_path / "model.keras")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_a_model_file_that_is_none_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.keras").write_bytes(content)
    with pytest.raises(ExportError, match="can't be read"):
        FORMATS["keras"].load(tmp_path / "model.keras")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_net_of_ours_is_among_what_is_loaded(tmp_path: Path) -> None:
    from fmnist_sweep.model import build
    from tests.test_export_real import every_kind_of_net

    for place, arch in enumerate(every_kind_of_net()):
        model, path = build(arch).model, tmp_path / f"{place}.keras"
        FORMATS["keras"].write(model, path, np.zeros((1, *arch.input_shape), np.float32))
        images = np.full((2, *arch.input_shape), 90, np.float32)
        np.testing.assert_allclose(FORMATS["keras"].load(path)(images), np.asarray(model(images)), atol=1e-6)


@pytest.mark.parametrize("name", ["../model.keras", "/etc/passwd", "%2e%2e/model.keras"])
@pytest.mark.parametrize("where", ["format", "file"])
def test_a_manifest_leads_to_no_file_outside_its_folder(tmp_path: Path, name: str, where: str) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (tmp_path / "model.keras").write_bytes(b"x")
    (folder / "model.keras").write_bytes(b"x")
    sum_ = hashlib.sha256(b"x").hexdigest()
    formats = {name if where == "format" else "keras": {"files": {name if where == "file" else "model.keras": sum_}}}
    manifest = {
        "manifest_version": exporting.MANIFEST_VERSION if hasattr(exporting, "MANIFEST_VERSION") else 2,
        "formats": formats,
        "classes": ["a", "b"],
        "input": {"shape": [28, 28, 1]},
    }
    (folder / exporting.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ExportError):
        exporting.read(folder)


UNSAFE_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "runpy", "imp"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}


def test_no_module_unpickles_evaluates_or_starts_a_shell() -> None:
    found = []
    roots = [Path(fmnist_sweep.__file__).parent, Path(mlflow_server.__file__).parent]
    for path in (path for root in roots for path in root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            bad = {name.split(".")[0] for name in names} & UNSAFE_MODULES
            if isinstance(node, ast.Call):
                bad |= {ast.unparse(node.func)} & UNSAFE_CALLS
                given = {word.arg: ast.unparse(word.value) for word in node.keywords if word.arg}
                unsafe = {"allow_pickle": "True", "shell": "True", "safe_mode": "False"}
                bad |= {name for name, value in unsafe.items() if given.get(name) == value}
                if ast.unparse(node.func).endswith("load_model") and given.get("safe_mode") != "True":
                    bad.add("load_model without safe_mode")
                if ast.unparse(node.func) == "np.load" and given.get("allow_pickle") != "False":
                    bad.add("np.load without allow_pickle=False")
            found += [f"{path.name}: {name}" for name in sorted(bad)]
    assert found == []


# Passwords in addresses


@pytest.fixture
def no_login(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (USER, PASSWORD, "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    ("uri", "clean", "login"),
    [
        ("http://anna:s3cret@host:5000/x", "http://host:5000/x", ("anna", "s3cret")),
        ("https://anna:p%40ss:w@host", "https://host", ("anna", "p@ss:w")),
        ("http://anna:a@b@host", "http://host", ("anna", "a@b")),
        ("http://anna@host", "http://host", ("anna", "the environment's")),
        ("http://host:5000", "http://host:5000", None),
        ("postgresql://anna:s3cret@host/db", "postgresql://anna:s3cret@host/db", None),
        ("sqlite:////x/mlflow.db", "sqlite:////x/mlflow.db", None),
        ("", "", None),
    ],
)
def test_a_servers_password_goes_where_mlflow_looks_for_it_and_nowhere_else(
    no_login: pytest.MonkeyPatch, uri: str, clean: str, login: tuple[str, str] | None
) -> None:
    no_login.setenv("MLFLOW_TRACKING_URI", uri)
    if login and login[1] == "the environment's":
        no_login.setenv(PASSWORD, login[1])
    assert entrusted(uri) == clean
    assert credentials() == login
    assert os.environ["MLFLOW_TRACKING_URI"] == clean


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql+psycopg://me:canary@host:5432/db", "postgresql+psycopg://me:***@host:5432/db"),
        ("http://:canary@host/", "http://:***@host/"),
        ("sqlite:////home/me/optuna.db", "sqlite:////home/me/optuna.db"),
        ("http://127.0.0.1:5000/a:b@c", "http://127.0.0.1:***@c"),
        ("postgresql://me:can/ary@host/db", "postgresql://me:***@host/db"),
        ("http://me:can@ary@host/", "http://me:***@host/"),
        ("postgresql://me:canary@host/db?password=canary", "postgresql://me:***@host/db?password=***"),
        ("postgresql://host/db?user=me&password=canary", "postgresql://host/db?user=me&password=***"),
    ],
)
def test_a_password_is_masked(uri: str, shown: str) -> None:
    assert masked(uri) == shown


# A canary: passwords in addresses and in the environment, a real study, and a search through all that it left

CANARIES = {
    "tracking server": "canary-tracking-5f0a",
    "storage": "canary-storage-5f0b",
    "cloud": "canary-cloud-5f0c",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_password_is_shown_or_kept_anywhere(real_cli: Cli) -> None:
    home, server = real_cli.folder / "home", real_cli.folder / "server"
    server.mkdir()
    settings = ServerSettings(f"sqlite:///{server}/mlflow.db", str(server / "mlartifacts"), port=0)
    secrets = {"AWS_SECRET_ACCESS_KEY": CANARIES["cloud"], "FMNIST_CANARY": CANARIES["cloud"]}
    said = ""
    with mlflow_server.start(settings, log=server / "server.log") as running:
        address = running.uri.replace("http://", f"http://anna:{CANARIES['tracking server']}@")
        storage = f"sqlite:///{real_cli.folder}/optuna.db?password={CANARIES['storage']}"
        where = ("--home", "home", "--tracking-uri", address, "--storage", storage)
        small = ("--sweep", "smoke", "--train-images", "500", "--epochs", "1", "--no-lab", "--trials", "1")
        for words in (
            ("run", *small, *where, "--json", "-v"),
            ("report", "--study", "smoke", "--home", "home"),
            ("export", "--study", "smoke", "--home", "home", "--format", "keras"),
        ):
            done = real_cli.run(*words, changes=secrets)
            said += done.stdout + done.stderr
            assert done.returncode == 0, done.stderr
    away = ("--tracking-uri", address, "--storage", storage)  # the server is gone: errors of every kind
    for again in (("run", *small, "--home", "home", *away, "-v"), ("doctor", "--home", "home", *away, "--json")):
        done = real_cli.run(*again, changes=secrets)
        assert done.returncode == 1
        said += done.stdout + done.stderr
    with closing(Ledger(home / "studies" / "smoke" / "ledger.db")) as ledger:
        write_curves(home / "tensorboard" / "smoke", StudyState.of(ledger.events()).jobs)
    (real_cli.folder / "said").write_text(said)
    assert (home / "reports" / "smoke.html").exists()
    assert list((home / "exports").rglob("model.keras"))
    files = [path for path in real_cli.folder.rglob("*") if path.is_file()]
    assert {"optuna.db", "mlflow.db", "workers.log", "server.log"} <= {path.name for path in files}
    for what, canary in CANARIES.items():
        names = [str(path) for path in files if canary in str(path)]
        kept = [str(path.relative_to(real_cli.folder)) for path in files if canary.encode() in unpacked(path)]
        assert (names, kept) == ([], []), f"the password of the {what}"


def unpacked(path: Path) -> bytes:
    """All that a file holds, and what is inside of it if it is an archive."""
    content = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            content += b"".join(archive.read(name) for name in archive.namelist())
    return content
