"""Which jobs stand for the same net under the same recipe: it is trained once, and the others share its result."""

from __future__ import annotations

from collections.abc import Sequence

from fmnist_sweep.arch import fingerprint
from fmnist_sweep.state import ENDED, JobRecord, StudyState
from fmnist_sweep.trial import Extra, Kind


class Twins:
    """The jobs of a study by what they train.

    Args:
        state: Of the study.
    """

    def __init__(self, state: StudyState) -> None:
        self._state = state
        self._trained: dict[tuple[str, Kind], str] = {}  # the job that has the result, by fingerprint and kind
        self._sharing: list[str] = []  # jobs that wait for another's result
        for job in state.jobs.values():
            self.know(job)

    def know(self, job: JobRecord) -> None:
        """Lets later jobs of the same fingerprint share the result of ``job``."""
        if not job.same_as:
            self._trained.setdefault((job.fingerprint, job.kind), job.key)
        elif job.state not in ENDED:
            self._sharing.append(job.key)

    def of(self, print_: str, kind: Kind, report_at: tuple[float, ...]) -> str:
        """The job whose result a new one shares, or "".

        One of the lab's nets shares none of a trial, which may be stopped early, and a trial shares one's only where
        both report at the same points: its curve stands beside other trials'. Finals keep other weights.
        """
        lab = self._trained.get((print_, "lab"), "") if kind == "trial" else ""
        if lab and self._state.jobs[lab].report_at == report_at:
            return lab
        return self._trained.get((print_, kind), "")

    def needed(self, extras: Sequence[Extra], *, search: bool) -> set[str]:
        """Jobs that are no trials and are trained in a run: its extras, and the nets that those and trials share.

        What an earlier run left of others waits for the command that asks for it again.

        Args:
            extras: Of the run.
            search: Whether trials go on in it.
        """
        wanted = {extra.key for extra in extras}
        wanted |= {self.of(fingerprint(extra.arch, extra.train), extra.kind, ()) for extra in extras}
        known = self._state.jobs
        sharing = wanted & known.keys()
        sharing |= {job.key for job in self._state.unfinished() if search and job.kind == "trial"}
        return wanted | {known[key].same_as for key in sharing}

    def settled(self) -> list[tuple[JobRecord, JobRecord]]:
        """The jobs whose shared result is there now, each with the job that has it: told once."""
        found = []
        for key in list(self._sharing):
            job = self._state.jobs[key]
            twin = self._state.jobs.get(job.same_as)
            if twin is not None and twin.state in ENDED:
                self._sharing.remove(key)
                found.append((job, twin))
        return found
