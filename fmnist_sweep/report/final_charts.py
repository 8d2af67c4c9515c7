"""Charts of the finals: differences, shrinkage, confusion."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import plotly.graph_objects as go

from fmnist_sweep.report.images import Confusion
from fmnist_sweep.report.look import BACK, BETTER, GREY, INK, LAB, MUTED, OPEN, OURS, WORSE, label, note, rows
from fmnist_sweep.report.look import chart as blank
from fmnist_sweep.report.nets import Shrinkage
from fmnist_sweep.verdicts import Outcome, PairVerdict
from fmnist_sweep.wording import points

_ROW, _HEAD = 40, 34
_COLORS: dict[Outcome, str] = {"better": BETTER, "worse": WORSE, "not distinguishable": OPEN}
_SYMBOLS: dict[Outcome, str] = {"better": "triangle-up", "worse": "triangle-down", "not distinguishable": "circle"}


def forest(pairs: Sequence[PairVerdict]) -> go.Figure:
    """Differences with their intervals, under a heading for each first net."""
    grouped = [(name, list(members)) for name, members in groupby(pairs, key=lambda pair: pair.a)]
    ends = [0.0, *(100 * end for pair in pairs for end in (pair.ci_low, pair.ci_high))]
    pad = 0.04 * (max(ends) - min(ends)) or 0.1
    height = sum(_HEAD + _ROW * len(members) for _, members in grouped) + 4
    figure = rows(height, min(ends) - pad, max(ends) + pad, "points of test accuracy, first net less second")
    figure.add_shape(type="line", x0=0, x1=0, y0=0, y1=height, line={"color": INK, "width": 1})
    y = 0
    for name, members in grouped:
        note(figure, f"<b>{label(name)}</b> beside", y + 19)
        y += _HEAD
        for pair in members:
            _pair(figure, pair, y)
            y += _ROW
    return figure


def _pair(figure: go.Figure, pair: PairVerdict, y: int) -> None:
    color, low, high = _COLORS[pair.verdict], 100 * pair.ci_low, 100 * pair.ci_high
    note(figure, label(pair.b), y + 8, bgcolor=BACK)
    note(figure, f"{points(pair.mean_difference)}  {pair.verdict}", y + 8, right=True, color=color, bgcolor=BACK)
    told = f"{pair.a} - {pair.b}: {pair.verdict}, {pair.figures}"
    figure.add_scatter(x=[low, high], y=[y + 25] * 2, mode="lines", line={"color": color, "width": 3}, hoverinfo="skip")
    figure.add_scatter(
        x=[100 * pair.mean_difference],
        y=[y + 25],
        mode="markers",
        marker={"color": color, "size": 12, "symbol": _SYMBOLS[pair.verdict], "line": {"color": BACK, "width": 1}},
        hovertext=[label(told)],
        hoverinfo="text",
    )


def shrinkage(found: Sequence[Shrinkage]) -> go.Figure:
    """From each net's search score to what it came to under new seeds."""
    ends = [100 * value for it in found for value in (it.searched, it.retrained, it.last)]
    pad = 0.06 * (max(ends) - min(ends)) or 0.1
    figure = rows(_ROW * len(found) + 4, min(ends) - pad, max(ends) + pad, "validation accuracy, %")
    for place, it in enumerate(found):
        y, color = _ROW * place, LAB if it.lab else OURS
        note(figure, f"<b>{label(it.name)}</b>", y + 10, bgcolor=BACK)
        change = f"{100 * it.searched:.2f} → {100 * it.retrained:.2f}"
        note(figure, f"{change}  ({points(it.retrained - it.searched)})", y + 10, right=True, bgcolor=BACK)
        values = [100 * it.searched, 100 * it.retrained]
        line = {"color": color, "width": 2}
        figure.add_scatter(x=values, y=[y + 28] * 2, mode="lines", line=line, hoverinfo="skip")
        figure.add_scatter(
            x=[*values, 100 * it.last],
            y=[y + 28] * 3,
            mode="markers",
            marker={
                "size": [11, 11, 10],
                "symbol": ["circle", "circle", "line-ns"],
                "color": [BACK, color, color],
                "line": {"color": color, "width": 2},
            },
            hovertext=[
                f"in the search, one seed, best epoch: {100 * it.searched:.2f} %",
                f"retrained, best epoch: {100 * it.retrained:.2f} %",
                f"retrained, last epoch: {100 * it.last:.2f} %",
            ],
            hoverinfo="text",
        )
    return figure


def confusion(found: Confusion) -> go.Figure:
    """Predictions in columns, labels in rows; what is right is left pale, so that the mistakes stand out."""
    names = [label(name) for name in found.classes]
    percents = [[100 * share for share in row] for row in found.shares]
    wrong = [[None if a == b else value for b, value in enumerate(row)] for a, row in enumerate(percents)]
    most = max((value for row in wrong for value in row if value is not None), default=0.0)
    figure = blank(max(340, 34 * len(names) + 90))
    figure.add_heatmap(
        z=wrong,
        x=names,
        y=names,
        zmin=0,
        zmax=most or 1.0,
        colorscale=[[0, BACK], [1, OURS]],
        showscale=False,
        xgap=1,
        ygap=1,
        hovertext=[
            [f"{a} taken for {b}: {value:.1f} %" for b, value in zip(names, row, strict=True)]
            for a, row in zip(names, percents, strict=True)
        ],
        hoverinfo="text",
        hoverongaps=False,
    )
    for a, row in enumerate(percents):
        for b, value in enumerate(row):
            if value >= 0.5:
                color = MUTED if a == b else INK
                figure.add_annotation(
                    x=names[b], y=names[a], text=f"{value:.0f}", showarrow=False, font={"color": color, "size": 11}
                )
    # As categories even where the classes are called by numbers, and each of them named.
    figure.update_xaxes(
        type="category", dtick=1, title_text="taken for", tickangle=-60, showgrid=False, tickfont_color=INK
    )
    figure.update_yaxes(type="category", dtick=1, autorange="reversed", showgrid=False, tickfont_color=INK)
    figure.update_layout(plot_bgcolor=BACK)
    figure.add_shape(
        type="rect", x0=-0.5, x1=len(names) - 0.5, y0=-0.5, y1=len(names) - 0.5, line={"color": GREY, "width": 1}
    )
    return figure
