"""Jobs: trials of one stage that are trained together and checkpointed together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blurjax.config import LONGER, Trial
from blurjax.runtime import RunDirectory, read_json


@dataclass(frozen=True)
class Job:
    """Trials that are trained together."""

    name: str
    """Such as "classifier/reconstruction/job-0"; its directory under checkpoints/."""
    trials: tuple[Trial, ...]

    @property
    def stage(self) -> str:
        """The first part of the name."""
        return self.name.split("/")[0]

    @property
    def section(self) -> str:
        """The section of the settings that it is trained with."""
        return self.stage.removeprefix(LONGER)

    @property
    def view(self) -> str | None:
        """The view that classifiers are trained on."""
        parts = self.name.split("/")
        return parts[1] if len(parts) == 3 else None


def find_jobs(run: RunDirectory, name: str) -> list[Job]:
    """Returns the jobs of a stage (and view) that the run directory holds, in the order in which they were begun."""
    paths = run.job(name).glob("job-*/job.json")
    found = []
    for path in sorted(paths, key=lambda path: int(path.parent.name.removeprefix("job-"))):
        trials = tuple(Trial(**trial) for trial in read_json(path)["trials"])
        found.append(Job(f"{name}/{path.parent.name}", trials))
    return found


def plan_jobs(run: RunDirectory, name: str, wanted: Sequence[Trial]) -> list[Job]:
    """Returns the jobs that cover the trials wanted: those that the directory holds, and one of what is missing."""
    begun = find_jobs(run, name)
    jobs = [job for job in begun if {*job.trials} & {*wanted}]
    known = {trial for job in jobs for trial in job.trials}
    missing = tuple(trial for trial in wanted if trial not in known)
    if missing:
        jobs.append(Job(f"{name}/job-{len(begun)}", missing))
    return jobs
