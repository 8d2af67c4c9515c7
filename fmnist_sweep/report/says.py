"""What to see in each part of a report and how sure it is, in a plain sentence or two."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from fmnist_sweep import counts, stats
from fmnist_sweep.display import clock, percent
from fmnist_sweep.finals import listed
from fmnist_sweep.report.facts import Facts
from fmnist_sweep.report.images import Confusion, Duplicates, Mistakes
from fmnist_sweep.report.importance import Importances
from fmnist_sweep.report.nets import Shrinkage
from fmnist_sweep.report.parts import counted
from fmnist_sweep.report.search import Curve, Search
from fmnist_sweep.standings import Findings
from fmnist_sweep.verdicts import LEVEL

ONE_SEED = "One seed each, so small differences may be luck."


def nets(facts: Facts) -> str:
    """On the table of nets."""
    if facts.findings is None:
        return f"The best trials and the lab's nets by their best validation accuracy in the search. {ONE_SEED}"
    return (
        f"Test accuracy is the mean of {counted(len(facts.findings.seeds), 'seed')}, with its 95 % interval over seeds "
        "and images. Finalists first, then the lab's nets, each best first by validation. Intervals of two nets may "
        "overlap and the nets still differ, as they share seeds and images: see the differences below."
    )


def pairs(findings: Findings) -> str:
    """On the differences between pairs."""
    count = {
        it: sum(pair.verdict == it for pair in findings.pairs) for it in ("better", "worse", "not distinguishable")
    }
    told = ", ".join(f"{number} {outcome}" for outcome, number in count.items() if number)
    return (
        f"{counted(len(findings.pairs), 'pair')} judged together: {told}. Each line is a 95 % interval: one that "
        "crosses 0 doesn't tell the two nets apart (which does not make them equal), and one that doesn't must also be "
        f"beyond chance over all pairs together. {_reach(findings)}"
    )


def _reach(findings: Findings) -> str:
    sizes = [pair.minimum_detectable_difference for pair in findings.pairs]
    known = [size for size in sizes if size is not None]
    seeds = counted(len(findings.seeds), "seed")
    if not known and stats.smallest_p(len(findings.seeds)) > LEVEL:
        return f"{seeds} can't show any difference at the 5 % level; six can."
    if not known:
        return f"No run differs from another, so what {seeds} would show can't be told."
    low, high = f"{100 * min(known):.2f}", f"{100 * max(known):.2f}"
    width = low if low == high else f"{low} to {high}"
    return f"{seeds} would show a difference of {width} points, by pair, 4 times in 5."


def history(search: Search) -> str:
    """On best-so-far."""
    if not search.by_trial:
        return "No trial was trained in full, so there is no best so far."
    number, best = search.by_trial[-1]
    last = search.attempts[-1].number
    after = int(last - number)
    rest = f"; of the {counted(after, 'trial')} after it none trained in full is better" if after else ", the last one"
    lab = search.best_of_lab
    beside = f" The dashed line is {lab.name}, with {percent(lab.score)}." if lab else ""
    return f"The best so far came to {percent(best)} with trial {number:.0f}{rest}.{beside} {_noise(search, best)}"


def _noise(search: Search, score: float) -> str:
    if not search.validation:
        return ONE_SEED
    error = counts.margin(score, search.validation) / counts.NORMAL_95
    return (
        f"A score is one seed on {search.validation:,} images, with a standard error of {100 * error:.2f} points for "
        "the images alone: the last steps may be luck."
    )


def history_by_time(search: Search) -> str:
    """On best-so-far against time."""
    if not search.by_minute:
        return "No trial was trained in full, so there is no best so far."
    minutes = search.by_minute[-1][0]
    pauses = " Pauses between runs are in the minutes." if search.paused else ""
    return (
        f"The best trial was done after {clock(60 * minutes)}. A trial that was stopped stands where it would be had "
        f"it trained without a break.{pauses} How fast it goes depends on the machine."
    )


def importances(found: Importances) -> str:
    """On the importances."""
    top = found.shares[0]
    left_out = (
        f" Settings that not every trial has ({', '.join(found.left_out)}) are left out." if found.left_out else ""
    )
    rivals = [it.name for it in found.shares[1:] if it.high > top.low]
    sure = f"; whether it is above {listed(rivals)} is not sure" if rivals else ""
    return (
        f"{top.name} explains most: {100 * top.share:.0f} % of what the settings explain together "
        f"({100 * top.low:.0f} to {100 * top.high:.0f} % when the trials are drawn again){sure}. Functional ANOVA over "
        f"the validation accuracy of {counted(found.trials, 'trial')} after {found.epoch:g} "
        f"{'epoch' if found.epoch == 1 else 'epochs'}, the one point that all of them reached, as trials that were "
        "stopped early have no later score: what helps early need not help in the end." + left_out
    )


def settings() -> str:
    """On the parallel coordinates."""
    return (
        "Each line is a trial, read from top to bottom. A setting matters where the coloured lines keep together and "
        f"the grey ones don't; at the foot, trials that scored lower than shown end at the left. {ONE_SEED}"
    )


def sizes(search: Search) -> str:
    """On accuracy against parameters."""
    if not search.front:
        return "No net was trained in full, so no size can be weighed against accuracy."
    small, large = search.front[0], search.front[-1]
    told = "On the line are the nets than which no other is both smaller and better"
    if small is large:
        return f"{told}: {small.name} alone, {percent(small.score)} with {small.parameters:,} parameters. {ONE_SEED}"
    return (
        f"{told}, from {small.name} ({percent(small.score)} with {small.parameters:,} parameters) to {large.name} "
        f"({percent(large.score)} with {large.parameters:,}). {ONE_SEED}"
    )


def curves(search: Search) -> str:
    """On the learning curves."""
    ended = [curve for curve in search.shown if curve.epochs]
    if not ended:
        return "No net has reported yet."
    widest = max(ended, key=_gap)
    told = (
        f"The widest gap at the end is that of {widest.name}: {percent(widest.train_accuracy[-1])} on the training "
        f"images, {percent(widest.val_accuracy[-1])} on the validation images."
        if _gap(widest) > 0
        else "None of these nets does better on the training images than on the validation images at the end."
    )
    return (
        f"{told} A training figure is the mean over its epoch with dropout at work, so it may lie below. One seed "
        "each; grey: all other trials."
    )


def _gap(curve: Curve) -> float:
    return curve.train_accuracy[-1] - curve.val_accuracy[-1]


def confusion(found: Confusion) -> str:
    """On the confusion matrix."""
    shown = [label for label, row in enumerate(found.shares) if any(row)]
    absent = [name for name, row in zip(found.classes, found.shares, strict=True) if not any(row)]
    right = min(shown, key=lambda label: found.shares[label][label])
    mixed = listed([f"{it.label} taken for {it.predicted} ({100 * it.share:.1f} %)" for it in found.mixed])
    return (
        f"Hardest for {found.net} is {found.classes[right]}, right in {100 * found.shares[right][right]:.1f} % of the "
        f"cases; most often mixed up: {mixed}. Percent of the test images of each class, the mean of "
        f"{counted(found.seeds, 'seed')}; a share of one percent rests on few images."
        + (f" No test image is of {listed(absent)}." if absent else "")
    )


def mistakes(found: Mistakes) -> str:
    """On the images."""
    firm = sum(it.votes == found.seeds for it in found.shown)
    return (
        f"Of the test images that {found.net} gets wrong, the {len(found.shown)} most often mistaken: {firm} "
        f"of them the same way under all {counted(found.seeds, 'seed')}, so those are no accident of one training; "
        "some labels may be wrong."
    )


def shrinkage(found: Sequence[Shrinkage]) -> str:
    """On search scores and what became of them."""
    mean = round(100 * fmean(it.retrained - it.searched for it in found if not it.lab), 2)
    changed = f"{abs(mean):.2f} points {'lower' if mean < 0 else 'higher'} than" if mean else "the same as"
    why = ": a score that was chosen for being high holds some luck" if mean < 0 else ""
    labs = " The lab's nets, which nobody chose by their score, show how far one seed goes either way."
    return (
        f"Under new seeds the finalists' best-epoch validation accuracy is {changed} in the search, on average{why}."
        f"{labs if any(it.lab for it in found) else ''} The test set judges a net after its last epoch, which is the "
        "short line."
    )


def duplicates(found: Duplicates) -> str:
    """On the results without duplicates."""
    verdicts = (
        f"{counted(len(found.changed), 'verdict changes', 'verdicts change')}: {'; '.join(found.changed)}."
        if found.changed
        else f"None of the {counted(found.pairs, 'verdict')} changes without them."
    )
    return (
        f"{counted(found.images, 'test image has', 'test images have')} a duplicate or nearly one among the training "
        f"images, {found.exact:,} of them an exact one. {verdicts}"
    )


def cost(facts: Facts) -> str:
    """On what everything cost."""
    spent = facts.cost
    saved = (
        f" Stopping trials early saved {spent.saved_epochs:,.0f} epochs, about {clock(spent.saved_s)} of training."
        if spent.saved_epochs
        else ""
    )
    return (
        f"{counted(spent.trials, 'trial')}: {spent.complete} trained in full, {spent.pruned} stopped early, "
        f"{spent.failed} failed{f', {spent.unfinished} not ended' if spent.unfinished else ''}. "
        f"{clock(spent.wall_s)} by the clock.{saved}"
    )
