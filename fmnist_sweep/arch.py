"""Architectures and training recipes as frozen values, checked at birth.

Both convert to and from plain dicts, and have one canonical fingerprint: two values with the same
fingerprint describe the same net, trained the same way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from itertools import count
from typing import Any, Literal, get_args

from fmnist_sweep import checks
from fmnist_sweep.errors import SpecError

Pooling = Literal["max", "average", "none"]
PoolAfter = Literal["last", "first"]
BatchNorm = Literal["none", "before_activation", "after_activation", "after_pooling"]
Head = Literal["flatten", "global_average"]
Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "cosine", "one_cycle"]
Precision = Literal["float32", "mixed_bfloat16"]

MIN_FILTERS, MAX_FILTERS = 8, 256
MAX_BLOCKS = 4
MAX_UNITS = 8192
KERNEL_SIZES = (1, 3, 5, 7)


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """One block: ``convs`` times (convolution, ReLU), with pooling by 2 after one of them, then dropout.

    Attributes:
        filters: Filters of each convolution, 8 to 256.
        kernel_size: Side of the square kernel in pixels: 1, 3, 5 or 7; padding keeps the size.
        convs: Convolutions, 1 to 3.
        pooling: ``max`` or ``average`` over 2x2 with stride 2, or ``none``.
        dropout: Share of the values that dropout sets to zero at the block's end, 0 to below 1.
        pool_after: Of several convolutions, which is pooled: the ``last``, or the ``first``, so that the others work
            on a quarter of the pixels.
    """

    filters: int
    kernel_size: int = 3
    convs: int = 1
    pooling: Pooling = "max"
    dropout: float = 0.0
    pool_after: PoolAfter = "last"

    def __post_init__(self) -> None:
        checks.whole("filters", self.filters, MIN_FILTERS, MAX_FILTERS)
        checks.one_of("kernel_size", self.kernel_size, KERNEL_SIZES)
        checks.whole("convs", self.convs, 1, 3)
        checks.one_of("pooling", self.pooling, get_args(Pooling))
        checks.real("dropout", self.dropout, 0.0, 1.0, open_high=True)
        checks.one_of("pool_after", self.pool_after, get_args(PoolAfter))
        _as_floats(self, "dropout")
        if self.convs == 1 or self.pooling == "none":  # the same net, which has one name
            object.__setattr__(self, "pool_after", "last")

    @property
    def pooled(self) -> int:
        """Which of the convolutions is pooled, counted from 1; 0 where none is."""
        if self.pooling == "none":
            return 0
        return 1 if self.pool_after == "first" else self.convs


@dataclass(frozen=True, slots=True)
class ArchSpec:
    """A convolutional (or, with no block, a fully connected) image classifier.

    Attributes:
        input_shape: Height, width and channels of an image.
        classes: Number of classes, at least 2.
        blocks: 0 to 4 convolutional blocks; 0 makes a fully connected net.
        batch_norm: Where the blocks and the dense layers normalise, if they do. ``after_pooling``: a block's last
            convolution is pooled, then normalised, then activated, which is a net of its own and a fast one, as
            BatchNorm sees a quarter of the values; before the activation where nothing is pooled.
        bn_dense: Whether the dense layers have BatchNorm too (placed as in the blocks).
        bn_logits: Whether the last layer's output is normalised before the softmax.
        head: How the last feature maps become one vector.
        dense: Units of each hidden dense layer, none to three of them.
        dense_dropout: Share that dropout sets to zero after each hidden dense layer.
    """

    input_shape: tuple[int, int, int]
    classes: int
    blocks: tuple[BlockSpec, ...] = ()
    batch_norm: BatchNorm = "none"
    bn_dense: bool = False
    bn_logits: bool = False
    head: Head = "flatten"
    dense: tuple[int, ...] = ()
    dense_dropout: float = 0.0

    def __post_init__(self) -> None:
        if len(self.input_shape) != 3:
            raise SpecError(f"input_shape is {self.input_shape!r}; valid: (height, width, channels)")
        for name, size in zip(("height", "width", "channels"), self.input_shape, strict=True):
            checks.whole(f"input {name}", size, 1, 4096)
        checks.whole("classes", self.classes, 2, 100_000)
        if len(self.blocks) > MAX_BLOCKS:
            raise SpecError(f"the net has {len(self.blocks)} blocks; valid: 0 to {MAX_BLOCKS}")
        checks.one_of("batch_norm", self.batch_norm, get_args(BatchNorm))
        checks.flag("bn_dense", self.bn_dense)
        checks.flag("bn_logits", self.bn_logits)
        checks.one_of("head", self.head, get_args(Head))
        if len(self.dense) > 3:
            raise SpecError(f"the net has {len(self.dense)} hidden dense layers; valid: 0 to 3")
        for units in self.dense:
            checks.whole("dense units", units, 1, MAX_UNITS)
        checks.real("dense_dropout", self.dense_dropout, 0.0, 1.0, open_high=True)
        _as_floats(self, "dense_dropout")
        self._check_together()

    def _check_together(self) -> None:
        if self.batch_norm == "none" and (self.bn_dense or self.bn_logits):
            raise SpecError(
                "bn_dense and bn_logits need a placement: batch_norm is 'none'; "
                "valid then: 'before_activation', 'after_activation', 'after_pooling'"
            )
        if not self.blocks and self.head == "global_average":
            raise SpecError("head is 'global_average' but the net has no block to average; valid then: 'flatten'")
        height, width, _ = self.input_shape
        for place, block in enumerate(self.blocks, start=1):
            if block.pooling == "none":
                continue
            if min(height, width) < 2:
                raise SpecError(
                    f"block {place} would pool a map of {height}x{width} pixels, which needs at least 2x2; "
                    f"valid for images of {self.input_shape[0]}x{self.input_shape[1]}: fewer pooling blocks"
                )
            height, width = height // 2, width // 2

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the inverse of ``from_dict``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ArchSpec:
        """Rebuilds a spec from ``to_dict``.

        Raises:
            SpecError: An unknown key, or values that make no net.
        """
        values = _known(cls, data)
        if "blocks" in values:
            values["blocks"] = tuple(BlockSpec(**_known(BlockSpec, block)) for block in values["blocks"])
        for key in ("input_shape", "dense"):
            if key in values:
                values[key] = tuple(values[key])
        return cls(**values)

    @property
    def short(self) -> str:
        """The net in one short line, as tables show it."""
        parts = [f"{len(self.blocks)}x conv {self.filters_text}{self._convolutions}" if self.blocks else "no conv"]
        if self.batch_norm != "none":
            where = self.batch_norm.removesuffix("_activation").replace("_", " ")
            parts.append(f"bn {where}" + ("+logits" if self.bn_logits else ""))
        if any(block.dropout for block in self.blocks):
            parts.append(f"drop {_same([_rate(block.dropout) for block in self.blocks])}")
        head = "gap" if self.head == "global_average" else ""
        dense = "dense " + "-".join(str(units) for units in self.dense) if self.dense else ""
        parts.extend(text for text in (head, dense) if text)
        return " · ".join(parts)

    @property
    def _convolutions(self) -> str:
        """What the blocks' convolutions have that is not as usual (one of 3x3, max-pooled)."""
        notes = []
        if any(block.kernel_size != 3 for block in self.blocks):
            notes.append(f" k{_same([block.kernel_size for block in self.blocks])}")
        if any(block.convs != 1 for block in self.blocks):
            notes.append(f" x{_same([block.convs for block in self.blocks])}")
        if any(block.pool_after == "first" for block in self.blocks):
            notes.append(" pooled first")
        if any(block.pooling == "average" for block in self.blocks):
            notes.append(" avg")
        return "".join(notes)

    @property
    def filters_text(self) -> str:
        """Filters by block, as in ``32-64-128``."""
        return "-".join(str(block.filters) for block in self.blocks) or "none"


SEEDS = 2**31
"""How many seeds there are, from 0 on."""


def seeds_from(first: int) -> Iterator[int]:
    """Every seed from ``first`` on, and after the last the first ones again."""
    return (number % SEEDS for number in count(first))


@dataclass(frozen=True, slots=True)
class TrainSpec:
    """How a net is trained.

    Attributes:
        optimizer: ``adam``, ``adamw`` (decoupled weight decay) or ``sgd`` (Nesterov momentum).
        learning_rate: Constant rate, or the peak of a schedule.
        schedule: ``constant``; ``cosine`` down to zero; ``one_cycle``: linear up over the first
            quarter, then cosine down to zero.
        batch_size: Images of one step.
        epochs: Passes over the training images.
        flip: Mirror each image left to right with probability one half.
        shift: Move each image by up to this many pixels each way, each image by its own amount.
        cutout: Side of a square, in pixels, that is blackened in each image, at a place of its own.
        label_smoothing: Share of the target spread evenly over all classes.
        weight_decay: For ``adamw`` alone.
        momentum: For ``sgd`` alone.
        precision: ``float32`` or Keras' ``mixed_bfloat16`` policy. A sweep may say ``auto``: bfloat16 where a probe of
            a few seconds, as a study begins, finds it a tenth faster or more, else float32.
        seed: Of the initial weights, the order of the images, dropout and augmentation.
    """

    optimizer: Optimizer = "adam"
    learning_rate: float = 0.001
    schedule: Schedule = "constant"
    batch_size: int = 32
    epochs: int = 5
    flip: bool = False
    shift: int = 0
    label_smoothing: float = 0.0
    weight_decay: float = 0.0
    momentum: float = 0.0
    precision: Precision = "float32"
    seed: int = 0
    cutout: int = 0

    def __post_init__(self) -> None:
        checks.one_of("optimizer", self.optimizer, get_args(Optimizer))
        checks.real("learning_rate", self.learning_rate, 1e-8, 100.0)
        checks.one_of("schedule", self.schedule, get_args(Schedule))
        checks.whole("batch_size", self.batch_size, 1, 65_536)
        checks.whole("epochs", self.epochs, 1, 10_000)
        checks.flag("flip", self.flip)
        checks.whole("shift", self.shift, 0, 64)
        checks.whole("cutout", self.cutout, 0, 64)
        checks.real("label_smoothing", self.label_smoothing, 0.0, 0.9)
        checks.real("weight_decay", self.weight_decay, 0.0, 10.0)
        checks.real("momentum", self.momentum, 0.0, 1.0, open_high=True)
        checks.one_of("precision", self.precision, get_args(Precision))
        checks.whole("seed", self.seed, 0, SEEDS - 1)
        _as_floats(self, "learning_rate", "label_smoothing", "weight_decay", "momentum")
        if self.weight_decay and self.optimizer != "adamw":
            raise SpecError(f"weight_decay is {self.weight_decay!r} with optimizer {self.optimizer!r}; valid: 'adamw'")
        if self.momentum and self.optimizer != "sgd":
            raise SpecError(f"momentum is {self.momentum!r} with optimizer {self.optimizer!r}; valid: 'sgd'")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the inverse of ``from_dict``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainSpec:
        """Rebuilds a spec from ``to_dict``.

        Raises:
            SpecError: An unknown key or a bad value.
        """
        return cls(**_known(cls, data))

    def with_seed(self, seed: int) -> TrainSpec:
        """The same recipe under another seed."""
        return replace(self, seed=seed)


def fingerprint(arch: ArchSpec, train: TrainSpec) -> str:
    """16 hexadecimal digits that name this net trained this way, the same on every machine and in every release."""
    recipe, net = train.to_dict(), arch.to_dict()
    for values, key, default in ((recipe, "cutout", 0), *((block, "pool_after", "last") for block in net["blocks"])):
        if values[key] == default:  # a key that came later counts where it says something
            del values[key]
    said = {"arch": net, "train": recipe}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def contract_params(arch: ArchSpec, train: TrainSpec) -> dict[str, str | int | float]:
    """The parameters as MLflow and ``--json`` name them (see the command line's contract)."""
    blocks = arch.blocks
    return {
        "depth": len(blocks),
        "filters": arch.filters_text,
        "kernel_size": _same([block.kernel_size for block in blocks]),
        "convs_per_block": _same([block.convs for block in blocks]),
        "pooling": _same([block.pooling for block in blocks]),
        "pool_after": _same([block.pool_after for block in blocks]),
        "batch_norm": arch.batch_norm,
        "bn_dense": str(arch.bn_dense).lower(),
        "bn_logits": str(arch.bn_logits).lower(),
        "dropout": _same([block.dropout for block in blocks], empty=0.0),
        "head": arch.head,
        "dense_units": _same(list(arch.dense), empty=0),
        "dense_dropout": arch.dense_dropout,
        "optimizer": train.optimizer,
        "learning_rate": train.learning_rate,
        "schedule": train.schedule,
        "batch_size": train.batch_size,
        "epochs": train.epochs,
        "flip": str(train.flip).lower(),
        "shift": train.shift,
        "cutout": train.cutout,
        "label_smoothing": train.label_smoothing,
        "weight_decay": train.weight_decay,
        "momentum": train.momentum,
        "precision": train.precision,
        "seed": train.seed,
    }


def _same(values: list[Any], empty: Any = "none") -> Any:
    """The one value where all are equal, else all of them joined by dashes."""
    if not values:
        return empty
    return values[0] if len(set(values)) == 1 else "-".join(str(value) for value in values)


def _rate(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".").lstrip("0") or "0"


def _as_floats(spec: object, *names: str) -> None:
    """Makes 0, 0.0 and -0.0 one value, so that equal specs are written alike."""
    for name in names:
        object.__setattr__(spec, name, float(getattr(spec, name)) + 0.0)


def _known(cls: type, data: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(cls)}
    unknown = sorted(set(data) - names)
    if unknown:
        raise SpecError(f"{cls.__name__} has no {unknown[0]!r}; valid: {', '.join(sorted(names))}")
    for field in fields(cls):
        if field.default is MISSING and field.name not in data:
            raise SpecError(f"{cls.__name__} lacks {field.name!r}")
    return dict(data)
