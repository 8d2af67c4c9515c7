"""A sweep file (TOML) as a frozen ``SweepConfig``; every mistake is reported, all of them at once."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from fmnist_sweep.arch import ArchSpec, BlockSpec, TrainSpec
from fmnist_sweep.errors import ConfigError, SpecError, UsageError

Sampler = Literal["tpe", "random", "grid"]
Pruner = Literal["asha", "median", "none"]
Scalar = bool | int | float | str

BLOCK_KEYS = ("filters", "kernel_size", "convs", "pooling", "dropout")
ARCH_KEYS = ("depth", *BLOCK_KEYS, "batch_norm", "bn_dense", "bn_logits", "head", "dense_units", "dense_dropout")
TRAIN_KEYS = tuple(field.name for field in fields(TrainSpec))
SPACE_KEYS = (*ARCH_KEYS, *TRAIN_KEYS)


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
    low: int | float | None = None
    high: int | float | None = None
    step: int | float | None = None
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
            if self.step is not None and self.step <= 0:
                raise ValueError(f"step is {self.step}; valid: above 0")
        return self

    @property
    def whole(self) -> bool:
        """Whether a range holds whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int) and not isinstance(self.step, float)

    def ends(self) -> list[Scalar]:
        """Each choice, or the two ends of the range."""
        return list(self.choices) if self.choices is not None else [v for v in (self.low, self.high) if v is not None]


class StudySection(_Frozen):
    """How the space is searched.

    Attributes:
        trials: Target where ``--trials`` is not given.
        sampler: Who proposes the next configuration.
        startup_trials: Random trials before a model-based sampler takes over.
        keep_models: How many of the best trials' models are kept and logged.
    """

    trials: int = Field(50, ge=1)
    sampler: Sampler = "tpe"
    startup_trials: int = Field(10, ge=1)
    keep_models: int = Field(5, ge=1, le=100)


class FidelitySection(_Frozen):
    """How early a trial may be stopped.

    Attributes:
        pruner: ``asha``: at each rung the best 1/reduction go on; ``median``: Optuna's median rule
            at each rung; ``none``.
        rungs: Epochs at which trials are compared, ascending; below 1 a share of the first epoch.
        reduction: The eta of successive halving.
    """

    pruner: Pruner = "asha"
    rungs: list[float] = Field(default_factory=lambda: [1.0], max_length=20)
    reduction: int = Field(3, ge=2, le=16)

    @model_validator(mode="after")
    def _ascending(self) -> FidelitySection:
        if sorted(set(self.rungs)) != self.rungs or any(rung <= 0 for rung in self.rungs):
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


class DataSection(_Frozen):
    """Which part of the data is used; ``train_images``: how many of the first images to train on."""

    train_images: int | None = Field(None, ge=1)


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
    def epochs(self) -> int:
        """Epochs of a full trial (the most, where they are searched)."""
        return int(max(_numbers(self.space.get("epochs", TrainSpec().epochs))))

    def changed(self, **fixed: Scalar | None) -> SweepConfig:
        """The same sweep with some keys of the space fixed; None leaves a key as it is."""
        space = {**self.space, **{key: value for key, value in fixed.items() if value is not None}}
        return self.model_copy(update={"space": space})


def _numbers(entry: Domain | list[Scalar] | Scalar) -> list[float]:
    values = entry.ends() if isinstance(entry, Domain) else entry if isinstance(entry, list) else [entry]
    return [float(value) for value in values]


def parse(text: str, source: str) -> SweepConfig:
    """Reads one sweep.

    Args:
        text: TOML.
        source: What to call it in messages, as a rule the file's name.

    Raises:
        ConfigError: With every mistake found.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(source, [f"not TOML: {error}"]) from None
    try:
        config = SweepConfig.model_validate(data)
    except ValidationError as error:
        mistakes = [_explain(problem) for problem in error.errors()]
        raise ConfigError(source, [*dict.fromkeys(mistakes), *_space_mistakes(data)]) from None
    mistakes = _space_mistakes(data)
    if mistakes:
        raise ConfigError(source, mistakes)
    return config


def folder() -> Path:
    """Where the shipped sweep files are: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "sweeps"
    return installed if installed.is_dir() else package.parent / "sweeps"


def names() -> list[str]:
    """Names of the shipped sweeps."""
    return sorted(path.stem for path in folder().glob("*.toml"))


def load(sweep: str) -> tuple[str, SweepConfig]:
    """Finds a sweep by name or file and reads it.

    Returns:
        The sweep's name (a file's stem) and its content.

    Raises:
        UsageError: No such sweep.
        ConfigError: Mistakes in the file.
    """
    path = Path(sweep) if sweep.endswith(".toml") or "/" in sweep else folder() / f"{sweep}.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        hint = _closest(sweep, names())
        raise UsageError(
            f"--sweep {sweep}: {error.strerror or error}{hint}; valid: {', '.join(names())}, or a .toml file"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(str(path), ["not text in UTF-8"]) from None
    return path.stem, parse(text, str(path))


def _space_mistakes(data: dict[str, Any]) -> list[str]:
    """Mistakes that only the specs themselves can tell: unknown keys, values that no net may have."""
    found: list[str] = []
    space = data.get("space")
    space = space if isinstance(space, dict) else {}
    for key, value in space.items():
        found += [f"space.{key}: {text}" for text in _key_mistakes(key, _values(value))]
        if isinstance(value, dict) and value.get("per") == "block" and key not in BLOCK_KEYS:
            found.append(f"space.{key}.per: 'block' is for {', '.join(BLOCK_KEYS)}; valid here: 'net'")
        if isinstance(value, list):
            found += _list_mistakes(key, value, space.get("depth", 1))
    cases = data.get("cases")
    for name, case in (cases if isinstance(cases, dict) else {}).items():
        for key, value in (case if isinstance(case, dict) else {}).items():
            found += [f"cases.{name}.{key}: {text}" for text in _key_mistakes(key, [value])]
    lab = data.get("lab")
    if isinstance(lab, dict) and isinstance(lab.get("variants"), list):
        from fmnist_sweep.lab import NAMES

        valid = ["all", *NAMES]
        found += [
            f"lab.variants: {name!r} is unknown{_closest(str(name), valid)}; valid: {', '.join(valid)}"
            for name in lab["variants"]
            if name not in valid
        ]
    return found


def _list_mistakes(key: str, value: list[Any], depth: Any) -> Iterator[str]:
    """A list gives each block its own value, so there must be one for the deepest net."""
    if key not in BLOCK_KEYS:
        yield f"space.{key}: a list is for {', '.join(BLOCK_KEYS)}; valid here: one value or a table"
    deepest = max((end for end in _values(depth) if isinstance(end, int)), default=0)
    if len(value) < deepest:
        yield f"space.{key}: {len(value)} values for up to {deepest} blocks; valid: a value for each block"


def _values(value: Any) -> list[Any]:
    if isinstance(value, dict):
        choices = value.get("choices")
        return list(choices) if isinstance(choices, list) else [value[end] for end in ("low", "high") if end in value]
    return value if isinstance(value, list) else [value]


def _key_mistakes(key: str, values: list[Any]) -> Iterator[str]:
    if key not in SPACE_KEYS:
        yield f"unknown key{_closest(key, list(SPACE_KEYS))}; valid: {', '.join(SPACE_KEYS)}"
        return
    for value in values:
        try:
            _try_value(key, value)
        except SpecError as error:
            yield str(error)


def _try_value(key: str, value: Any) -> None:
    """Makes the smallest spec that has ``value`` at ``key``."""
    shape = (64, 64, 1)
    if key in TRAIN_KEYS:
        helper = {"weight_decay": {"optimizer": "adamw"}, "momentum": {"optimizer": "sgd"}}.get(key, {})
        TrainSpec.from_dict({**helper, key: value})
    elif key in BLOCK_KEYS:
        BlockSpec(**{"filters": 8, key: value})
    elif key == "depth":
        from fmnist_sweep import checks

        checks.whole("depth", value, 0, 4)
    elif key == "dense_units":
        if value != 0 or isinstance(value, bool):
            ArchSpec(shape, 10, dense=(value,))
    else:
        placed = {} if key == "batch_norm" else {"batch_norm": "before_activation"}
        ArchSpec(shape, 10, blocks=(BlockSpec(8),), **{**placed, key: value})


_TAGS = ("domain", "blocks", "value", "bool", "int", "float", "str")


def _explain(problem: Mapping[str, Any]) -> str:
    """One pydantic error as a line: key, value, valid choices."""
    place = [str(part) for part in problem["loc"] if part not in _TAGS]
    key, kind, value = ".".join(place), problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        valid = _keys_at(place[:-1])
        return f"{key}: unknown key{_closest(place[-1], valid)}; valid: {', '.join(valid)}"
    if kind == "missing":
        return f"{key}: missing"
    text = problem["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        return f"{key}: {text}"
    shown = "a table" if isinstance(value, dict) else repr(value)
    return f"{key} is {shown}; {text[0].lower()}{text[1:]}"


def _keys_at(place: list[str]) -> list[str]:
    model: type[BaseModel] = SweepConfig
    for part in place:
        if part in SweepConfig.model_fields and part != "space":
            annotation = SweepConfig.model_fields[part].annotation
            model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else model
        else:
            model = Domain
    return list(model.model_fields)


def _closest(word: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(word, valid, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
