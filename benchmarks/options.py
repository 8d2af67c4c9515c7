"""What the user asked a benchmark for; what is left out is up to each benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Options:
    """The command line's options.

    Attributes:
        out: Where results go, and what a benchmark needs while it runs.
        quick: So few images and trials that it ends in a minute: it shows that all works, and measures nothing.
        fresh: Whether to put earlier measurements aside and begin anew.
        data_dir: Where the user says the data is.
        home: Home folder of a study to read.
        study: Name of that study.
        repeats: How often each thing is measured.
        nets: The lab's nets to train.
        train_images: Images to train on.
        epochs: Epochs of a full training.
        trials: Trials of a sweep.
        peers: Whom to compare a sweep with.
        peer_trials: Trials of each peer.
        peer_limit_s: Seconds after which a peer is stopped.
        seeds: Trainings of one net, each under another seed.
        studies: Studies of each side of a comparison, each under another seed.
    """

    out: Path = RESULTS
    quick: bool = False
    fresh: bool = False
    data_dir: Path | None = None
    home: Path | None = None
    study: str = ""
    repeats: int | None = None
    nets: tuple[str, ...] = ()
    train_images: int | None = None
    epochs: int | None = None
    trials: int | None = None
    peers: tuple[str, ...] = ()
    peer_trials: int | None = None
    peer_limit_s: float | None = None
    seeds: int | None = None
    studies: int = 1

    def pick(self, given: int | None, full: int, quick: int) -> int:
        """What was given, else the benchmark's own size."""
        return given if given is not None else quick if self.quick else full
