"""How charts look: colours, fonts, and figures that are laid out in pixels."""

from __future__ import annotations

import html
from typing import Any

import plotly.graph_objects as go

INK = "#24292f"
MUTED = "#667085"
GRID = "#e7e9ed"
GREY = "#bcc2cb"
BACK = "#fffefc"
OURS = "#c65a1b"
OURS_SOFT = "#e9b896"
LAB = "#2f6db3"
BETTER = "#23794a"
WORSE = "#b4323a"
OPEN = "#6c7482"

DARK = {
    INK: "#e6e8eb",
    MUTED: "#9aa3af",
    GRID: "#2a2f36",
    GREY: "#4d545e",
    BACK: "#14171b",
    OURS: "#f0955a",
    OURS_SOFT: "#8a5a3b",
    LAB: "#7db2ee",
    BETTER: "#67c191",
    WORSE: "#f28b8b",
    OPEN: "#a0a8b3",
}
"""The colour to take in the dark for each one in the light."""

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif'


def label(text: str) -> str:
    """Text for a chart, where ``<b>`` and the like would be taken for markup."""
    return html.escape(text, quote=False)


def chart(height: int, **layout: Any) -> go.Figure:
    """An empty figure: no legend, no dragging (which would get in the way of scrolling), colours for any ground."""
    figure = go.Figure(
        layout={
            "template": "none",
            "height": height,
            "margin": {"l": 6, "r": 10, "t": 8, "b": 8},
            "font": {"family": FONT, "size": 12, "color": MUTED},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "dragmode": False,
            "showlegend": False,
            "hovermode": "closest",
            "hoverlabel": {"bgcolor": BACK, "bordercolor": GREY, "font": {"color": INK, "family": FONT, "size": 12}},
            **layout,
        }
    )
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(
            automargin=True,
            gridcolor=GRID,
            linecolor=GRID,
            tickcolor=GRID,
            zeroline=False,
            ticks="",
            fixedrange=True,
            title_standoff=6,
        )
    return figure


def rows(height: int, low: float, high: float, title: str, foot: int = 44) -> go.Figure:
    """A figure whose y axis is in pixels from its top, for rows with a line of text over each mark.

    Args:
        height: Of all rows, in pixels.
        low: Left end of the x axis.
        high: Right end.
        title: Of the x axis.
        foot: Pixels below the rows, for the x axis.
    """
    figure = chart(height + foot, margin={"l": 1, "r": 1, "t": 0, "b": foot})
    figure.update_yaxes(range=[height, 0], visible=False, automargin=False)
    figure.update_xaxes(range=[low, high], title_text=title, automargin=False, nticks=7)
    return figure


def note(
    figure: go.Figure, text: str, y: float, *, right: bool = False, color: str = INK, size: int = 12, **more: Any
) -> None:
    """Writes a line at the left or right edge, ``y`` pixels from the top; ``text`` may hold plotly's markup."""
    figure.add_annotation(
        **{
            "x": 1 if right else 0,
            "xref": "paper",
            "xanchor": "right" if right else "left",
            "y": y,
            "yanchor": "middle",
            "text": text,
            "showarrow": False,
            "font": {"color": color, "size": size},
            **more,
        }
    )
