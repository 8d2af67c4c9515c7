"""What describes a configuration to a model: its values in numbers, and its sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist_sweep import arithmetic
from fmnist_sweep.proposers.base import Proposal


def features(proposals: Sequence[Proposal]) -> NDArray[np.float64]:
    """A row for each proposal, shape (proposals, features); each column has mean 0 and standard deviation 1.

    A number is its rank among the values that the proposals have for that name, so that 16, 32, 64 and 128 filters are
    evenly apart, as are draws from a logarithmic range. Anything else has a column for each of its values. A name that
    some proposals lack (filters of a block that isn't there) has a column that says so. To these come the
    logarithms of parameters, FLOPs and values in the layers' outputs. Columns without any difference are left out.
    """
    columns: list[Sequence[float]] = []
    for name in sorted({name for it in proposals for name in it.drawn}):
        values = [it.drawn.get(name) for it in proposals]
        columns.append([float(value is not None) for value in values])
        columns.extend(_columns(values))
    costs = [arithmetic.cost(it.arch) for it in proposals]
    columns.append([math.log2(1 + it.parameters) for it in costs])
    columns.append([math.log2(1 + it.flops) for it in costs])
    columns.append([math.log2(1 + it.activation_elements) for it in costs])
    rows = np.array(columns, np.float64).T
    spread = rows.std(axis=0)
    telling = spread > 1e-9
    found: NDArray[np.float64] = (rows - rows.mean(axis=0))[:, telling] / spread[telling]
    return found


def _columns(values: Sequence[Any]) -> list[Sequence[float]]:
    """One column of ranks from 0 to 1 for numbers; for other values one column each."""
    there = {value for value in values if value is not None}
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in there):
        rank = {value: place / max(len(there) - 1, 1) for place, value in enumerate(sorted(there))}
        return [[rank.get(value, 0.0) for value in values]]
    return [[float(value is not None and value == kind) for value in values] for kind in sorted(there, key=str)]
