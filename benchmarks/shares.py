"""Where the workers' time goes, read from a study's ledger; a pure function of its events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from fmnist_sweep.ledger import Event

_ENDS = ("held", "ended", "paused", "died")
_CUT_SHORT = ("paused", "died")
_AT_ONCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Shares:
    """Seconds of all workers together.

    Attributes:
        workers: That were seen to work at the same time.
        wall_s: From each session's start to its last event.
        train: Optimizer steps; building their graphs is part of start.
        score: On the validation images.
        start: From a worker's start to its first report, all but training and scoring: process, data, net, graphs.
        tell: Between two reports, all but training and scoring: checkpoint, the driver's answer.
        end: From a worker's last report to the driver's knowing that it has ended.
        lost: The same where the worker died or was interrupted: training that is done again.
        tail: No job any more, while others train to the study's end.
        idle: No job besides that.
    """

    workers: int
    wall_s: float
    train: float
    score: float
    start: float
    tell: float
    end: float
    lost: float
    tail: float
    idle: float

    @property
    def whole(self) -> float:
        """All workers' seconds."""
        return self.workers * self.wall_s

    @property
    def not_training(self) -> float:
        """Share of the whole that is neither training nor scoring, 0 to 1; in the tail, others train."""
        return 1 - (self.train + self.score + self.tail) / self.whole

    def to_dict(self) -> dict[str, float]:
        """Plain JSON types, with the shares."""
        shares = {f"{name}_share": getattr(self, name) / self.whole for name in PARTS}
        return {**asdict(self), **shares, "not_training": self.not_training}


PARTS = ("train", "score", "start", "tell", "end", "lost", "tail", "idle")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A worker's life: whose, when it began, ended and how, and its reports.

    A report is (time, seconds of training so far, seconds of scoring for it). Where the last is unknown, as in ledgers
    of older releases, scoring is booked with what it lies among: the first under ``start``, the others under ``tell``.
    """

    job: str
    began: float
    ended: float
    cut_short: bool
    before_s: float
    reports: tuple[tuple[float, float, float], ...]

    def parts(self) -> tuple[float, ...]:
        """Seconds of training, scoring, starting, telling, ending, and lost."""
        if not self.reports:
            whole = self.ended - self.began
            return (0.0, 0.0, 0.0, 0.0, 0.0, whole) if self.cut_short else (0.0, 0.0, whole, 0.0, 0.0, 0.0)
        first_time, first_s, first_score_s = self.reports[0]
        last_time, last_s, _ = self.reports[-1]
        score = sum(score_s for _, _, score_s in self.reports)
        start = first_time - self.began - (first_s - self.before_s) - first_score_s
        tell = last_time - first_time - (last_s - first_s) - (score - first_score_s)
        after = self.ended - last_time
        end, lost = (0.0, after) if self.cut_short else (after, 0.0)
        return last_s - self.before_s, score, max(start, 0.0), max(tell, 0.0), end, lost


def of_events(events: Sequence[Event], command_s: float = 0.0) -> Shares:
    """The shares of a whole study, all its sessions together.

    Args:
        events: Of the ledger.
        command_s: From the command to its end, which is longer than the ledger's events; 0 where that is not known.
    """
    stretches = list(_stretches(events))
    train, score, start, tell, end, lost = (sum(parts) for parts in zip(*(it.parts() for it in stretches), strict=True))
    wall_s = max(_wall(events), command_s)
    workers = most_at_once((it.began, it.ended) for it in stretches)
    tail = _tail(stretches, workers)
    idle = max(workers * wall_s - train - score - start - tell - end - lost - tail, 0.0)
    return Shares(workers, wall_s, train, score, start, tell, end, lost, tail, idle)


def _stretches(events: Iterable[Event]) -> Iterator[Stretch]:
    began: dict[str, float] = {}
    before: dict[str, float] = {}
    reports: dict[str, list[tuple[float, float, float]]] = {}
    last = 0.0
    for event in events:
        if event.kind == "session":  # what trained when a driver was killed is told of by the next one
            for job, since in began.items():
                yield Stretch(job, since, last, True, before.get(job, 0.0), tuple(reports[job]))
                if reports[job]:
                    before[job] = reports[job][-1][1]
            began.clear()
        last = event.time
        if event.kind == "started":
            began[event.job] = event.time
            reports[event.job] = []
        elif event.kind == "report" and event.job in began:
            said = event.body
            reports[event.job].append((event.time, said["train_s"], said.get("score_s") or 0.0))
        elif event.kind in _ENDS and event.job in began:
            life = tuple(reports[event.job])
            cut_short = event.kind in _CUT_SHORT
            yield Stretch(event.job, began.pop(event.job), event.time, cut_short, before.get(event.job, 0.0), life)
            if life:
                before[event.job] = life[-1][1]


def _wall(events: Sequence[Event]) -> float:
    spent, began = 0.0, events[0].time
    last = began
    for event in events:
        if event.kind == "session":
            spent += last - began
            began = event.time
        last = event.time
    return spent + last - began


def _tail(stretches: Sequence[Stretch], workers: int) -> float:
    """Seconds of workers without a job after the last start, while another has one."""
    spans = _unbroken(stretches)
    last = max(began for began, _ in spans)
    ends = sorted(ended for _, ended in spans if ended > last)
    idle_from_the_last_start = (workers - len(ends)) * (ends[-1] - last) if ends else 0.0
    return idle_from_the_last_start + sum(ends[-1] - ended for ended in ends)


def _unbroken(stretches: Iterable[Stretch]) -> list[tuple[float, float]]:
    """From when to when jobs had a worker; one that goes on in another at once had one all along."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for it in sorted(stretches, key=lambda it: it.began):
        known = spans.setdefault(it.job, [])
        if known and it.began - known[-1][1] < _AT_ONCE_S:
            known[-1] = known[-1][0], it.ended
        else:
            known.append((it.began, it.ended))
    return [span for of_job in spans.values() for span in of_job]


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    """The largest number of spans that hold one moment; one that ends as another begins is not with it."""
    kept = list(spans)
    steps = sorted([(ended, -1) for _, ended in kept] + [(began, 1) for began, _ in kept])
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most
