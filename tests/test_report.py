"""The report: what it holds, that it needs nothing beside it, and that names can't break out of it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fmnist_sweep import report, standings
from fmnist_sweep.errors import HomeError, UsageError
from fmnist_sweep.home import Home
from fmnist_sweep.ledger import Ledger
from fmnist_sweep.report import page
from fmnist_sweep.report.facts import gather
from fmnist_sweep.standings import Findings
from fmnist_sweep.state import StudyState
from tests.conftest import Cli, Study
from tests.report_stand_ins import CLASSES, Story, proposals

LIMIT_BYTES = 6_000_000
EVIL = '</script><script>document.title="owned"</script><img src=x onerror=alert(1)>[x](javascript:1)|`'


@dataclass
class Page(HTMLParser):
    """A page taken apart: what is read, what is run, what is loaded."""

    text: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    policy: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._inside: tuple[str, dict[str, str | None]] = ("", {})

    @classmethod
    def of(cls, source: str) -> Page:
        found = cls()
        found.feed(source)
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._inside = (tag, values)
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "poster")]
        assert not [name for name in values if name.startswith("on")]
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"] or ""

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002
        self._inside = ("", {})

    def handle_data(self, data: str) -> None:
        tag, values = self._inside
        if tag == "script" and values.get("type") == "application/json":
            self.figures[values.get("data-chart") or "dark"] = json.loads(data)
        elif tag == "script":
            self.scripts.append(data)
        elif tag != "style":
            self.text.append(data)

    @property
    def read(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def told() -> tuple[StudyState, Findings]:
    """24 trials, the lab's nets, and finals of the best two under six seeds."""
    story = Story().begin().lab().search(24)
    findings = story.compare(2, 6)
    assert standings.recorded(story.state) == findings
    return story.state, findings


@pytest.fixture(scope="module")
def html(told: tuple[StudyState, Findings]) -> str:
    return report.html(*told)


@pytest.fixture(scope="module")
def markdown(told: tuple[StudyState, Findings]) -> str:
    return report.markdown(*told)


def facts_of(state: StudyState, findings: Findings) -> list[str]:
    """What must be in both forms, as it is written there."""
    facts = [findings.sentence, "6 seeds", "opened once", "1, 2, 3, 4, 5, 6", state.study["git_commit"]]
    facts += [state.study["machine"], "tensorflow 2.21.0", *state.study["data_set"]["files"].values(), "24 trials"]
    for it in findings.standings:
        facts += [it.contender.name, f"{100 * it.mean:.2f}", f"{it.parameters:,}"]
        assert it.accuracy_without_duplicates is not None
        facts.append(f"{100 * it.accuracy_without_duplicates:.2f}")
    for pair in findings.pairs:
        facts += [pair.verdict, f"{100 * pair.ci_low:+.2f} to {100 * pair.ci_high:+.2f}", f"{pair.p_value:.3f}"]
    facts += [it for claim in findings.claims for it in (claim.claim, claim.why)]
    return [*facts, "Champion", "standard error", "Functional ANOVA", "Stopping trials early saved", *CLASSES]


def test_the_page_holds_the_facts(told: tuple[StudyState, Findings], html: str) -> None:
    read = Page.of(html).read
    assert [fact for fact in facts_of(*told) if fact not in read] == []
    assert read.index(told[1].sentence) < read.index("The nets") < read.index("Differences between pairs")


def test_the_markdown_holds_the_same_facts(told: tuple[StudyState, Findings], markdown: str) -> None:
    assert [fact for fact in facts_of(*told) if fact not in markdown] == []
    assert markdown.startswith(f"# {told[1].sentence}")
    assert "<" not in markdown
    width = 0
    for line in markdown.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert cells == width or not (cells and width), line  # each row as wide as its table's head
        width = cells


def test_every_chart_is_there_and_has_its_sentence(told: tuple[StudyState, Findings], html: str) -> None:
    found = Page.of(html)
    wanted = {"forest", "forest-others", "by-trial", "by-minute", "importances", "settings", "sizes", "confusion"}
    curves = {f"{what}-{place}" for what in ("accuracy", "loss") for place in range(1, 7)}
    assert set(found.figures) == {f"chart-{key}" for key in {*wanted, *curves, "shrinkage"}} | {"dark"}
    for sentence in page.sentences(gather(*told)).values():
        assert sentence
        assert sentence in found.read


def test_a_verdict_is_told_by_text_as_well_as_by_colour(told: tuple[StudyState, Findings], html: str) -> None:
    forests = [Page.of(html).figures[f"chart-{key}"] for key in ("forest", "forest-others")]
    notes = [it["text"] for forest in forests for it in forest["layout"]["annotations"]]
    for pair in told[1].pairs:
        assert f"{100 * pair.mean_difference:+.2f}  {pair.verdict}" in notes


def test_the_page_needs_nothing_beside_it(html: str) -> None:
    found = Page.of(html)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in found.links)
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(found.tags)
    styles = html[html.index("<style>") : html.index("</style>")]
    assert not re.search(r"@import|url\(|https?:", styles)
    assert found.policy.startswith("default-src 'none'; img-src data:;")
    sums = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in found.scripts]
    assert re.findall(r"'sha256-([^']+)'", found.policy) == sums
    assert "unsafe" not in found.policy.split("script-src")[1]


@pytest.mark.slow
def test_80_trials_and_20_finalists_fit(tmp_path: Path) -> None:
    story = Story().begin().lab().search(80)
    findings = story.compare(16, 2)
    assert len(findings.standings) == 20
    html, markdown = report.write(tmp_path / "reports", story.state, findings)
    assert (html.name, markdown.name) == ("default.html", "default.md")
    assert html.stat().st_size + markdown.stat().st_size < LIMIT_BYTES
    found = Page.of(html.read_text("utf-8"))
    for key, figure in found.figures.items():
        for axis in ("xaxis", "yaxis") if key.startswith("chart-forest") else ():
            low, high = sorted(figure["layout"][axis]["range"])
            drawn = [value for trace in figure["data"] for value in trace[axis[0]]]
            assert low <= min(drawn) <= max(drawn) <= high


def test_hostile_names_stay_text() -> None:
    story = Story().begin(
        name=EVIL,
        title=EVIL,
        machine=EVIL,
        versions={EVIL: EVIL},
        data_set={"classes": [f"{EVIL}{it}" for it in range(10)], "files": {EVIL: EVIL}, "validation": 10},
    )
    story.search(3)
    story.fail("trial-0003", 3, EVIL)
    findings = story.compare(1, 6, png=f'"{EVIL}')
    source, text = report.html(story.state, findings), report.markdown(story.state, findings)
    found = Page.of(source)
    assert len(found.scripts) == 2
    assert found.tags.count("img") == 48
    assert f"Study {EVIL}" in found.read
    labels = found.figures["chart-confusion"]["data"][0]["x"]
    assert labels[0].startswith("&lt;/script&gt;&lt;script&gt;")
    assert "<" not in text
    assert "](" not in text.replace("\\](", "")


def empty() -> Story:
    return Story().begin()


def failed() -> Story:
    story = empty()
    story.fail("trial-0000", 0, "diverged: the loss became nan")
    return story


@pytest.mark.parametrize(
    ("story", "verdict", "missing"),
    [
        (empty(), "Nothing was trained in this study yet.", "Search"),
        (empty().lab(), "The lab's nets alone", "Search"),
        (empty().lab().search(22), "No finals yet: this is a search, one seed each.", "Claims"),
        (empty().search(5, full=0), "No verdict: no trial of this study was trained in full.", "Claims"),
        (failed(), "No verdict: no trial of this study was trained in full.", "Search"),
        (empty().search(1), "No finals yet: this is a search, one seed each.", "Claims"),
    ],
    ids=["empty", "the lab alone", "no finals", "all pruned", "failed", "one trial"],
)
def test_a_poor_study_has_an_honest_report(story: Story, verdict: str, missing: str) -> None:
    found = Page.of(report.html(story.state, None))
    text = report.markdown(story.state, None)
    assert text.startswith(f"# {verdict}")
    assert verdict in found.read
    assert f"## {missing}\n" not in text
    for said in (found.read, text):
        assert not re.search(r"\bnan\b(?!$)|\bNone\b|\binf\b", said.replace("became nan", ""))
        assert ("compare --study default" in said) == bool(story.state.ranked())
    drawn = [trace for key, figure in found.figures.items() if key != "dark" for trace in figure["data"]]
    assert all({"x", "y", "z", "values", "dimensions"} & trace.keys() for trace in drawn)


def test_a_study_that_is_under_way_says_so() -> None:
    story = empty().search(2)
    for number, (arch, train, drawn) in enumerate(proposals(1, first=9), start=2):
        story.ask(f"trial-{number:04d}", "trial", number, arch, train, drawn, (0.5, 1.0, 2.0, 3.0, 4.0, 5.0))
    read = Page.of(report.html(story.state, None)).read
    assert "1 trial has not ended yet." in read
    assert "2 trained in full, 0 stopped early, 0 failed, 1 not ended" in read


def test_finals_of_an_older_release_lack_images_and_nothing_else() -> None:
    story = empty().search(3)
    findings = story.compare(1, 6, old=True)
    read = Page.of(report.html(story.state, findings)).read
    assert findings.sentence in read
    for sentence in ("but not what it takes the others for", "holds no images", "is not known for this study"):
        assert sentence in read
        assert sentence in report.markdown(story.state, findings)


def test_a_finalist_that_nothing_is_left_to_compare_with_has_a_report() -> None:
    story = empty().search(3)
    findings = replace(story.compare(1, 6), pairs=(), claims=(), without_duplicates=())
    html = report.html(story.state, findings)
    assert "Differences between pairs" not in html
    assert "forest" not in Page.of(html).figures


def test_the_reason_of_a_failure_is_told() -> None:
    assert "diverged: the loss became nan" in Page.of(report.html(failed().state, None)).read


def test_a_name_that_is_none_for_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--study is '\.\./up'"):
        report.write(tmp_path, Story().begin(name="../up").state, None)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file")
    with pytest.raises(HomeError, match=r"default\.html can't be written"):
        report.write(tmp_path / "reports", empty().state, None)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A home with a study of five trials and their finals."""
    cli = Cli(tmp_path_factory.mktemp("kept"))
    story = empty().search(5)
    story.compare(1, 6)
    folder = Home(cli.folder / "home").study("default")
    folder.path.mkdir(parents=True)
    ledger = Ledger(folder.ledger)
    for event in story.events:
        ledger.append(event.kind, event.job, event.place, **event.body)
    ledger.close()
    return cli


def test_the_command_writes_both_files_and_loads_no_tensorflow(kept: Cli) -> None:
    code = (
        "import sys; from fmnist_sweep import cli\n"
        "try: cli.main()\n"
        "finally: print('LOADED', *(name for name in ('tensorflow', 'keras', 'mlflow') if name in sys.modules))"
    )
    words = ["report", "--home", "home", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=kept.folder, capture_output=True, text=True, check=True
    )
    said, loaded = done.stdout.splitlines()
    assert loaded.split() == ["LOADED"]
    result = json.loads(said)
    files = [kept.folder / result[key] for key in ("report", "markdown")]
    assert [str(file.relative_to(kept.folder)) for file in files] == [
        "home/reports/default.html",
        "home/reports/default.md",
    ]
    assert result["bytes"] == sum(file.stat().st_size for file in files) < LIMIT_BYTES
    assert "is better than" in files[1].read_text("utf-8").splitlines()[0]
    assert result["report"] in done.stderr
    assert result["markdown"] in done.stderr


def test_the_page_may_go_elsewhere(kept: Cli) -> None:
    result = kept.json("report", "--home", "home", "--study", "default", "--out", "there/mine.html")
    assert (result["report"], result["markdown"]) == ("there/mine.html", "there/mine.md")
    assert (kept.folder / "there/mine.html").exists()
    kept.json("report", "--home", "home", "--study", "default", "--out", "there/mine.html")  # an older report's place


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("--out", "mine.md"), 2, "error: --out is 'mine.md'; valid: a file that ends in .html"),
        (("--out", "notes.html"), 2, "error: --out is 'notes.html', and notes.md is no report; choose another name"),
        (("--study", "other"), 1, "error: --study 'other': no such study in home; there: default"),
    ],
)
def test_mistakes_get_a_line(kept: Cli, words: tuple[str, ...], code: int, line: str) -> None:
    (kept.folder / "notes.md").write_text("# Mine\n\nnothing of a study\n")
    done = kept.run("report", "--home", "home", *words)
    assert (done.returncode, done.stderr.strip()) == (code, line)
    assert (kept.folder / "notes.md").read_text() == "# Mine\n\nnothing of a study\n"


@pytest.mark.slow
def test_a_real_study_has_a_report(finished: Study) -> None:
    result = finished.cli.json("report", "--home", str(finished.home), "--study", "smoke")
    read = Page.of(Path(result["report"]).read_text("utf-8")).read
    assert "No finals yet" in read
    assert f"{100 * finished.result['best']['val_accuracy']:.2f}" in read


@pytest.mark.slow
def test_a_browser_draws_every_chart(html: str, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium here")
    (tmp_path / "page.html").write_text(html, "utf-8")
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--virtual-time-budget=60000", "--enable-logging=stderr", "--dump-dom", (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    drawn = re.findall(
        r'id="chart-([a-z-]+\d*)"[^>]*class="[^"]*js-plotly-plot|js-plotly-plot[^>]*id="chart-', done.stdout
    )
    assert len(drawn) == len(Page.of(html).figures) - 1
    assert "CONSOLE" not in done.stderr
