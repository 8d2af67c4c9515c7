"""``compare``: the finals, and the verdicts for people and programs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fmnist_sweep import champion, finals, lab, report, session, standings, study
from fmnist_sweep.champion import Champion
from fmnist_sweep.commands import closing
from fmnist_sweep.commands.closing import Closing, Step
from fmnist_sweep.commands.run import Ended, lab_epochs, named_net, study_of
from fmnist_sweep.data import PreparedData
from fmnist_sweep.display import clock
from fmnist_sweep.errors import StudyError
from fmnist_sweep.finals import Contender
from fmnist_sweep.session import Scene, Work
from fmnist_sweep.settings import Settings
from fmnist_sweep.standings import Findings, Standing
from fmnist_sweep.state import StudyState
from fmnist_sweep.stats import smallest_p
from fmnist_sweep.trial import Extra
from fmnist_sweep.verdicts import LEVEL, PairVerdict
from fmnist_sweep.views import tensorboard
from fmnist_sweep.wording import points, probability

UNJUDGED = 1


def compare(settings: Settings, top: int, seeds: int, *, curves: bool = False, quiet: bool, console: Console) -> Ended:
    """Trains the finalists and the lab's nets on the same seeds and judges them; see the command line's ``compare``.

    Raises:
        SweepError: There is nothing to compare, or it can't go on.
    """
    name = settings.study or study.plan(settings).name
    before = study.read(settings, name)
    if settings.timeout_s is not None:
        settings = replace(settings, timeout_s=before.wall_s + settings.timeout_s)  # for the finals, not for the search
    planned = study.plan(replace(settings, study=name))
    numbers = finals.seeds_of(before, seeds)
    nets: list[Contender] = []
    found: list[tuple[Findings, Champion]] = []
    left_out: dict[str, str] = {}

    def extras(state: StudyState, data: PreparedData) -> Sequence[Extra]:
        variants = lab.variants(input_shape=data.image_shape, classes=data.classes, epochs=lab_epochs(planned))
        nets.extend(finals.contenders(state, top, variants))
        return finals.extras(nets, numbers)

    def finale(scene: Scene) -> None:
        out = finals.diverged(StudyState.of(scene.ledger.events()), nets, numbers)
        sound = [net for net in nets if net.name not in out]
        if not any(finals.is_trial(net.name) for net in sound):
            raise StudyError(f"{'; '.join(out.values())}; no finalist is left; more may take part with --top")
        finals.test(sound, numbers, scene.ledger, scene.folder, scene.source, scene.data)
        state = StudyState.of(scene.ledger.events())
        findings = standings.judge(state, sound, numbers)
        winner = champion.choose(findings, state, out)
        finals.record(scene.ledger, sound, numbers, winner.to_dict(), [net for net in nets if net.name in out])
        found.append((findings, winner))
        left_out.update(out)

    work = Work(len(before.trials()), extras, finale, search=False)
    ended = study_of(settings, planned, work, quiet, console, results=False)
    if found:
        told = _told(ended, settings, *found[0], top, curves, quiet, console)
        if left_out and not quiet:
            console.print(Text(f"\n{'; '.join(left_out.values())}."))
        return replace(told, result={**told.result, "left_out": list(left_out)})
    if not quiet:
        console.print(f"\n{name}: {closing.how_it_ended(ended.session.outcome)}.", highlight=False)
        closing.of_unjudged(ended.session.state).show(console)
    elif not ended.code:
        said = closing.of_unjudged(ended.session.state)
        closing.insist(Console(quiet=True), f"error: {closing.how_it_ended(ended.session.outcome)}: {said.found}")
    return replace(ended, result=_unjudged(ended, numbers), code=ended.code or UNJUDGED)


def _unjudged(ended: Ended, seeds: Sequence[int]) -> dict[str, Any]:
    """What ``compare --json`` prints where its time was over before all was trained, or the user ended it."""
    openings = ended.session.state.openings
    lists: dict[str, Any] = {name: [] for name in ("finalists", "pairs", "claims", "nets", "left_out")}
    nothing = dict.fromkeys(("leader", "verdict", "duplicates", "champion", "report", "tensorboard"))
    return {
        **lists,
        **nothing,
        "seeds": list(seeds),
        "test_openings": openings,
        "outcome": ended.session.outcome,
    }


def _told(
    ended: Ended,
    settings: Settings,
    findings: Findings,
    winner: Champion,
    top: int,
    curves: bool,
    quiet: bool,
    console: Console,
) -> Ended:
    """Writes report and curves, and says what was found and where it is."""
    state, crowned = ended.session.state, ended.session.champion
    state.study = {**state.study, "name": settings.study or state.study["name"]}  # see ``read``
    page, beside = report.write(settings.home.reports, state, findings)
    trouble = ended.session.undelivered or session.attach(settings, state, (page, beside))
    shown = settings.home.tensorboard / state.study["name"] if curves else None
    if shown is not None:
        tensorboard.write(shown, standings.runs(state, findings))
    if not quiet:
        show(console, findings, state)
        console.print()
        console.print(Text(f"Champion: {winner.name}, its model of seed {winner.seed}: {winner.why}."))
        if crowned is not None:
            console.print(f"{crowned.line}.", highlight=False)
        _closing(settings, findings, state, top, page, shown).show(console)
    if trouble and not ended.session.undelivered:
        console.print(closing.undelivered(trouble), soft_wrap=True)
    result = as_json(findings, state)
    result["champion"] = {
        "name": winner.name,
        "seed": winner.seed,
        "version": crowned.version or None if crowned else None,
        "why": winner.why,
    }
    result["report"] = str(page)
    result["tensorboard"] = str(shown) if shown else None
    return replace(ended, result=result, code=1 if trouble else ended.code)


def as_json(findings: Findings, state: StudyState) -> dict[str, Any]:
    """What ``compare --json`` prints of the findings."""
    return {
        "finalists": [it.contender.name for it in findings.standings if finals.is_trial(it.contender.name)],
        "seeds": list(findings.seeds),
        "pairs": [pair.to_dict() for pair in findings.pairs],
        "claims": [claim.to_dict() for claim in findings.claims],
        "test_openings": findings.openings,
        "outcome": "done",
        "leader": findings.leader,
        "verdict": findings.sentence,
        "duplicates": _duplicates_as_json(findings, state),
        "nets": [_net_as_json(it) for it in findings.standings],
    }


def _duplicates_as_json(findings: Findings, state: StudyState) -> dict[str, Any] | None:
    known = state.duplicates
    if known is None:
        return None
    changed = [
        {"a": found.a, "b": found.b, "verdict": found.verdict, "without_duplicates": apart.verdict}
        for found, apart in findings.changed
    ]
    counts = {name: known[name] for name in ("exact", "near", "method")}
    return {"images": len(known["test"]), **counts, "verdicts_changed": changed}


def _net_as_json(it: Standing) -> dict[str, Any]:
    return {
        "name": it.contender.name,
        "net": it.contender.arch.short,
        "parameters": it.parameters,
        "flops": it.flops,
        "val_accuracy_in_search": it.contender.searched,
        "val_accuracy": it.val_accuracy,
        "test_accuracy": it.mean,
        "test_accuracy_sd": it.spread,
        "test_accuracy_by_seed": list(it.test_accuracy),
        "test_accuracy_without_duplicates": it.accuracy_without_duplicates,
        "latency_ms": it.latency_ms,
        "batch_latency_ms": it.batch_latency_ms,
        "train_s": it.train_s,
    }


def show(console: Console, findings: Findings, state: StudyState) -> None:
    """Prints what the finals found: the verdict first."""
    console.print()
    console.print(Text(f"{findings.sentence}.", style="bold"))
    console.print()
    console.print(_nets(findings.standings))
    console.print(
        f"Mean of {len(findings.seeds)} seeds ± their standard deviation, on the test set, which was opened "
        f"{findings.openings} time{'' if findings.openings == 1 else 's'} for this study. "
        "Searched: the best validation score of the one seed there; retrained: the mean of these after the last epoch.",
        highlight=False,
    )
    console.print()
    console.print(_pairs(findings))
    console.print("Differences of test accuracy with 95 % intervals; verdicts hold for all pairs together.")
    for line in _without_duplicates(findings, state):
        console.print(Text(line))
    console.print()
    for place, claim in enumerate(findings.claims, start=1):
        console.print(
            Text.assemble(f"{place}. The lab: {claim.claim}. ", (f"{claim.verdict.capitalize()}", "bold"), ": ")
        )
        console.print(Text(f"   {claim.why}"))


def _nets(standings: Sequence[Standing]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("net", overflow="fold")
    for name in ("parameters", "searched", "retrained", "test", "training"):
        table.add_column(name, justify="right", no_wrap=True)
    for it in standings:
        first = named_net(Text(it.contender.name, style="bold"), it.contender.arch.short)
        searched = "-" if it.contender.searched is None else f"{100 * it.contender.searched:.2f}"
        test = f"{100 * it.mean:.2f} ±{100 * it.spread:.2f}"
        table.add_row(first, f"{it.parameters:,}", searched, f"{100 * it.val_accuracy:.2f}", test, clock(it.train_s))
    return table


def _pairs(findings: Findings) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("pair", overflow="fold")
    for name in ("points", "interval", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for pair in findings.pairs:
        table.add_row(
            f"{pair.a} - {pair.b}",
            points(pair.mean_difference),
            f"{points(pair.ci_low)} to {points(pair.ci_high)}",
            probability(pair.p_value),
            pair.verdict,
        )
    return table


def _without_duplicates(findings: Findings, state: StudyState) -> Iterator[str]:
    known = state.duplicates
    if known is None:
        return
    images = len(known["test"])
    yield ""
    counted = "1 test image has" if images == 1 else f"{images} test images have"
    yield (
        f"{counted} a copy, or nearly one, among the training and validation images "
        f"({known['exact']} exact, {known['near']} near)."
    )
    if not images:
        return
    if findings.without_duplicates is None:
        yield "Too few test images are left without them to judge anything by."
        return
    means = [
        f"{it.contender.name} {100 * it.accuracy_without_duplicates:.2f}"
        for it in findings.standings
        if it.accuracy_without_duplicates is not None
    ]
    yield f"Test accuracy without them: {', '.join(means)}. {_changes(findings.changed)}"


def _changes(changed: Sequence[tuple[PairVerdict, PairVerdict]]) -> str:
    told = [f"{found.a} - {found.b}: {found.verdict}, without them {apart.verdict}" for found, apart in changed]
    return f"Verdicts that change: {'; '.join(told)}." if told else "No verdict changes without them."


def _closing(
    settings: Settings, findings: Findings, state: StudyState, top: int, page: Path, shown: Path | None
) -> Closing:
    """What was found once more, after all the tables, and what to do with it."""
    seeds = len(findings.seeds)
    few = smallest_p(seeds) > LEVEL
    images = max(job.tested.images for job in state.of_kind("final") if job.tested is not None)
    sure = f"{seeds} seeds on {images:,} test images; the verdicts hold for all pairs together (5 %)."
    if few:
        sure = f"{seeds} seeds can't show any difference at the 5 % level, however large it is."
    look = [
        Step("the report, for a browser", str(page)),
        Step("MLflow: the finals, mean of all seeds", closing.command("ui", settings, state)),
    ]
    if shown is not None:
        look.append(Step("the curves", f"tensorboard --logdir {shlex.quote(str(shown))}"))
    words = f" --top {top} --seeds 6"
    more = [Step("more seeds, so that something can be shown", closing.command("compare", settings, state, words))]
    export = Step("take the champion away", closing.command("export", settings, state, " --model champion"))
    return Closing(f"{findings.sentence}.", sure, look, [*(more if few else []), export])
