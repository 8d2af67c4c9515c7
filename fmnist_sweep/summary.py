"""What a study found so far: as a table for people, as Markdown for MLflow, as JSON for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fmnist_sweep import arithmetic, conclusion
from fmnist_sweep.addresses import masked
from fmnist_sweep.arch import contract_params
from fmnist_sweep.display import called
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import JobRecord, StudyState

BEST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One net in the table.

    Attributes:
        name: ``trial 12`` or the lab's name.
        net: In short form.
        parameters: Of the net.
        epochs: Trained.
        val_accuracy: The best, 0 to 1; None where it has none.
        seconds: Of training.
        note: What else is to be said, as that it is the same net as another.
        lab: Whether it is one of the lab's.
    """

    name: str
    net: str
    parameters: int
    epochs: float
    val_accuracy: float | None
    seconds: float
    note: str
    lab: bool


def rows(state: StudyState) -> list[Row]:
    """The best trials, then the lab's nets, each best first."""
    lab = sorted(state.of_kind("lab"), key=lambda job: -(job.best or 0.0))
    return [_row(job) for job in [*state.ranked()[:BEST_SHOWN], *lab]]


def shown_runs(state: StudyState) -> list[str]:
    """MLflow's runs of the lab's nets and the best trials, which its page sets side by side."""
    jobs = [*state.of_kind("lab"), *state.ranked()[:BEST_SHOWN]]
    return [job.run_id for job in jobs if job.run_id]


def _row(job: JobRecord) -> Row:
    result = job.result
    note = f"= {job.same_as}" if job.same_as else ("" if job.state == "complete" else job.state)
    return Row(
        name=called(job),
        net=job.arch.short,
        parameters=arithmetic.cost(job.arch).parameters,
        epochs=result.epoch if result else job.epoch,
        val_accuracy=job.best,
        seconds=result.train_s if result else job.reports[-1].train_s if job.reports else 0.0,
        note=note,
        lab=job.kind == "lab",
    )


def counts(state: StudyState) -> dict[str, int]:
    """Trials by how they ended."""
    return {name: len(state.trials(name)) for name in ("complete", "pruned", "failed")}


def epochs_saved(state: StudyState) -> tuple[float, float]:
    """Epochs, and at each trial's own pace seconds, that pruned trials were not trained for."""
    epochs = seconds = 0.0
    for job in (job for job in state.trials("pruned") if not job.same_as):
        left = job.train.epochs - job.epoch
        epochs += left
        if job.reports and job.epoch:
            seconds += left * job.reports[-1].train_s / job.epoch
    return epochs, seconds


def markdown(state: StudyState, settings: Settings) -> str:
    """The study in Markdown, for MLflow's description."""
    study, ended = state.study, counts(state)
    many = sum(ended.values())
    lines = [
        f"**{conclusion.found(state)}**",
        "",
        conclusion.sure(state),
        "",
        f"Study `{study['name']}`: {study['title']}",
        "",
        f"{many} trial{'s' * (many != 1)}: {ended['complete']} complete, {ended['pruned']} pruned, "
        f"{ended['failed']} failed. {study['train_images']:,} training images, seed {study['seed']}.",
        "",
        "| net | layers | parameters | epochs | validation accuracy | training |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows(state):
        accuracy = "" if row.val_accuracy is None else f"{row.val_accuracy:.4f}"
        name = f"{row.name} ({row.note})" if row.note else row.name
        lines.append(f"| {name} | {row.net} | {row.parameters:,} | {row.epochs:g} | {accuracy} | {row.seconds:.0f} s |")
    lines += ["", f"Ledger, checkpoints and kept weights: study `{study['name']}` under the home "
              f"folder `{settings.home.path.name}`."]  # fmt: skip
    return "\n".join(lines)


def as_json(state: StudyState, settings: Settings, target: int, wall_s: float, compare_url: str) -> dict[str, Any]:
    """The object that ``run --json`` prints; its keys are the command line's contract."""
    top = next(iter(state.ranked()), None)
    best = None
    if top is not None:
        best = {
            "trial": top.number,
            "val_accuracy": top.best,
            "run_id": top.run_id,
            "params": contract_params(top.arch, top.train),
        }
    return {
        "study": state.study["name"],
        "sweep": state.study["sweep"],
        "home": str(settings.home.path),
        "trials": {"target": target, **counts(state)},
        "best": best,
        "lab": {
            job.key: {"val_accuracy": job.best, "run_id": job.run_id, "same_as": job.same_as or None}
            for job in state.of_kind("lab")
        },
        "wall_s": round(wall_s, 3),
        "study_wall_s": round(state.wall_s, 3),
        "train_images": state.study["train_images"],
        "tracking_uri": masked(settings.mlflow),
        "experiment_id": state.views.get("experiment_id"),
        "compare_url": compare_url,
    }
