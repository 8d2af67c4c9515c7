"""The report as Markdown: the same facts as tables, without charts."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence

from fmnist_sweep.display import clock
from fmnist_sweep.report.facts import NO_FINALS, Facts, between
from fmnist_sweep.report.images import Confusion
from fmnist_sweep.report.importance import Importances
from fmnist_sweep.report.nets import NetRow
from fmnist_sweep.report.page import sections, sentences, short
from fmnist_sweep.report.parts import Missing
from fmnist_sweep.report.search import Attempt
from fmnist_sweep.wording import points, probability

_MARKUP = str.maketrans({character: f"\\{character}" for character in "\\`*[]|#~"})


def plain(text: str) -> str:
    """Text in which nothing is taken for Markdown or HTML, on one line."""
    return " ".join(html.escape(text, quote=False).translate(_MARKUP).split())


def render(facts: Facts) -> str:
    """The whole text."""
    parts = {
        "nets": _nets,
        "differences": _differences,
        "claims": _claims,
        "search": _search,
        "settings": _settings,
        "sizes": _sizes,
        "curves": _curves,
        "mistakes": _mistakes,
        "shrinkage": _shrinkage,
        "duplicates": _duplicates,
        "later": lambda _: iter([NO_FINALS.reason]),
        "cost": _cost,
        "origin": _origin,
    }
    lines = [f"# {plain(facts.verdict.sentence)}", ""]
    lines += [f"Study {plain(facts.study)}: {plain(facts.title)}", ""]
    lines += [plain(line) for line in facts.verdict.beside]
    if facts.verdict.command:
        lines += ["", "To find out whether it is better or was luck, type:", "", f"    {facts.verdict.command}"]
    for key, name in sections(facts).items():
        lines += ["", f"## {name}", "", *parts[key](facts)]
    return "\n".join(lines) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: int) -> Iterator[str]:
    """A table whose last ``numbers`` columns stand to the right."""
    yield ""
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join(['---'] * (len(heads) - numbers) + ['---:'] * numbers)} |"
    for row in rows:
        yield f"| {' | '.join(plain(cell) for cell in row)} |"


def _told(facts: Facts, key: str) -> str:
    return plain(sentences(facts)[key])


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _nets(facts: Facts) -> Iterator[str]:
    yield _told(facts, "nets")
    judged = facts.findings is not None
    heads = ["net", "layers", f"{'test' if judged else 'validation'} accuracy, %", "95 % interval", "parameters",
             "FLOPs", "1 image, ms", "64 images, ms", "training, s"]  # fmt: skip
    yield from _table(heads, [_row(row) for row in facts.rows], 7)
    if facts.twins:
        yield ""
        yield " ".join(f"{plain(twin)}." for twin in facts.twins)


def _row(row: NetRow) -> list[str]:
    return [
        row.name + (f" ({row.note})" if row.note else ""),
        row.net,
        "" if row.accuracy is None else _percent(row.accuracy),
        "" if row.low is None or row.high is None else between(row.low, row.high),
        f"{row.parameters:,}",
        short(row.flops),
        "" if row.latency_ms is None else f"{row.latency_ms:.1f}",
        "" if row.batch_latency_ms is None else f"{row.batch_latency_ms:.1f}",
        f"{row.train_s:,.0f}",
    ]


def _differences(facts: Facts) -> Iterator[str]:
    yield _told(facts, "pairs")
    heads = ["net", "beside", "verdict", "difference", "95 % interval", "p", "a run wins", "would show"]
    yield from _table(heads, _pairs(facts), 5)


def _pairs(facts: Facts) -> Iterator[list[str]]:
    for pair in facts.findings.pairs if facts.findings else ():
        smallest = pair.minimum_detectable_difference
        yield [
            pair.a,
            pair.b,
            pair.verdict,
            points(pair.mean_difference),
            f"{points(pair.ci_low)} to {points(pair.ci_high)}",
            probability(pair.p_value),
            f"{100 * pair.superiority:.0f} %",
            "none" if smallest is None else f"{100 * smallest:.2f}",
        ]


def _claims(facts: Facts) -> Iterator[str]:
    for place, claim in enumerate(facts.findings.claims if facts.findings else (), start=1):
        yield f"{place}. {plain(claim.claim)}: **{claim.verdict}**. {plain(claim.why)}"


def _search(facts: Facts) -> Iterator[str]:
    yield f"{_told(facts, 'history')} {_told(facts, 'history_by_time')}"
    best = dict(facts.search.by_trial)
    named = {attempt.number: attempt for attempt in facts.search.attempts}
    rows = [
        [named[int(number)].name, named[int(number)].net, f"{named[int(number)].minutes:.1f}", _percent(score)]
        for number, score in best.items()
    ]
    yield from _table(["new best", "layers", "minutes", "validation accuracy, %"], rows, 2)


def _settings(facts: Facts) -> Iterator[str]:
    found = facts.importances
    if isinstance(found, Importances):
        yield _told(facts, "importances")
        rows = [
            [it.name, f"{100 * it.share:.0f} %", f"{100 * it.low:.0f} to {100 * it.high:.0f} %"] for it in found.shares
        ]
        yield from _table(["setting", "explains", "drawn again"], rows, 2)
    else:
        yield found.reason
    yield from _table(
        ["trial", "blocks", "filters, mean", "BatchNorm", "dropout, mean", "dense units", "epochs", "accuracy, %"],
        [_attempt(it) for it in sorted(facts.search.attempts, key=lambda it: -it.score)],
        3,
    )


def _attempt(it: Attempt) -> list[str]:
    return [
        it.name,
        f"{it.depth}",
        f"{it.filters:.3g}",
        it.batch_norm,
        f"{it.dropout:.3g}",
        f"{it.dense}",
        f"{it.epoch:g}",
        _percent(it.score),
    ]


def _sizes(facts: Facts) -> Iterator[str]:
    yield _told(facts, "sizes")
    rows = [[it.name, it.net, f"{it.parameters:,}", _percent(it.score)] for it in facts.search.front]
    if rows:
        yield from _table(["none is smaller and better", "layers", "parameters", "validation accuracy, %"], rows, 2)


def _curves(facts: Facts) -> Iterator[str]:
    yield _told(facts, "curves")
    rows = [
        [
            it.name,
            f"{it.epochs[-1]:g}",
            *map(_percent, (it.train_accuracy[-1], it.val_accuracy[-1])),
            f"{it.train_loss[-1]:.3f}",
            f"{it.val_loss[-1]:.3f}",
        ]
        for it in facts.search.shown
        if it.epochs
    ]
    heads = ["net", "epochs", "training accuracy, %", "validation accuracy, %", "training loss", "validation loss"]
    if rows:
        yield from _table(heads, rows, 5)


def _mistakes(facts: Facts) -> Iterator[str]:
    if isinstance(facts.confusion, Confusion):
        found = facts.confusion
        yield _told(facts, "confusion")
        rows = [
            [name, *(f"{100 * share:.1f}" for share in row)]
            for name, row in zip(found.classes, found.shares, strict=True)
        ]
        yield from _table(["% of, taken for", *map(plain, found.classes)], rows, len(found.classes))
    else:
        yield facts.confusion.reason
    yield ""
    if isinstance(facts.mistakes, Missing):
        yield facts.mistakes.reason
    else:
        seeds = facts.mistakes.seeds
        yield _told(facts, "mistakes")
        shown = [
            [f"{it.index}", it.label, it.predicted, f"{it.votes} of {seeds}", f"{100 * it.probability:.0f} %"]
            for it in facts.mistakes.shown
        ]
        yield from _table(["test image", "is", "taken for", "seeds", "sure"], shown, 2)


def _shrinkage(facts: Facts) -> Iterator[str]:
    yield _told(facts, "shrinkage")
    heads = ["net", "in the search, %", "retrained, best epoch, %", "retrained, last epoch, %", "change"]
    rows = [
        [it.name, *map(_percent, (it.searched, it.retrained, it.last)), points(it.retrained - it.searched)]
        for it in facts.shrinkages
    ]
    yield from _table(heads, rows, 4)


def _duplicates(facts: Facts) -> Iterator[str]:
    found = facts.duplicates
    if isinstance(found, Missing):
        yield plain(found.reason)
        return
    yield _told(facts, "duplicates")
    rows = [
        [it.name, _percent(it.all_images), _percent(it.without), points(it.without - it.all_images)]
        for it in found.nets
    ]
    yield from _table(["net", "all images, %", "without, %", "change"], rows, 3)


def _cost(facts: Facts) -> Iterator[str]:
    spent = facts.cost
    yield _told(facts, "cost")
    rows = [[it.what, f"{it.nets:,}", f"{it.epochs:,.1f}".removesuffix(".0"), clock(it.train_s)] for it in spent.spent]
    yield from _table(["for", "nets", "epochs", "training, workers added up"], rows, 3)
    if spent.peak_bytes:
        yield ""
        yield f"The largest worker took {spent.peak_bytes / 1e6:,.0f} MB of memory."
    if spent.failures:
        yield ""
        yield from (f"- failed: {plain(reason)}" for reason in spent.failures)


def _origin(facts: Facts) -> Iterator[str]:
    yield from _table(["what", "value"], [[fact.name, fact.value] for fact in facts.origin], 0)
