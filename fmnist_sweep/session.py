"""One run of a study: puts the parts together, and takes them apart again in the right order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fmnist_sweep import data as datasets
from fmnist_sweep import kernels, lab, proposers, publish, space, study, summary
from fmnist_sweep.arch import ArchSpec, TrainSpec
from fmnist_sweep.aside import move_aside
from fmnist_sweep.data import DataSource, PreparedData
from fmnist_sweep.delivery import Delivery
from fmnist_sweep.driver import Driver
from fmnist_sweep.ending import Outcome, Stopping
from fmnist_sweep.errors import first_line
from fmnist_sweep.executors import Executor, gpu, ray_cluster
from fmnist_sweep.executors.inline import InlineExecutor
from fmnist_sweep.executors.local import LocalExecutor, auto_workers, call, warm_up
from fmnist_sweep.executors.standby import Standby
from fmnist_sweep.home import StudyFolder
from fmnist_sweep.ledger import Event, Ledger
from fmnist_sweep.proposers import Task
from fmnist_sweep.publish import Crowned
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import StudyState
from fmnist_sweep.study import Plan
from fmnist_sweep.trial import Extra
from fmnist_sweep.views import Mirror, View
from fmnist_sweep.views.mlflow_client import check_uri, connect

Watch = Callable[[StudyState, Event | None], None]
MakeExtras = Callable[[StudyState, PreparedData], Sequence[Extra]]
_WORTH = 1.1  # a gain below this may be noise, and bfloat16 has fewer digits


@dataclass(frozen=True, slots=True)
class Session:
    """How a run ended.

    Attributes:
        outcome: See ``ending.Outcome``.
        state: Of the study, after everything.
        target: Trials asked for.
        wall_s: Seconds that this run took.
        champion: Where the registered model's alias stands; None where there is nothing to register, or no way to.
        undelivered: Why a view is behind; "" where none is.
    """

    outcome: Outcome
    state: StudyState
    target: int
    wall_s: float
    champion: Crowned | None
    undelivered: str


@dataclass(frozen=True, slots=True)
class Scene:
    """What is at hand once everything is trained."""

    ledger: Ledger
    source: DataSource
    data: PreparedData
    folder: StudyFolder


@dataclass(frozen=True, slots=True)
class Work:
    """What a run is to do.

    Attributes:
        target: Trials in all.
        extras: Makes the nets to train beside them, from what the study stands at.
        finale: Called once everything is trained, before it is told to the views.
        fresh: Whether to put an old study of that name aside first.
        patience: See ``pruning.flat``; None leaves the study's as it is.
        search: See ``Driver.run``.
    """

    target: int
    extras: MakeExtras
    finale: Callable[[Scene], None] = lambda _: None
    fresh: bool = False
    patience: int | None = None
    search: bool = True


@dataclass(frozen=True, slots=True)
class Hooks:
    """How a run talks to whoever started it.

    Attributes:
        watch: See ``Driver``.
        stopping: See ``Driver``.
        say: Gets lines for people on what is going on.
    """

    watch: Watch
    stopping: Callable[[], Stopping]
    say: Callable[[str], None]


def run(settings: Settings, planned: Plan, work: Work, hooks: Hooks) -> Session:
    """Runs or resumes a study until its trials and extras have ended.

    Raises:
        SweepError: It can't be begun, or can't go on.
    """
    begun = time.monotonic()
    settings.home.create()
    check_uri(settings.mlflow)
    if settings.executor == "local":
        warm_up()
    elif settings.executor == "ray":
        ray_cluster.require()
    source = datasets.source_of(planned.config.data, settings.data_dir, say=hooks.say)
    data = datasets.prepare(source, settings.home.data, train_images=planned.config.data.train_images)
    proposers.make(Task(planned.config, data.image_shape, data.classes, planned.seed))  # or refuses, before all else
    folder = settings.home.study(planned.name)
    if work.fresh and folder.exists:
        hooks.say(f"the old study is now {move_aside(settings, planned.name)!r}")
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.locked():
        ledger = study.opened(folder)
        try:
            planned = _with_precision(planned, data, ledger, folder, hooks.say)
            task = Task(planned.config, data.image_shape, data.classes, planned.seed)
            study.begin(ledger, planned, settings, source, data, search=work.search)
            settings = _with_storage(settings, ledger)
            said: dict[str, Any] = {} if work.patience is None else {"patience": work.patience}
            said |= {"target": work.target} if work.search else {}
            said["free"] = study.free(planned.config)
            said["storage"] = study.storage_address(settings)
            ledger.append("session", "", len(ledger.events()), began=time.time(), **said)
            scene = Scene(ledger, source, data, folder)
            with (
                _mirrors(settings, ledger, planned) as mirrors,
                closing(Standby(partial(publish.prepare, settings.mlflow), folder.log)) as standby,
            ):
                keep_models = planned.config.study.keep_models
                delivery = Delivery(settings.mlflow, ledger, folder, data, keep_models, mirrors, standby)
                outcome = _drive(settings, task, scene, mirrors, work, hooks, delivery)
                if outcome == "done":
                    work.finale(scene)
                trouble, champion = delivery.rest(hooks.say)
                state = StudyState.of(ledger.events())
                ledger.append("summary", "", state.seq, markdown=summary.markdown(state, settings))
                trouble = trouble or delivery.drain()
            state = StudyState.of(ledger.events())
            state.study = {**state.study, "name": planned.name}  # one that was put aside began with another
        finally:
            ledger.close()
    return Session(outcome, state, work.target, time.monotonic() - begun, champion, trouble)


def _with_storage(settings: Settings, ledger: Ledger) -> Settings:
    """With the study's storage. A new one must open before the study is said to be there, and later runs look there.

    It is told all of the study, whatever the old one knows.

    Raises:
        StorageError: It can't be opened.
    """
    recorded = StudyState.of(ledger.events()).storage
    settings = study.at_its_storage(settings, recorded)
    if study.storage_address(settings) != recorded:
        if settings.storage:
            from fmnist_sweep.views.optuna_open import storage_at

            storage_at(settings.optuna)
        if recorded is not None:
            from fmnist_sweep.views.optuna_storage import OptunaView

            ledger.advance(OptunaView.name, 0)
    return settings


def _with_precision(
    planned: Plan, data: PreparedData, ledger: Ledger, folder: StudyFolder, say: Callable[[str], None]
) -> Plan:
    """Fixes a precision that the sweep leaves open: as the study has it, or as a probe of this machine finds."""
    if not planned.config.precision_is_open:
        return planned
    known = StudyState.of(ledger.events(limit=8)).study
    if known:
        chosen = known["config"]["space"].get("precision", TrainSpec().precision)
    else:
        suggest = space.RandomSuggest("precision")
        net = space.sample(planned.config, suggest, input_shape=data.image_shape, classes=data.classes)
        gain = call(_gain, *net, log=folder.log, on_gpu=True)
        chosen = "mixed_bfloat16" if gain >= _WORTH else "float32"
        say(f"precision {chosen}: bfloat16 trains {gain:.2f} times as fast as float32 here")
    return replace(planned, config=planned.config.changed(precision=chosen))


def _gain(arch: ArchSpec, train: TrainSpec) -> float:
    """See ``precision.gain``; TensorFlow loads in the process that is called."""
    from fmnist_sweep import precision

    return precision.gain(arch, train)


def _drive(
    settings: Settings,
    task: Task,
    scene: Scene,
    mirrors: list[Mirror],
    work: Work,
    hooks: Hooks,
    delivery: Delivery,
) -> Outcome:
    def stopping() -> Stopping:
        return Stopping.NOW if any(mirror.fatal for mirror in mirrors) else hooks.stopping()

    executor = _executor(settings, scene.folder)
    try:
        driver = Driver(
            ledger=scene.ledger,
            task=task,
            data=scene.data,
            folder=scene.folder,
            proposer=proposers.make(task),
            executor=executor,
            watch=hooks.watch,
            stopping=stopping,
            idle=lambda state: delivery.ahead(state, work.target),
        )
        extras = work.extras(driver.state, scene.data)
        outcome = driver.run(work.target, extras, settings.timeout_s, work.patience or 0, search=work.search)
    finally:
        executor.close()
    for mirror in mirrors:
        if mirror.fatal:
            raise mirror.fatal
    return outcome


def _executor(settings: Settings, folder: StudyFolder) -> Executor:
    if settings.executor == "inline":
        kernels.choose()  # as in the other executors' workers
        return InlineExecutor()
    workers = settings.workers or auto_workers()
    if settings.executor == "ray":
        from fmnist_sweep.executors.ray import RayExecutor

        cluster = ray_cluster.open_(settings.ray_address, workers, len(gpu.found()))
        return RayExecutor(cluster, log=folder.log, workers=settings.workers, owns=True)
    return LocalExecutor(workers, log=folder.log, shares=gpu.shares(gpu.found(), workers))


@contextmanager
def _mirrors(settings: Settings, ledger: Ledger, planned: Plan) -> Iterator[list[Mirror]]:
    def runs() -> View:
        from fmnist_sweep.views.mlflow_runs import MlflowView

        return MlflowView(settings.mlflow, ledger, settings.home.artifacts, lab.ABOUT, planned.name)

    def storage() -> View:
        from fmnist_sweep.views.optuna_storage import OptunaView

        return OptunaView(settings.optuna, planned.name)

    mirrors = [Mirror(ledger, runs), Mirror(ledger, storage)]
    try:
        yield mirrors
    finally:
        for mirror in mirrors:
            mirror.close()


def attach(settings: Settings, state: StudyState, files: Iterable[Path]) -> str:
    """Logs files as artifacts of the study's run in MLflow, in place of those of the same names.

    Returns:
        Why they could not be delivered; "" where they were.
    """
    try:
        client = connect(settings.mlflow)
        for file in files:
            client.log_artifact(state.views["study_run_id"], str(file))
    except Exception as error:
        return f"artifacts: {first_line(error)}"
    return ""
