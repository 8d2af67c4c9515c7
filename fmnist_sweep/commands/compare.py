"""``compare``: the finals, and the verdicts for people and programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fmnist_sweep import finals, lab, study
from fmnist_sweep.commands.export import read
from fmnist_sweep.commands.run import Ended, lab_epochs, named_net, study_of
from fmnist_sweep.data import PreparedData
from fmnist_sweep.display import clock
from fmnist_sweep.finals import Contender, Findings, Standing
from fmnist_sweep.session import Scene, Work
from fmnist_sweep.settings import Settings
from fmnist_sweep.state import StudyState
from fmnist_sweep.trial import Extra


def compare(settings: Settings, top: int, seeds: int, *, quiet: bool, console: Console) -> Ended:
    """Trains the finalists and the lab's nets on the same seeds and judges them; see the command line's ``compare``.

    Raises:
        SweepError: There is nothing to compare, or it can't go on.
    """
    name = settings.study or study.plan(settings).name
    state = read(settings, name)
    planned = study.plan(replace(settings, study=name))
    numbers = finals.seeds_of(state, seeds)
    nets: list[Contender] = []

    def extras(before: StudyState, data: PreparedData) -> Sequence[Extra]:
        variants = lab.variants(
            input_shape=data.image_shape, classes=data.classes, epochs=lab_epochs(settings, planned)
        )
        nets.extend(finals.contenders(before, top, variants))
        return finals.extras(nets, numbers)

    def finale(scene: Scene) -> None:
        finals.test(nets, numbers, scene.ledger, scene.folder, scene.source)

    target = len(state.trials())
    ended = study_of(settings, planned, Work(target, extras, finale), quiet, console, results=False)
    if ended.session.outcome != "done":
        return ended
    findings = finals.judge(ended.session.state, nets, numbers)
    if not quiet:
        show(console, findings)
    return replace(ended, result=as_json(findings))


def as_json(findings: Findings) -> dict[str, Any]:
    """The object that ``compare --json`` prints."""
    return {
        "finalists": [it.contender.name for it in findings.standings if it.contender.name.startswith("trial-")],
        "seeds": list(findings.seeds),
        "pairs": [pair.to_dict() for pair in findings.pairs],
        "claims": [claim.to_dict() for claim in findings.claims],
        "test_openings": findings.openings,
        "leader": findings.leader,
        "verdict": findings.sentence,
        "nets": [
            {
                "name": it.contender.name,
                "net": it.contender.arch.short,
                "parameters": it.parameters,
                "flops": it.flops,
                "val_accuracy_in_search": it.contender.searched,
                "val_accuracy": it.val_accuracy,
                "test_accuracy": it.mean,
                "test_accuracy_sd": it.spread,
                "test_accuracy_by_seed": list(it.test_accuracy),
                "latency_ms": it.latency_ms,
                "batch_latency_ms": it.batch_latency_ms,
                "train_s": it.train_s,
            }
            for it in findings.standings
        ],
    }


def show(console: Console, findings: Findings) -> None:
    """Prints what the finals found: the verdict first."""
    console.print()
    console.print(Text(f"{findings.sentence}.", style="bold"))
    console.print()
    console.print(_nets(findings.standings))
    console.print(
        f"Mean of {len(findings.seeds)} seeds ± their standard deviation, on the test set, which was opened "
        f"{findings.openings} time{'' if findings.openings == 1 else 's'} for this study. "
        "Searched: the one-seed validation score that the net was chosen for; retrained: its mean under these seeds.",
        highlight=False,
    )
    console.print()
    console.print(_pairs(findings))
    console.print("Differences in points of test accuracy with 95 % intervals; verdicts hold for all pairs together.")
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
    for name in ("difference", "interval", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for pair in findings.pairs:
        table.add_row(
            f"{pair.a} - {pair.b}",
            f"{100 * pair.mean_difference:+.2f}",
            f"{100 * pair.ci_low:+.2f} to {100 * pair.ci_high:+.2f}",
            f"{pair.p_value:.3f}",
            pair.verdict,
        )
    return table
