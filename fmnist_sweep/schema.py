"""What a sweep file may hold: frozen, checked values."""

from __future__ import annotations

import math
import os
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from fmnist_sweep.arch import TrainSpec

Engine = Literal["optuna", "keras-tuner-random", "keras-tuner-bayesian", "keras-tuner-hyperband"]
Sampler = Literal["tpe", "gp", "random", "grid"]
Pruner = Literal["asha", "median", "none"]
FullTraining = Literal["at_once", "at_end"]
Scalar = bool | int | float | str

BLOCK_KEYS = ("filters", "kernel_size", "convs", "pooling", "dropout", "pool_after")
ARCH_KEYS = ("depth", *BLOCK_KEYS, "batch_norm", "bn_dense", "bn_logits", "head", "dense_units", "dense_dropout")
TRAIN_KEYS = tuple(field.name for field in fields(TrainSpec))
WHOLE_KEYS = (
    *("depth", "filters", "kernel_size", "convs", "dense_units"),
    *("batch_size", "epochs", "shift", "seed", "cutout"),
)
SPACE_KEYS = (*ARCH_KEYS, *TRAIN_KEYS)
AUTO = "auto"  # as the space's precision: what a probe of the machine finds faster


_FARTHEST = 2.0**31


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Domain(_Frozen):
    """The values that one key of the space may take: ``choices``, or a range from ``low`` to ``high``.

    Attributes:
        choices: The values, in the file's order.
        low: Smallest value of a range.
        high: Largest value of a range, included.
        step: Distance between the values of a range; 1 for whole numbers.
        log: Whether the range is drawn on a logarithmic scale.
        per: Whether each block draws its own value (``block``) or all share one (``net``).
    """

    choices: list[Scalar] | None = None
    low: int | float | None = Field(None, ge=-_FARTHEST, le=_FARTHEST)
    high: int | float | None = Field(None, ge=-_FARTHEST, le=_FARTHEST)
    step: int | float | None = Field(None, ge=-_FARTHEST, le=_FARTHEST)
    log: bool = False
    per: Literal["net", "block"] = "net"

    @model_validator(mode="after")
    def _either(self) -> Domain:
        ranged = self.low is not None or self.high is not None
        if (self.choices is None) != ranged:
            raise ValueError("give either choices = [...] or low and high")
        if self.choices is not None and not self.choices:
            raise ValueError("choices is empty")
        if self.choices is not None and (self.step is not None or self.log):
            raise ValueError("step and log belong to a range, not to choices")
        if ranged:
            if self.low is None or self.high is None:
                raise ValueError("a range needs both low and high")
            if self.low > self.high:
                raise ValueError(f"low is {self.low}, above high, {self.high}")
            if self.log and (self.low <= 0 or self.step is not None):
                raise ValueError("a log range needs low above 0 and no step")
            if self.step is not None and not 0 < self.step <= max(self.high - self.low, 1):
                raise ValueError(f"step is {self.step}; valid: above 0, up to the width of the range")
        return self

    def ends(self) -> list[Scalar]:
        """Each choice, or the two ends of the range."""
        return list(self.choices) if self.choices is not None else [v for v in (self.low, self.high) if v is not None]


class StudySection(_Frozen):
    """How the space is searched.

    Attributes:
        trials: Target where ``--trials`` is not given.
        engine: Whose search: Optuna's, or one of KerasTuner's oracles. Hyperband chooses the epochs of each
            trial by itself, so that no pruner has a say.
        sampler: Who proposes the next configuration, where the engine is Optuna: ``tpe`` of Optuna; ``gp``, a Gaussian
            process over all learning curves so far, which weighs what a net promises against its time; ``random``;
            or ``grid``, each one once.
        startup_trials: Trials before a model takes over: drawn at random, for ``gp`` quick ones as unlike each other as
            can be.
        keep_models: How many of the best trials' models are kept and logged.
        patience: No more trials once this many in a row have brought no better champion; 0 for never.
    """

    trials: int = Field(50, ge=1)
    engine: Engine = "optuna"
    sampler: Sampler = "tpe"
    startup_trials: int = Field(10, ge=1)
    keep_models: int = Field(5, ge=1, le=100)
    patience: int = Field(0, ge=0)


class FidelitySection(_Frozen):
    """How early a trial may be stopped.

    Attributes:
        pruner: ``asha``: at each rung the best 1/reduction go on, by their scores there or, with the sampler ``gp``,
            by what its model expects of them; ``median``: those that are not below the median at a rung; ``none``.
        rungs: Epochs at which trials are compared, ascending; below 1 a share of the first epoch.
        reduction: The eta of successive halving.
        price: How much more accurate, in percentage points, a net must be at a rung to stand level with one that trains
            in half its time; 0 where time does not count. The trials that are trained in full are ranked by accuracy
            alone.
        full_training: When the best of the last rung are trained in full, with ``asha``: ``at_once``, as they come
            there, 1/reduction of them; ``at_end``, once no new trial will come, the best ``keep_models`` of all.
    """

    pruner: Pruner = "asha"
    rungs: list[float] = Field(default_factory=lambda: [1.0], max_length=20)
    reduction: int = Field(3, ge=2, le=16)
    price: float = Field(0.0, ge=0.0, le=10.0)
    full_training: FullTraining = "at_once"

    @model_validator(mode="after")
    def _halving(self) -> FidelitySection:
        if self.full_training == "at_end" and self.pruner != "asha":
            raise ValueError(f"full_training is 'at_end' with pruner {self.pruner!r}; valid: with pruner 'asha' alone")
        return self

    @model_validator(mode="after")
    def _ascending(self) -> FidelitySection:
        if sorted(set(self.rungs)) != self.rungs or not all(0 < rung < math.inf for rung in self.rungs):
            raise ValueError(f"rungs is {self.rungs}; valid: ascending numbers above 0")
        if any(rung > 1 and rung != int(rung) for rung in self.rungs):
            raise ValueError(f"rungs is {self.rungs}; valid above 1: whole epochs")
        return self


class LabSection(_Frozen):
    """Which of the lab's nets are trained beside the trials."""

    variants: list[str] = Field(default_factory=lambda: ["all"])


class LimitsSection(_Frozen):
    """What a net may cost; a proposal over a limit is not trained.

    Attributes:
        parameters: Largest number of parameters.
        flops: Largest number of floating-point operations for one image.
    """

    parameters: int | None = Field(None, ge=1)
    flops: int | None = Field(None, ge=1)


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Files = Annotated[list[str], BeforeValidator(_one_or_more)]


class DataSection(_Frozen):
    """Which images are trained on: Fashion-MNIST's, or those of files that ``train`` names.

    Paths are relative to the sweep file. They are the user's own, so they may lead anywhere.

    Attributes:
        train_images: How many of the images to train on, the first ones; all by default.
        train: Files of the training images: one ``.npz``, or two IDX files, images and labels.
        validation: Likewise for validation; by default what the ``.npz`` holds, else ``validation_share`` of ``train``.
        test: Likewise for the test set; by default what the ``.npz`` holds, else ``test_share`` of ``train``.
        validation_share: Share of ``train``'s images for validation, of every class alike.
        test_share: Share of ``train``'s images for the test set, of every class alike.
        name: Of the data set, as MLflow and the model card name it; by default the training file's.
        class_names: By label, from 0 on; by default the labels themselves.
        shape: Height, width and channels that the images must have; by default whatever they have.
        about: Where the images come from and their licence, for the model card.
    """

    train_images: int | None = Field(None, ge=1)
    train: Files | None = None
    validation: Files | None = None
    test: Files | None = None
    validation_share: float = Field(0.2, ge=0.01, le=0.5)
    test_share: float = Field(0.2, ge=0.01, le=0.5)
    name: str = Field("", max_length=80)
    class_names: list[str] | None = Field(None, min_length=2, max_length=256)
    shape: list[int] | None = Field(None, min_length=3, max_length=3)
    about: str = Field("", max_length=1000)

    @model_validator(mode="after")
    def _together(self) -> DataSection:
        for part, files in (("train", self.train), ("validation", self.validation), ("test", self.test)):
            if files is not None and not _is_part(files):
                raise ValueError(f"{part} is {files}; valid: one .npz file, or two IDX files, images and labels")
        if self.train is None:
            named = sorted(self.model_fields_set - {"train_images", "train"})
            if any(getattr(self, key) not in (None, DataSection.model_fields[key].default) for key in named):
                raise ValueError(f"{', '.join(named)}: only with train, the files of another image set")
        elif self.called.lower() == "fashion-mnist":
            given = "name is" if self.name else "without a name it is that of train,"
            raise ValueError(f"{given} {self.called!r}, which is built in; valid: another name")
        if self.class_names is not None and len(set(self.class_names)) < len(self.class_names):
            raise ValueError(f"class_names is {self.class_names}; valid: each name once")
        return self

    @property
    def called(self) -> str:
        """The image set's name: by default that of its first file; "" for the built-in one."""
        return self.name or (Path(self.train[0]).stem.split(".")[0] if self.train else "")

    def below(self, folder: Path) -> DataSection:
        """The same with paths that don't depend on the working folder; relative ones start at ``folder``."""
        parts = {part: getattr(self, part) for part in ("train", "validation", "test")}
        moved = {
            part: [os.path.abspath(folder / file) for file in files]  # noqa: PTH100  not where a link leads
            for part, files in parts.items()
            if files is not None
        }
        return self.model_copy(update=moved)


def _is_part(files: list[str]) -> bool:
    packed = [file.lower().endswith(".npz") for file in files]
    return packed in ([True], [False, False]) and all(file and "\0" not in file for file in files)


def _shape_of(value: Any) -> str:
    if isinstance(value, (dict, Domain)):
        return "domain"
    return "blocks" if isinstance(value, list) else "value"


Entry = Annotated[
    Annotated[Domain, Tag("domain")] | Annotated[list[Scalar], Tag("blocks")] | Annotated[Scalar, Tag("value")],
    Discriminator(_shape_of),
]


class SweepConfig(_Frozen):
    """One sweep: what is searched, how, and for how long.

    Attributes:
        title: What the sweep is for, in one line.
        space: By key: one value, a list with one value for each block, or the domain that it is drawn from.
        cases: Named bundles of fixed keys; where there are any, each trial takes one of them.
    """

    title: str = Field(min_length=1, max_length=200)
    study: StudySection = Field(default_factory=lambda: StudySection())
    fidelity: FidelitySection = Field(default_factory=lambda: FidelitySection())
    lab: LabSection = Field(default_factory=lambda: LabSection())
    limits: LimitsSection = Field(default_factory=lambda: LimitsSection())
    data: DataSection = Field(default_factory=lambda: DataSection())
    space: dict[str, Entry]
    cases: dict[str, dict[str, Scalar]] = Field(default_factory=dict)

    @property
    def precision_is_open(self) -> bool:
        """Whether a probe of the machine is to choose the precision."""
        return self.space.get("precision") == AUTO

    @property
    def epochs(self) -> int:
        """Epochs of a full trial (the most, where they are searched)."""
        entries = [self.space.get("epochs", TrainSpec().epochs)]
        if self.cases:
            entries = [case.get("epochs", entries[0]) for case in self.cases.values()]
        return int(max(number for entry in entries for number in _numbers(entry)))

    def changed(self, **fixed: Scalar | None) -> SweepConfig:
        """The same sweep with some keys of the space fixed; None leaves a key as it is.

        Epochs are fixed in its cases too, as ``--epochs`` stands above all; other keys of a case stay the case's.
        """
        given = {key: value for key, value in fixed.items() if value is not None}
        epochs = {key: value for key, value in given.items() if key == "epochs"}
        cases = {name: {**case, **(epochs if "epochs" in case else {})} for name, case in self.cases.items()}
        return self.model_copy(update={"space": {**self.space, **given}, "cases": cases})


def _numbers(entry: Domain | list[Scalar] | Scalar) -> list[float]:
    values = entry.ends() if isinstance(entry, Domain) else entry if isinstance(entry, list) else [entry]
    return [float(value) for value in values]
