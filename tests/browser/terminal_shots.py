"""Pictures of a terminal in which a sweep runs: ``python -m tests.browser.terminal_shots --folder F --out F``.

A real run of the sweep ``smoke`` in a pseudo-terminal of 80 columns, in its midst and at its end.
"""

from __future__ import annotations

import argparse
import html
import itertools
import sys
from pathlib import Path

import pyte
from playwright.sync_api import Page
from pyte.screens import Char

from tests.browser.chromium import browser_page, executable
from tests.browser.shots import take
from tests.pseudo_terminal import terminal

TRIALS, COLUMNS, ROWS = 8, 80, 46
PAPER, INK = "#16181d", "#d8dae0"
COLORS = {
    **{"black": "#5c6370", "red": "#f2777a", "green": "#8fc97a", "brown": "#e5c07b", "blue": "#6cb0f5"},
    **{"magenta": "#c792ea", "cyan": "#62c7cf", "white": "#ffffff", "default": INK},
}
STYLE = f"margin: 0; padding: 14px 18px; background: {PAPER}; font: 15px/1.35 'DejaVu Sans Mono', monospace"


def as_html(screen: pyte.Screen) -> str:
    """The screen's text in its colours, without the empty lines below it."""
    rows = [[screen.buffer[row][column] for column in range(screen.columns)] for row in range(screen.lines)]
    while rows and not "".join(char.data for char in rows[-1]).strip():
        rows.pop()
    return "\n".join(_line(row) for row in rows)


def _line(row: list[Char]) -> str:
    parts = []
    for (color, bold), chars in itertools.groupby(row, lambda char: (char.fg, char.bold)):
        text = html.escape("".join(char.data for char in chars))
        shown = COLORS.get(color, f"#{color}")
        parts.append(f'<span style="color: {shown}{"; font-weight: bold" if bold else ""}">{text}</span>')
    return "".join(parts)


def shoot(page: Page, screen: pyte.Screen, file: Path) -> None:
    """Draws the screen as a page, and saves that."""
    page.set_content(f'<body style="margin: 0"><pre style="{STYLE}; width: max-content">{as_html(screen)}</pre></body>')
    box = page.locator("pre").bounding_box()
    assert box is not None
    page.set_viewport_size({"width": round(box["width"]), "height": round(box["height"])})
    take(page, file)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="an empty one, where the run is typed")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    given.out.mkdir(parents=True, exist_ok=True)
    program = [sys.executable, "-m", "fmnist_sweep", "run", "--sweep", "smoke", "--trials", str(TRIALS)]
    with browser_page(executable(), []) as page, terminal(program, COLUMNS, ROWS, given.folder) as shown:
        shown.read_until(f"[{TRIALS // 2}/{TRIALS}]")
        shown.read_until(f"\ntrial {TRIALS // 2 + 1} ")  # in the table, so that there are two
        shoot(page, shown.screen, given.out / "terminal-run.png")
        shown.read_until("")
        print(shown.text)
        shoot(page, shown.screen, given.out / "terminal-end.png")


if __name__ == "__main__":
    main()
