"""Bad input: one clear line that names the thing, the value and what is valid; the right exit code; nothing lost."""

from __future__ import annotations

import shlex
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.conftest import SMALL, Cli, Study

NO_CHANGES: Mapping[str, str] = MappingProxyType({})
NO_NETWORK = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "PATH": "/nowhere"}


def refused(cli: Cli, code: int, *words: str, changes: Mapping[str, str] = NO_CHANGES) -> str:
    """Runs a command that must fail, and returns what it says, which must be no traceback."""
    done = cli.run(*words, changes=changes)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def error_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, text
    return lines[0]


@pytest.mark.parametrize("trials", ["0", "-3", "many"])
def test_a_target_that_is_none(cli: Cli, trials: str) -> None:
    line = error_line(refused(cli, 2, "run", "--trials", trials))
    assert f"'--trials': {trials!r}; valid: a whole number of 1 or more" in line
    assert not (cli.folder / "fmnist_runs").exists()


def test_an_unknown_option_and_an_unknown_command(cli: Cli) -> None:
    assert "--trails" in error_line(refused(cli, 2, "run", "--trails", "3"))
    assert "exporrt" in error_line(refused(cli, 2, "exporrt"))


@pytest.mark.parametrize(
    ("option", "value", "valid"),
    [
        ("--workers", "two", "auto, or a whole number"),
        ("--executor", "slurm", "local, inline"),
        ("--timeout", "soon", "90s, 45m or 2h"),
        ("--train-images", "0", "a whole number of 1 or more"),
        ("--seed", "-1", "a whole number from 0 to 2147483647"),
        ("--seed", "3000000000", "a whole number from 0 to 2147483647"),
        ("--study", "../../etc", "letters, digits"),
    ],
)
def test_options_with_a_bad_value(cli: Cli, option: str, value: str, valid: str) -> None:
    line = error_line(refused(cli, 2, "run", option, value))
    assert option in line
    assert repr(value) in line or value in line
    assert valid in line


def test_an_unknown_sweep(cli: Cli) -> None:
    line = error_line(refused(cli, 2, "run", "--sweep", "defualt"))
    assert "did you mean 'default'?" in line
    assert "smoke" in line


def test_a_sweep_file_with_three_mistakes(cli: Cli) -> None:
    (cli.folder / "bad.toml").write_text(
        'title = "x"\n[study]\nsampler = "bayes"\n[space]\nfilters = { choices = [4, 32] }\ndepht = 3\n'
    )
    text = refused(cli, 2, "run", "--sweep", "bad.toml")
    assert "bad.toml: 3 mistakes" in text
    for part in (
        "study.sampler is 'bayes'",
        "filters is 4; valid: a whole number from 8 to 256",
        "did you mean 'depth'",
    ):
        assert part in text


def test_no_data_and_no_network(cli: Cli) -> None:
    nowhere = {"HOME": str(cli.folder), "XDG_CACHE_HOME": str(cli.folder), **NO_NETWORK}
    line = error_line(refused(cli, 1, "data", changes=nowhere))
    assert "--data-dir" in line


def test_a_data_folder_without_the_data(cli: Cli) -> None:
    line = error_line(refused(cli, 1, "run", "--data-dir", str(cli.folder)))
    assert "train-images-idx3-ubyte.gz" in line
    assert str(cli.folder) in line


@pytest.mark.slow
def test_altered_data_stops_before_the_first_trial(real_cli: Cli) -> None:
    assert real_cli.data_dir is not None
    copy = real_cli.folder / "copy"
    copy.mkdir()
    for file in real_cli.data_dir.glob("*.gz"):
        (copy / file.name).write_bytes(file.read_bytes())
    labels = copy / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x01")
    line = error_line(refused(real_cli, 1, "run", *SMALL, "--trials", "1", "--data-dir", str(copy)))
    assert "train-labels-idx1-ubyte.gz" in line
    assert not list((real_cli.folder / "home").glob("studies/*/ledger.db"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "space", "option", "says"),
    [
        ('sampler = "grid"', "dropout = { low = 0.0, high = 0.5 }", (), "needs a finite space, but dropout"),
        ("trials = 2", "epochs = { choices = [1, 2] }", ("--engine", "keras-tuner-hyperband"), "searches them"),
    ],
)
def test_a_sweep_that_its_engine_refuses_leaves_no_study_behind(
    real_cli: Cli, study: str, space: str, option: tuple[str, ...], says: str
) -> None:
    (real_cli.folder / "my.toml").write_text(f'title = "mine"\nstudy = {{ {study} }}\n[space]\ndepth = 1\n{space}\n')
    line = error_line(refused(real_cli, 2, "run", "--sweep", "my.toml", *option, "--home", "home"))
    assert says in line
    assert not list((real_cli.folder / "home").glob("studies/*"))


def test_a_tracking_uri_where_nothing_listens(cli: Cli) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
    line = error_line(refused(cli, 1, "run", "--tracking-uri", uri))
    assert f"--tracking-uri {uri}: no answer (connection refused)" in line
    assert not list(cli.folder.glob("fmnist_runs/studies/*"))


def test_an_unknown_kind_of_tracking_uri(cli: Cli) -> None:
    assert "valid: http://" in error_line(refused(cli, 2, "run", "--tracking-uri", "ftp://server/x"))


def test_a_password_in_an_address_is_never_shown(cli: Cli) -> None:
    text = refused(cli, 1, "run", "--tracking-uri", "http://anna:s3cret-canary@127.0.0.1:9")
    assert "s3cret-canary" not in text
    assert "--tracking-uri http://127.0.0.1:9: no answer" in text


def test_a_home_that_cannot_be_written(cli: Cli) -> None:
    (cli.folder / "file").write_text("")
    line = error_line(refused(cli, 1, "run", "--home", "file/home"))
    assert "--home file/home can't be written" in line


def test_a_study_that_does_not_exist(cli: Cli) -> None:
    for words in (("status",), ("export",), ("ui",)):
        assert "no such study" in error_line(refused(cli, 1, *words, "--study", "nothing"))


@pytest.mark.slow
def test_a_study_that_exists_with_another_space(finished: Study) -> None:
    ledger = finished.home / "studies" / "smoke" / "ledger.db"
    before = ledger.stat().st_size
    text = refused(finished.cli, 1, "run", "--home", "home", "--sweep", "tiny", "--study", "smoke", "--trials", "5")
    line = error_line(text)
    assert "study 'smoke' exists with other settings" in line
    assert "was" in line
    assert "--fresh" in line
    assert ledger.stat().st_size == before


@pytest.mark.slow
def test_another_size_of_the_training_set_is_another_study(finished: Study) -> None:
    text = refused(finished.cli, 1, "run", *SMALL[:2], "--train-images", "3000", "--home", "home", "--trials", "5")
    assert "data.train_images was 2000, now 3000" in error_line(text)


@pytest.mark.slow
def test_export_and_predict_of_things_that_are_not_there(finished: Study, tmp_path: Path) -> None:
    export = ("export", "--study", "smoke", "--home", "home")
    assert "has no kept model; valid: best" in error_line(refused(finished.cli, 2, *export, "--model", "99"))
    assert "--format 'docx' is unknown; valid: keras" in error_line(
        refused(finished.cli, 2, *export, "--format", "docx")
    )
    (tmp_path / "full").mkdir()
    assert "is no export" in error_line(refused(finished.cli, 1, *export, "--out", str(tmp_path / "full")))
    assert "is no exported model" in error_line(refused(finished.cli, 1, "predict", str(tmp_path), "x.png"))


def test_a_reader_that_goes_away_is_no_traceback_and_no_odd_code(cli: Cli) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{shlex.join(cli.command('sweeps', '--json'))} | true; exit ${{PIPESTATUS[0]}}"],
        cwd=cli.folder,
        env=cli.environment({"PYTHONUNBUFFERED": ""}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1)  # 0 where it was written before the reader went
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_folder_without_a_name_is_refused(cli: Cli) -> None:
    for option in ("--home", "--data-dir"):
        line = error_line(refused(cli, 2, "run", option, ""))
        assert f"'{option}'" in line
        assert line.endswith(": ''; valid: a folder")
    assert list(cli.folder.iterdir()) == []
