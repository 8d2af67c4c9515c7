"""Charts of the search: history, importances, settings, sizes, learning curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import Literal

import plotly.graph_objects as go

from fmnist_sweep.report.importance import Importances
from fmnist_sweep.report.look import BACK, GREY, INK, LAB, MUTED, OURS, OURS_SOFT, chart, label, note, rows
from fmnist_sweep.report.search import BATCH_NORMS, Attempt, Curve, Line, Search, floor, scale

Along = Literal["trial", "minute"]
_AXIS = 82


def history(search: Search, along: Along) -> go.Figure:
    """Every trial's score, and the best of those trained in full so far, by trial or by minute."""
    by_trial = along == "trial"
    x: Callable[[Attempt], float] = (lambda it: it.number) if by_trial else (lambda it: it.minutes)
    full = [it for it in search.attempts if it.full]
    stopped = [it for it in search.attempts if not it.full]
    lab = search.best_of_lab
    figure, low = _scored(search.attempts, [lab] if lab else [], 300)
    if by_trial:
        last = max(it.number for it in search.attempts)
        figure.update_xaxes(title_text="trial", range=[-0.6, last + 0.6], dtick=1 if last < 12 else None)
    else:
        figure.update_xaxes(title_text="minutes since the first trial began", rangemode="tozero")
    if lab:
        figure.add_hline(100 * lab.score, line={"color": LAB, "width": 1.5, "dash": "dash"})
    _dots(figure, stopped, x, GREY, low)
    _dots(figure, full, x, OURS, low)
    end = max((x(it) for it in search.attempts), default=0.0)
    steps = search.by_trial if by_trial else search.by_minute
    _steps(figure, steps, end)
    return figure


def _scored(nets: Sequence[Attempt], beside: Sequence[Attempt], height: int) -> tuple[go.Figure, float]:
    """A figure for scores in percent, made for ``nets``, which holds ``beside``; and where lower ones stand."""
    shown = [*scale(nets), *(it.score for it in beside)]
    low, high = 100 * min([floor(scale(nets)), *(it.score - 0.001 for it in beside)]), 100 * max(shown)
    figure = chart(height)
    edges = [low - 0.05 * (high - low), high + 0.08 * (high - low)]
    figure.update_yaxes(title_text="best validation accuracy, %", range=edges)
    return figure, low


def _dots(figure: go.Figure, nets: Sequence[Attempt], x: Callable[[Attempt], float], color: str, low: float) -> None:
    """A dot for each net; one that is below ``low`` is a triangle there."""
    figure.add_scatter(
        x=[x(it) for it in nets],
        y=[max(100 * it.score, low) for it in nets],
        mode="markers",
        marker={
            "color": color,
            "size": 8,
            "symbol": ["circle" if 100 * it.score >= low else "triangle-down" for it in nets],
            "line": {"color": BACK, "width": 1},
        },
        cliponaxis=False,
        hovertext=[told(it) for it in nets],
        hoverinfo="text",
    )


def told(net: Attempt) -> str:
    """What hovering over a net says."""
    return (
        f"<b>{label(net.name)}</b>  {100 * net.score:.2f} %, {net.epoch:g} epoch{'s' * (net.epoch != 1)}<br>"
        f"{label(net.net)}<br>{net.parameters:,} parameters"
    )


def _steps(figure: go.Figure, line: Line, end: float) -> None:
    if line:
        figure.add_scatter(
            x=[*(x for x, _ in line), end],
            y=[100 * y for y in (*(y for _, y in line), line[-1][1])],
            mode="lines",
            line={"color": OURS, "width": 2, "shape": "hv"},
            hoverinfo="skip",
        )


def importances(found: Importances) -> go.Figure:
    """A bar for each setting, with its range when the trials are drawn again."""
    row = 34
    figure = rows(row * len(found.shares) + 4, 0, 101, "% of what the settings explain together")
    for place, it in enumerate(found.shares):
        y = row * place
        note(figure, label(it.name), y + 8)
        told = f"{100 * it.share:.0f} %  ({100 * it.low:.0f} to {100 * it.high:.0f})"
        note(figure, told, y + 8, right=True, color=MUTED)
        figure.add_shape(type="rect", x0=0, x1=100 * it.share, y0=y + 17, y1=y + 27, fillcolor=OURS, line={"width": 0})
        figure.add_scatter(
            x=[100 * it.low, 100 * it.high],
            y=[y + 22] * 2,
            mode="lines+markers",
            line={"color": INK, "width": 1.5},
            marker={"symbol": "line-ns", "size": 8, "line": {"color": INK, "width": 1.5}},
            hoverinfo="skip",
        )
    return figure


def settings(search: Search) -> go.Figure:
    """Parallel coordinates, the axes one under the other: a line from top to bottom is a trial."""
    axes = _axes(search)
    height = _AXIS * (len(axes) - 1) + 56
    figure = rows(height, -0.03, 1.03, "", foot=6)
    figure.update_xaxes(visible=False)
    for place, (title, ticks, _) in enumerate(axes):
        y = 22 + _AXIS * place
        figure.add_shape(type="line", x0=0, x1=1, y0=y, y1=y, line={"color": GREY, "width": 1})
        note(figure, f"<b>{title}</b>", y - 13, bgcolor=BACK)
        for at, text in ticks:
            note(figure, text, y + 12, color=MUTED, size=11, bgcolor=BACK, x=at, xref="x", xanchor=_anchor(at))
    best = set(search.best)
    stopped = [it for it in search.attempts if not it.full]
    full = [it for it in search.attempts if it.full and it.name not in best]
    _lines(figure, stopped, axes, GREY, 1)
    _lines(figure, full, axes, OURS_SOFT, 1.5)
    for net in search.attempts:
        if net.name in best:
            _lines(figure, [net], axes, OURS, 2.5)
    return figure


def _anchor(at: float) -> str:
    return "left" if at < 0.04 else "right" if at > 0.96 else "center"


Ticks = list[tuple[float, str]]
Axis = tuple[str, Ticks, dict[str, float]]


def _axes(search: Search) -> list[Axis]:
    """Title, ticks and each trial's place, from 0 to 1, on each axis."""
    nets = search.attempts
    low = floor(scale(nets))
    scores = {it.name: max(it.score, low) for it in nets}
    return [
        _axis("blocks", {it.name: it.depth for it in nets}),
        _axis("filters, mean of the blocks", {it.name: it.filters for it in nets}, log=True),
        _named("BatchNorm", {it.name: it.batch_norm for it in nets}, BATCH_NORMS),
        _axis("dropout, mean of the blocks", {it.name: it.dropout for it in nets}),
        _named("dense units", {it.name: f"{it.dense}" for it in nets}, _ascending(nets)),
        _axis("best validation accuracy, %", {name: 100 * score for name, score in scores.items()}, few=True),
    ]


def _ascending(nets: Sequence[Attempt]) -> tuple[str, ...]:
    return tuple(map(str, sorted({it.dense for it in nets})))


def _axis(title: str, values: dict[str, float] | dict[str, int], log: bool = False, few: bool = False) -> Axis:
    """Numbers; ``few``: ticks at the ends and in the middle alone."""
    scaled = {name: math.log2(max(value, 1)) if log else float(value) for name, value in values.items()}
    low, high = min(scaled.values()), max(scaled.values())
    width = high - low

    def place(value: float) -> float:
        return (value - low) / width if width else 0.5

    shown = sorted(set(scaled.values()))
    if few or len(shown) > 6:
        shown = [low, (low + high) / 2, high] if width else [low]
    ticks = [(place(value), f"{2**value if log else value:.{4 if few else 3}g}") for value in shown]
    return title, ticks, {name: place(value) for name, value in scaled.items()}


def _named(title: str, values: dict[str, str], order: tuple[str, ...]) -> Axis:
    kinds = [kind for kind in order if kind in values.values()]
    at = {kind: place / (len(kinds) - 1) if len(kinds) > 1 else 0.5 for place, kind in enumerate(kinds)}
    return title, [(at[kind], kind) for kind in kinds], {name: at[kind] for name, kind in values.items()}


def _lines(figure: go.Figure, nets: Sequence[Attempt], axes: Sequence[Axis], color: str, width: float) -> None:
    """All of ``nets`` as one trace; each is moved a little to the side by its number, so that equals are told apart."""
    x: list[float | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for net in nets:
        aside = 0.024 * ((net.number * 0.618) % 1 - 0.5)
        for place, (_, _, at) in enumerate(axes):
            x.append(at[net.name] + (aside if place < len(axes) - 1 else 0))
            y.append(22 + _AXIS * place)
            text.append(told(net))
        x.append(None)
        y.append(None)
        text.append("")
    figure.add_scatter(x=x, y=y, mode="lines", line={"color": color, "width": width}, hovertext=text, hoverinfo="text")


def sizes(search: Search) -> go.Figure:
    """Accuracy against parameters, with the front."""
    full = [it for it in search.attempts if it.full]
    stopped = [it for it in search.attempts if not it.full]
    figure, low = _scored([*search.attempts, *search.lab], [], 340)
    figure.update_xaxes(title_text="parameters", type="log", dtick=1, tickformat="~s", minor_ticks="")
    x: Callable[[Attempt], float] = lambda it: it.parameters  # noqa: E731
    _dots(figure, stopped, x, GREY, low)
    _steps(figure, tuple((float(it.parameters), it.score) for it in search.front), max(_parameters(search), default=1))
    _dots(figure, full, x, OURS, low)
    _dots(figure, search.lab, x, LAB, low)
    return figure


def _parameters(search: Search) -> list[float]:
    return [float(it.parameters) for it in (*search.attempts, *search.lab)]


def curve(search: Search, shown: Curve, what: Literal["accuracy", "loss"]) -> go.Figure:
    """One net's training (dashed) and validation figures, all other trials' validation in grey behind them."""
    factor = 100 if what == "accuracy" else 1
    figure = chart(160, margin={"l": 2, "r": 6, "t": 4, "b": 2})
    figure.update_yaxes(range=_range(search, what), nticks=4, tickfont_size=11)
    figure.update_xaxes(range=[0, _end(search, shown)], nticks=6, tickfont_size=11)
    x: list[float | None] = []
    y: list[float | None] = []
    for other in search.others:
        x += [*other.epochs, None]
        y += [*(round(factor * value, 3) for value in _of(other, "val", what)), None]
    grey = {"color": GREY, "width": 1}
    figure.add_scatter(x=x, y=y, mode="lines", line=grey, opacity=0.5, hoverinfo="skip")
    color = LAB if shown.lab else OURS
    for part, dash, name in (("train", "dot", "training"), ("val", "solid", "validation")):
        values = [factor * value for value in _of(shown, part, what)]
        figure.add_scatter(
            x=shown.epochs,
            y=values,
            mode="lines+markers" if len(values) == 1 else "lines",
            line={"color": color, "width": 2, "dash": dash},
            hovertext=[
                f"{name}, epoch {epoch:g}: {value:.4g}" for epoch, value in zip(shown.epochs, values, strict=True)
            ],
            hoverinfo="text",
        )
    return figure


def _of(curve: Curve, part: str, what: str) -> Sequence[float]:
    values: Sequence[float] = getattr(curve, f"{part}_{what}")
    return values


def _range(search: Search, what: Literal["accuracy", "loss"]) -> list[float]:
    """One range for all nets, in which the nets pointed out fill the room, all but what is far off."""
    values = sorted(
        value
        for curve in search.shown
        for part in ("train", "val")
        for value in _of(curve, part, what)
        if math.isfinite(value)
    )
    if not values:
        return [0.0, 1.0]
    off = len(values) // 20
    if what == "accuracy":
        low, high = 100 * values[off], 100 * values[-1]
    else:
        low, high = values[0], values[-1 - off]
    pad = 0.05 * (high - low) or 0.5
    return [low - pad, high + pad]


def _end(search: Search, shown: Curve) -> float:
    """Where the axis of epochs ends: where most do, unless this net was trained for longer."""
    ends = [curve.epochs[-1] for curve in search.shown if curve.epochs]
    return max(median(ends), shown.epochs[-1]) * 1.03 if shown.epochs else 1.0
