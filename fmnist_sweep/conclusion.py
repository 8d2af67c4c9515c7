"""What a search has found against the lab's nets, and how far that can be trusted, in two sentences."""

from __future__ import annotations

from fmnist_sweep import counts
from fmnist_sweep.arch import ArchSpec, TrainSpec, fingerprint
from fmnist_sweep.display import best_so_far, called, percent
from fmnist_sweep.state import JobRecord, StudyState


def found(state: StudyState) -> str:
    """What the search has found, against the best of the lab's nets."""
    ranked, rival = state.ranked(), _best_of_lab(state)
    if not ranked:
        leader = best_so_far(state)
        if leader is not None:
            return (
                f"No trial is trained in full yet; {called(leader)} is ahead with {percent(leader.best)} "
                f"after {leader.epoch:g} epoch{'s' * (leader.epoch != 1)}."
            )
        if rival is not None:
            return f"{called(rival)} is the best of the lab's nets: {percent(rival.best)} in validation."
        return "Nothing is trained in full yet."
    top = ranked[0]
    if rival is None:
        many = (
            f"the best of {len(ranked)} trials trained in full" if len(ranked) > 1 else "the only one trained in full"
        )
        return f"{called(top)} is {many}: {percent(top.best)} in validation. None of the lab's nets is beside it."
    lead = 100 * ((top.best or 0.0) - (rival.best or 0.0))
    theirs = f"{called(rival)}, {percent(rival.best)}"
    if lead > 0:
        return (
            f"{called(top)} leads with {percent(top.best)} in validation, {lead:.2f} points above the best of the "
            f"lab's nets ({theirs})."
        )
    if lead == 0:
        return f"{called(top)} has {percent(top.best)} in validation, as has the best of the lab's nets ({theirs})."
    return (
        f"No trial beats the lab's nets: the best, {called(top)}, has {percent(top.best)} in validation, "
        f"{-lead:.2f} points below {called(rival)} ({percent(rival.best)})."
    )


def sure(state: StudyState) -> str:
    """How far one run of one seed can be trusted.

    The margin is that of a share among independent images; seeds come on top of it.
    """
    if state.compared is not None:
        champion, newer = state.compared["champion"], unjudged(state)
        if newer is not None:
            return (
                f"compare has judged an earlier state of this study (champion {champion['name']}): {called(newer)}, "
                "which leads by its last steps, was not among the finalists."
            )
        return f"compare has judged this study under {len(state.compared['seeds'])} seeds: champion {champion['name']}."
    best = max((job.best for job in state.jobs.values() if job.best is not None), default=None)
    if best is None:
        return "There is nothing to trust yet."
    images = state.study["data_set"]["validation"]
    margin = 100 * counts.margin(best, images)
    line = (
        f"One seed each: {images:,} validation images leave ±{margin:.2f} points (95 %), and another seed moves it too"
    )
    many = sum(job.best is not None for job in state.trials())
    return f"{line}; the best of {many} such scores looks better than it is." if many > 1 else f"{line}."


def unjudged(state: StudyState) -> JobRecord | None:
    """The first of today's finalists, if its net was in no comparison yet; None without a comparison too."""
    finalists = state.finalists()
    if state.compared is None or not finalists:
        return None
    seen = [*state.compared["contenders"], *state.compared.get("left_out", ())]
    judged = {_net(ArchSpec.from_dict(net["arch"]), TrainSpec.from_dict(net["train"])) for net in seen}
    return None if _net(finalists[0].arch, finalists[0].train) in judged else finalists[0]


def _net(arch: ArchSpec, train: TrainSpec) -> str:
    return fingerprint(arch, train.with_seed(0))


def _best_of_lab(state: StudyState) -> JobRecord | None:
    trained = [job for job in state.of_kind("lab") if job.state == "complete" and job.best is not None]
    return max(trained, key=lambda job: job.best or 0.0, default=None)
