"""The faults: what may be done to whom, drawn from a seed."""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass
from typing import Literal

Target = Literal["worker", "fork server", "driver", "all at the terminal", "MLflow server"]
Moment = Literal["after the last fault", "once all is trained"]

# By target: how often it is hit, and the signals that it gets, one after the other, with a pause between them.
_KILLED = (signal.SIGKILL,)
_ASLEEP = (signal.SIGSTOP, signal.SIGCONT)
_KILLED_ASLEEP = (signal.SIGSTOP, signal.SIGKILL)
KINDS: dict[Target, tuple[float, tuple[tuple[signal.Signals, ...], ...]]] = {
    "worker": (8, (_KILLED, _KILLED, _ASLEEP, _KILLED_ASLEEP, (signal.SIGTERM,), (signal.SIGINT,))),
    "fork server": (1, (_KILLED,)),
    "driver": (6, (_KILLED, _KILLED, (signal.SIGINT,), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM,), _ASLEEP)),
    "all at the terminal": (1, ((signal.SIGINT,),)),  # as Ctrl-C does: the driver and all that it has started
    "MLflow server": (5, (_KILLED, _KILLED, (signal.SIGTERM,), (signal.SIGINT,), _ASLEEP)),
}
_LONGEST_WAIT_S = 4.0
_LATE_WAIT_S = 9.0
_LATE = 0.15
_LONGEST_PAUSE_S = 3.0
_LONGEST_OUTAGE_S = 13.0  # longer than a request waits for an answer


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        target: Who is hit.
        signals: What it gets, one after the other.
        moment: Since when ``wait_s`` counts.
        wait_s: Seconds to wait before the first signal.
        pause_s: Seconds between two signals; of a server that is ended, until it is started again.
        choice: Picks one of several workers, from 0 to below 1.
    """

    target: Target
    signals: tuple[signal.Signals, ...]
    moment: Moment
    wait_s: float
    pause_s: float
    choice: float

    @property
    def kind(self) -> str:
        """In a few words."""
        return " + ".join(number.name for number in self.signals)


def draw(seed: int, count: int) -> list[Fault]:
    """``count`` faults, the same ones for the same seed."""
    rng = random.Random(seed)
    return [_one(rng) for _ in range(count)]


def _one(rng: random.Random) -> Fault:
    target = rng.choices(list(KINDS), [weight for weight, _ in KINDS.values()])[0]
    signals = rng.choice(KINDS[target][1])
    late = rng.random() < _LATE and target != "fork server"
    longest = _LONGEST_OUTAGE_S if target == "MLflow server" and signals == _ASLEEP else _LONGEST_PAUSE_S
    return Fault(
        target=target,
        signals=signals,
        moment="once all is trained" if late else "after the last fault",
        wait_s=round(rng.uniform(0, _LATE_WAIT_S if late else _LONGEST_WAIT_S), 3),
        pause_s=round(rng.uniform(0.05, longest), 3),
        choice=rng.random(),
    )
