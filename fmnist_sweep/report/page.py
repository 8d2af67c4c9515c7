"""The report as one HTML page that needs nothing beside it: facts, charts and plotly's script put together."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go
import plotly.io
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from fmnist_sweep.display import clock
from fmnist_sweep.finals import is_trial
from fmnist_sweep.report import final_charts, look, says, search_charts
from fmnist_sweep.report.facts import NO_FINALS, Facts, between
from fmnist_sweep.report.images import Confusion, Duplicates, Mistakes
from fmnist_sweep.report.importance import Importances
from fmnist_sweep.standings import Findings
from fmnist_sweep.verdicts import PairVerdict
from fmnist_sweep.wording import points, probability

ASSETS = Path(__file__).parent / "assets"
FEWEST_LINES = 3


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart in the page.

    Attributes:
        json: The figure, safe inside a script element.
        height: In pixels.
        about: What it shows, for those who can't see it.
    """

    json: Markup
    height: int
    about: str

    @classmethod
    def of(cls, figure: go.Figure, about: str) -> Chart:
        """Turns a figure into text."""
        return cls(_inert(plotly.io.to_json(figure, engine="json")), int(figure.layout.height), about)


def render(facts: Facts) -> str:
    """The whole page."""
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_together,
    )
    script, library = (ASSETS / "report.js").read_text("utf-8"), get_plotlyjs()
    return environment.get_template("report.html").render(
        facts=facts,
        judged=facts.findings is not None,
        charts=charts(facts),
        says=sentences(facts),
        sections=sections(facts),
        no_finals=NO_FINALS,
        dark=_inert(json.dumps(look.DARK)),
        css=Markup((ASSETS / "report.css").read_text("utf-8")),
        js=Markup(script),
        plotly=Markup(library),
        hashes=Markup(" ".join(_hash(text) for text in (library, script))),
        pc=lambda share: f"{100 * share:.2f}",
        points=points,
        probability=probability,
        between=between,
        clock=clock,
        short=short,
        kind=kind,
    )


def sections(facts: Facts) -> dict[str, str]:
    """Names of the sections that there is something to show in, by their key, in order."""
    judged, search = facts.findings is not None, facts.search
    wanted = {
        "nets": ("Nets", bool(facts.rows)),
        "differences": ("Differences", facts.findings is not None and bool(facts.findings.pairs)),
        "claims": ("Claims", judged),
        "search": ("Search", bool(search.attempts)),
        "settings": ("Settings", bool(search.attempts)),
        "sizes": ("Size", bool(search.attempts or search.lab)),
        "curves": ("Curves", bool(search.shown)),
        "mistakes": ("Mistakes", judged),
        "shrinkage": ("Shrinkage", judged),
        "duplicates": ("Duplicates", judged),
        "later": ("Not yet", not judged),
        "cost": ("Cost", bool(facts.rows or facts.cost.trials)),
        "origin": ("Origin", True),
    }
    return {key: name for key, (name, shown) in wanted.items() if shown}


def _together(value: object) -> object:
    """Keeps a number and its percent sign on one line."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else value.replace(" %", "\u00a0%")


def _inert(text: str) -> Markup:
    """JSON that can't end the script element it stands in."""
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _hash(script: str) -> str:
    """Names a script in the page's content security policy, which allows no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def charts(facts: Facts) -> dict[str, Chart]:
    """Every chart that there are facts for, by its key."""
    told, search = sentences(facts), facts.search
    found: dict[str, Chart] = {}
    if facts.findings is not None:
        found |= _final_charts(facts, facts.findings, told)
    if search.attempts:
        found["by-trial"] = Chart.of(search_charts.history(search, "trial"), told["history"])
        found["by-minute"] = Chart.of(search_charts.history(search, "minute"), told["history_by_time"])
    if len(search.attempts) >= FEWEST_LINES:
        found["settings"] = Chart.of(search_charts.settings(search), told["settings"])
    if isinstance(facts.importances, Importances):
        found["importances"] = Chart.of(search_charts.importances(facts.importances), told["importances"])
    if search.attempts or search.lab:
        found["sizes"] = Chart.of(search_charts.sizes(search), told["sizes"])
    for place, curve in enumerate(search.shown, start=1):
        about = f"Learning curve of {curve.name}. {told['curves']}"
        found[f"accuracy-{place}"] = Chart.of(search_charts.curve(search, curve, "accuracy"), about)
        found[f"loss-{place}"] = Chart.of(search_charts.curve(search, curve, "loss"), about)
    return found


def _final_charts(facts: Facts, findings: Findings, told: dict[str, str]) -> dict[str, Chart]:
    first, others = _sorted(findings)
    found = {"forest": Chart.of(final_charts.forest(first), told["pairs"])} if first else {}
    if others:
        found["forest-others"] = Chart.of(final_charts.forest(others), told["pairs"])
    found["shrinkage"] = Chart.of(final_charts.shrinkage(facts.shrinkages), told["shrinkage"])
    if isinstance(facts.confusion, Confusion):
        found["confusion"] = Chart.of(final_charts.confusion(facts.confusion), told["confusion"])
    return found


def _sorted(findings: Findings) -> tuple[list[PairVerdict], list[PairVerdict]]:
    """The leader's pairs and those of the claims, then those of the other finalists."""
    other = {it.contender.name for it in findings.standings if is_trial(it.contender.name)}
    other -= {findings.leader}
    return (
        [pair for pair in findings.pairs if pair.a not in other],
        [pair for pair in findings.pairs if pair.a in other],
    )


def sentences(facts: Facts) -> dict[str, str]:
    """What to see in each part, by the part's name."""
    found = {
        "nets": says.nets(facts),
        "history": says.history(facts.search) if facts.search.attempts else "",
        "history_by_time": says.history_by_time(facts.search),
        "settings": says.settings(),
        "sizes": says.sizes(facts.search),
        "curves": says.curves(facts.search),
        "cost": says.cost(facts),
    }
    if facts.findings is not None:
        found["pairs"] = says.pairs(facts.findings)
    if isinstance(facts.importances, Importances):
        found["importances"] = says.importances(facts.importances)
    if isinstance(facts.confusion, Confusion):
        found["confusion"] = says.confusion(facts.confusion)
    if facts.shrinkages:
        found["shrinkage"] = says.shrinkage(facts.shrinkages)
    if isinstance(facts.mistakes, Mistakes):
        found["mistakes"] = says.mistakes(facts.mistakes)
    if isinstance(facts.duplicates, Duplicates):
        found["duplicates"] = says.duplicates(facts.duplicates)
    return found


def short(number: float) -> str:
    """As in ``3.3 M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"


def kind(outcome: str) -> str:
    """The class of a verdict in the style sheet."""
    return outcome if outcome in ("better", "worse", "supported", "refuted") else "open"
