"""The mistakes in a sweep file, each as a line for people: key, value, valid choices."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import date, time
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from fmnist_sweep import checks
from fmnist_sweep.arch import MAX_BLOCKS, MAX_UNITS, ArchSpec, BlockSpec, TrainSpec
from fmnist_sweep.errors import SpecError
from fmnist_sweep.lab import NAMES
from fmnist_sweep.schema import AUTO, BLOCK_KEYS, SPACE_KEYS, TRAIN_KEYS, WHOLE_KEYS, Domain, SweepConfig

_MOST_STEPS = 10_000  # each is written out
_UNION_TYPES = ("bool_type", "int_type", "float_type", "string_type")


def explained(problems: Iterable[Mapping[str, Any]], data: dict[str, Any]) -> list[str]:
    """pydantic's errors and what the specs say on top, one line for each mistake."""
    found: dict[str, str] = {}
    for problem in problems:
        key, line = _explain(problem)
        found.setdefault(key, line)
    for line in in_space(data):
        key = line.split(":")[0]
        if not any(key == known or known.startswith(f"{key}.") for known in found):
            found[f"{key} {line}"] = line
    return list(found.values())


def in_space(data: dict[str, Any]) -> list[str]:
    """Mistakes that only the specs themselves can tell: unknown keys, values that no net may have."""
    found: list[str] = []
    space = data.get("space")
    space = space if isinstance(space, dict) else {}
    cases = data.get("cases")
    cases = {k: v for k, v in (cases if isinstance(cases, dict) else {}).items() if isinstance(v, dict)}
    depths = _values(space.get("depth", 1)) + [case["depth"] for case in cases.values() if "depth" in case]
    for key, value in space.items():
        if (key, value) == ("precision", AUTO):
            continue
        of_values = [f"space.{key}: {text}" for text in _key_mistakes(key, _values(value))]
        found += of_values
        if not of_values and isinstance(value, dict) and key in WHOLE_KEYS and isinstance(value.get("step"), float):
            found.append(f"space.{key}.step: {value['step']} is no whole number; valid: 1 or more")
        if isinstance(value, dict) and value.get("per") == "block" and key not in BLOCK_KEYS:
            found.append(f"space.{key}.per: 'block' is for {', '.join(BLOCK_KEYS)}; valid here: 'net'")
        if isinstance(value, list):
            found += _list_mistakes(key, value, depths)
        if not of_values and isinstance(value, dict):
            found += [f"space.{key}: {text}" for text in _step_mistakes(value)]
    for name, case in cases.items():
        for key, value in case.items():
            found += [f"cases.{name}.{key}: {text}" for text in _key_mistakes(key, [value])]
    lab = data.get("lab")
    if isinstance(lab, dict) and isinstance(lab.get("variants"), list):
        valid = ["all", *NAMES]
        found += [
            f"lab.variants: {name!r} is unknown{closest(str(name), valid)}; valid: {', '.join(valid)}"
            for name in lab["variants"]
            if name not in valid
        ]
    return found


def _list_mistakes(key: str, value: list[Any], depths: list[Any]) -> Iterator[str]:
    """A list gives each block its own value, so there must be one for the deepest net."""
    if key not in BLOCK_KEYS:
        yield f"space.{key}: a list is for {', '.join(BLOCK_KEYS)}; valid here: one value or a table"
    deepest = max((end for end in depths if isinstance(end, int)), default=0)
    if len(value) < deepest:
        yield f"space.{key}: {len(value)} values for up to {deepest} blocks; valid: a value for each block"


def _step_mistakes(value: dict[str, Any]) -> Iterator[str]:
    """Of a range of real numbers: steps so wide that one value is left, or so fine that too many are."""
    given = [value.get(name) for name in ("low", "high", "step")]
    ends = [it for it in given if isinstance(it, (int, float)) and not isinstance(it, bool) and math.isfinite(it)]
    if len(ends) < len(given) or not any(isinstance(it, float) for it in ends):
        return
    low, high, step = (Decimal(str(it)) for it in ends)
    if 0 < high - low < step:
        yield f"step is {value['step']}; valid: above 0, up to the width of the range"
    elif step > 0 and (high - low) / step > _MOST_STEPS:
        many = f"step is {value['step']}, which makes {int((high - low) / step) + 1:,} values"
        yield f"{many}; valid: up to {_MOST_STEPS:,}, or no step"


def _values(value: Any) -> list[Any]:
    if isinstance(value, dict):
        choices = value.get("choices")
        return list(choices) if isinstance(choices, list) else _of_range(value)
    return value if isinstance(value, list) else [value]


def _of_range(value: dict[str, Any]) -> list[Any]:
    """The ends and, where the range has steps, its second value: enough to tell a range with gaps."""
    ends = [value[end] for end in ("low", "high") if end in value]
    whole = all(isinstance(end, int) for end in ends)
    step = value.get("step", 1 if whole else None)
    with suppress(OverflowError):
        if len(ends) == 2 and all(isinstance(x, (int, float)) for x in (*ends, step)) and ends[0] + step <= ends[1]:
            ends.append(ends[0] + step)
    return ends


def _key_mistakes(key: str, values: list[Any]) -> Iterator[str]:
    if key not in SPACE_KEYS:
        yield f"unknown key{closest(key, list(SPACE_KEYS))}; valid: {', '.join(SPACE_KEYS)}"
        return
    for value in values:
        try:
            _try_value(key, value)
        except SpecError as error:
            yield str(error)


def _try_value(key: str, value: Any) -> None:
    """Makes the smallest spec that has ``value`` at ``key``."""
    shape, classes = (64, 64, 1), 2  # any that every value of a key fits
    if key in TRAIN_KEYS:
        helper = {"weight_decay": {"optimizer": "adamw"}, "momentum": {"optimizer": "sgd"}}.get(key, {})
        TrainSpec.from_dict({**helper, key: value})
    elif key in BLOCK_KEYS:
        BlockSpec(**{"filters": 8, key: value})
    elif key == "depth":
        checks.whole("depth", value, 0, MAX_BLOCKS)
    elif key == "dense_units":
        checks.whole("dense units", value, 0, MAX_UNITS)
    else:
        placed = {} if key == "batch_norm" else {"batch_norm": "before_activation"}
        ArchSpec(shape, classes, blocks=(BlockSpec(8),), **{**placed, key: value})


_TAGS = ("domain", "blocks", "value", "bool", "int", "float", "str")


def _explain(problem: Mapping[str, Any]) -> tuple[str, str]:
    """One pydantic error: its key, and as a line with key, value, valid choices."""
    tagged = problem["loc"][2:-1] if problem["type"] == "extra_forbidden" else problem["loc"][2:]
    tail = problem["loc"][2:][len(tagged) :]
    place = [str(part) for part in (*problem["loc"][:2], *(part for part in tagged if part not in _TAGS), *tail)]
    key, kind, value = ".".join(place), problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        valid = _keys_at(place[:-1])
        return key, f"{key}: unknown key{closest(place[-1], valid)}; valid: {', '.join(valid)}"
    if kind == "missing":
        return key, f"{key}: missing"
    text = problem["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        return key, f"{key}: {text}"
    shown = "a table" if isinstance(value, dict) else str(value) if isinstance(value, (date, time)) else repr(value)
    if kind in _UNION_TYPES and problem["loc"][0] in ("space", "cases"):
        return key, f"{key} is {shown}; valid: true, false, a number, a text, or for a key of the space a table"
    return key, f"{key} is {shown}; {text[0].lower()}{text[1:]}"


def _keys_at(place: list[str]) -> list[str]:
    model: type[BaseModel] = SweepConfig
    for part in place:
        if part in SweepConfig.model_fields and part != "space":
            annotation = SweepConfig.model_fields[part].annotation
            model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else model
        else:
            model = Domain
    return list(model.model_fields)


def closest(word: str, valid: list[str]) -> str:
    """A question on what ``word`` was meant to be, or nothing."""
    close = difflib.get_close_matches(word, valid, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
