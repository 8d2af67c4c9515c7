"""A study's runs as MLflow's own API shows them: whole and once, even where a driver died between two calls."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fmnist_sweep.errors import TrackingError
from fmnist_sweep.home import Home
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.state import StudyState
from fmnist_sweep.views import shown
from fmnist_sweep.views.mirror import replay
from fmnist_sweep.views.mlflow_client import address, connect
from fmnist_sweep.views.mlflow_runs import MlflowView
from tests.stand_ins import asked, proposals, reports_of, task

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

KEY = "trial-0000"
DATA_SET = {
    **{"name": "images", "fingerprint": "0" * 16, "files": {"a": "b"}, "image_shape": [8, 8, 1]},
    **{"classes": ["shirt", "shoe", "bag"], "training": 40, "validation": 20},
}
STUDY = {
    **{"name": "mine", "id": "1234", "title": "a study", "seed": 0, "train_images": 40, "data": "0" * 16},
    **{"versions": {"python": "3.11"}, "config": task().config.model_dump(mode="json"), "git_commit": ""},
    **{"data_set": DATA_SET, "environment": "python==3.11", "created": 1_760_000_000.0},
}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A study with one trial that has begun."""
    opened = Ledger(tmp_path / "ledger.db")
    opened.append("study", **STUDY)
    opened.append("asked", KEY, **asked(0, proposals()[0]))
    opened.append("started", KEY, 1)
    for report in reports_of(proposals()[0].arch, proposals()[0].train, (0.5, 1.0)):
        opened.append("report", KEY, report.place, **report.body)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database with nothing in it, which takes seconds to make."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def uri(empty: Path, tmp_path: Path) -> str:
    shutil.copy(empty, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def view_of(ledger: Ledger, uri: str, tmp_path: Path) -> MlflowView:
    view = MlflowView(uri, ledger, tmp_path / "mlartifacts", {})
    view.open(ledger.events())
    return view


def runs(ledger: Ledger, uri: str) -> dict[str, Any]:
    """By job, the runs that are not deleted; no job may have two."""
    found = connect(uri).search_runs([StudyState.of(ledger.events()).views["experiment_id"]])
    by_job = {run.data.tags["sweep.job"]: run for run in found}
    assert len(by_job) == len(found)
    return by_job


def check(ledger: Ledger, uri: str) -> None:
    """The runs are those that the ledger has, and show all that it says."""
    state, found = StudyState.of(ledger.events()), runs(ledger, uri)
    job, run, study = state.jobs[KEY], found[KEY], found[shown.STUDY_RUN]
    assert (run.info.run_id, study.info.run_id) == (job.run_id, state.views["study_run_id"])
    assert run.data.params == {**shown.params(state.study, job), **shown.look_params(job)}
    assert study.data.params == shown.study_params(state.study)
    assert shown.birth_tags(state.study, job).items() <= run.data.tags.items()
    assert shown.birth_metrics(job).items() <= run.data.metrics.items()
    points = connect(uri).get_metric_history(run.info.run_id, "val_accuracy")
    assert sorted((point.step, point.value) for point in points) == sorted(shown.curves(job)["val_accuracy"])
    assert len(run.inputs.dataset_inputs) == 2


@pytest.mark.parametrize(
    ("call", "answered"), [("create_run", True), ("log_batch", False), ("log_inputs", True), ("log_text", False)]
)
def test_a_driver_that_dies_between_two_calls_leaves_no_run_behind_and_none_half_told(
    ledger: Ledger, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, answered: bool
) -> None:
    view = view_of(ledger, uri, tmp_path)
    client = view._client
    real = getattr(client, call)

    def dies(*args: Any, **options: Any) -> None:
        if answered:  # it was done, and nobody heard of it
            real(*args, **options)
        raise ConnectionError("gone")

    monkeypatch.setattr(client, call, dies)
    with pytest.raises(ConnectionError):
        replay(view, ledger.events(), {"", KEY})
    monkeypatch.undo()
    replay(view_of(ledger, uri, tmp_path), ledger.events(), {"", KEY})
    check(ledger, uri)


@pytest.mark.parametrize("when", ["between two runs", "while it runs"])
def test_an_experiment_that_a_user_deletes_is_back_with_all_its_runs(
    ledger: Ledger, uri: str, tmp_path: Path, when: str
) -> None:
    *before, last = ledger.events()
    view = view_of(ledger, uri, tmp_path)
    replay(view, before, {"", KEY})
    view._client.delete_experiment(StudyState.of(ledger.events()).views["experiment_id"])
    if when == "between two runs":
        view = view_of(ledger, uri, tmp_path)
    view.take(last, StudyState.of([*before, last]))
    check(ledger, uri)


def test_a_study_that_was_put_aside_has_an_experiment_of_its_name_now(ledger: Ledger, uri: str, tmp_path: Path) -> None:
    """As where MLflow's database was lost since: its first name may be another study's."""
    connect(uri).create_experiment(str(ledger.events()[0].body["name"]), tags={"sweep.study_id": "another"})
    view = MlflowView(uri, ledger, tmp_path / "mlartifacts", {}, "aside")
    view.open(ledger.events())
    replay(view, ledger.events(), {"", KEY})
    check(ledger, uri)
    found = connect(uri).get_experiment(StudyState.of(ledger.events()).views["experiment_id"])
    assert found.name == "aside"


@pytest.mark.parametrize("which", ["the trial's", "the study's"])
def test_a_run_that_a_user_deletes_is_back_with_the_next_thing_to_show(
    ledger: Ledger, uri: str, tmp_path: Path, which: str
) -> None:
    *before, last = ledger.events()
    assert last.kind == "report"
    view = view_of(ledger, uri, tmp_path)
    replay(view, before, {"", KEY})
    found = runs(ledger, uri)
    view._client.delete_run(found[KEY if which == "the trial's" else shown.STUDY_RUN].info.run_id)
    state, summary = StudyState.of([*before, last]), ledger.append("summary", "", 0, markdown="one trial")
    assert summary is not None
    for event in (last, summary):
        view.take(event, state)
    assert connect(uri).get_run(found[shown.STUDY_RUN].info.run_id).info.status == "FINISHED"
    check(ledger, uri)


@pytest.mark.parametrize("which", ["the trial's", "the study's"])
def test_a_run_that_is_gone_for_good_is_made_anew_with_all_that_was_shown(
    ledger: Ledger, uri: str, tmp_path: Path, which: str
) -> None:
    """As where MLflow was restored from an older backup, or cleaned by ``mlflow gc``."""
    *before, last = ledger.events()
    view = view_of(ledger, uri, tmp_path)
    replay(view, before, {"", KEY})
    lost = runs(ledger, uri)[KEY if which == "the trial's" else shown.STUDY_RUN].info.run_id
    view._client._tracking_client.store._hard_delete_run(lost)
    state, summary = StudyState.of([*before, last]), ledger.append("summary", "", 0, markdown="one trial")
    assert summary is not None
    for event in (last, summary):
        view.take(event, state)
    assert lost not in {run.info.run_id for run in runs(ledger, uri).values()}
    check(ledger, uri)


def test_everything_told_twice_changes_nothing(ledger: Ledger, uri: str, tmp_path: Path) -> None:
    for _ in range(2):
        view = view_of(ledger, uri, tmp_path)
        view.describe_again([KEY, shown.STUDY_RUN])
        replay(view, ledger.events(), {"", KEY})
        check(ledger, uri)


def test_the_ledger_has_where_it_was_shown_but_not_where_home_is(ledger: Ledger, uri: str, tmp_path: Path) -> None:
    view_of(ledger, uri, tmp_path)
    assert StudyState.of(ledger.events()).views["tracking_uri"] == ""
    assert address(uri, Home(tmp_path / "elsewhere")) == uri
    assert address("http://me:canary@host:5000", Home(tmp_path)) == "http://me:***@host:5000"
    other = f"sqlite:///{tmp_path / 'other.db'}"  # in the home folder, and not its store
    assert address(other, Home(tmp_path)) == other


@pytest.mark.parametrize("there", [True, False])
def test_on_another_server_nothing_is_written_into_an_experiment_of_the_same_number(
    ledger: Ledger, uri: str, empty: Path, tmp_path: Path, there: bool
) -> None:
    view_of(ledger, uri, tmp_path)
    other = f"sqlite:///{tmp_path / 'other.db'}"
    shutil.copy(empty, tmp_path / "other.db")
    if there:
        made = connect(other).create_experiment("a colleague's")
        assert made == StudyState.of(ledger.events()).views["experiment_id"]
    with pytest.raises(
        TrackingError, match='another experiment 1, "a colleague\'s"' if there else "has no experiment 1"
    ):
        view_of(ledger, other, tmp_path)


def test_an_experiment_of_another_study_is_left_alone(ledger: Ledger, uri: str, tmp_path: Path) -> None:
    connect(uri).create_experiment("mine")
    with pytest.raises(TrackingError, match="another study's"):
        view_of(ledger, uri, tmp_path)


@pytest.mark.parametrize("most", [200, 1_000])
def test_a_long_note_is_cut_between_lines_and_says_where_the_rest_is(most: int) -> None:
    text = "\n".join(f"line {place}" for place in range(100))
    found = shown.cut(text, most)
    assert len(found) <= most
    if len(text) <= most:
        assert found == text
    else:
        kept, _, rest = found.partition("\n\n")
        assert text.startswith(f"{kept}\n")
        assert "summary.md" in rest
