"""How far a run is: the training that is left, and one bar for all of it on a terminal or in a notebook."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike
from tqdm.auto import tqdm

from blurjax.config import LONGER
from blurjax.experiment.plan import Plan, duration
from blurjax.runtime import processes
from blurjax.train.metric_writers import Progress


class TrainingLeft:
    """What is left of a run's training, by its plan and by what is seen of it.

    The time is that of the plan, corrected by what the latest job of a section took; without a planned time, all steps
    count the same.
    """

    def __init__(self, plan: Plan):
        self._seconds = {s.job: 1.0 if math.isnan(s.seconds) else s.seconds for s in plan.stages}
        """Of a step of one trial, by the name of a stage's jobs."""
        self._steps_left = {s.job: s.steps_left for s in plan.stages}
        """Of all trials together."""
        self._total = sum(self._seconds_left().values())
        self._steps = dict(plan.steps_done)
        self._slower: dict[str, float] = {}
        """Section -> how many times as long as planned it takes."""
        self._measured: set[str] = set()
        """Jobs of which the first epoch, with what is compiled in it, is over."""

    def update(self, progress: Progress) -> tuple[float, float]:
        """Takes an epoch of a job into account.

        Returns:
          The share of the training that is done, of what was left when the plan was made, and the seconds left.
        """
        job, step = progress.job, progress.line["step"]
        stage = job.name.rpartition("/")[0]
        done = (step - self._steps.get(job.name, 0)) * len(job.trials)
        self._steps_left[stage] = max(0, self._steps_left[stage] - done)
        self._steps[job.name] = step
        steps_of_job = step * (progress.epochs - progress.epoch) / progress.epoch
        of_job = len(job.trials) * self._seconds[stage] * steps_of_job
        if of_job and job.name in self._measured:
            self._slower[job.section] = progress.seconds_left / of_job
        self._measured.add(job.name)
        planned = self._seconds_left()
        sections = {s: s.split("/")[0].removeprefix(LONGER) for s in planned}
        latest = self._slower.get(job.section, 1.0)
        seconds = sum(left * self._slower.get(sections[s], latest) for s, left in planned.items())
        # Epochs after the last checkpoint are trained again, so that more may be left than was planned.
        return max(0.0, 1 - sum(planned.values()) / max(self._total, 1e-9)), seconds

    def _seconds_left(self) -> dict[str, float]:
        return {stage: left * self._seconds[stage] for stage, left in self._steps_left.items()}


class ProgressBar:
    """One bar for all stages; called after every epoch."""

    def __init__(self, plan: Plan):
        self._left = TrainingLeft(plan)
        # In a notebook, tqdm draws the bar itself.
        bar = "{bar}" if _in_notebook() else "{bar:10}"
        self._bar = tqdm(
            total=1.0,
            bar_format=f"{{percentage:3.0f}}%|{bar}| {{desc}}",
            dynamic_ncols=True,
            file=None if _in_notebook() else sys.stdout,
        )

    def __call__(self, progress: Progress) -> None:
        """Shows the time left, then stage, epoch and the mean over trials of what was measured on validation."""
        done, seconds = self._left.update(progress)
        validation = progress.line["validation"]
        if "accuracy" in validation:
            measured = f"accuracy {100 * mean_and_spread(validation['accuracy'])[0]:.1f}%"
        else:
            measured = f"loss {mean_and_spread(validation['loss'])[0]:.4f}"
        epoch = f"{stage_name(progress)} {progress.epoch}/{progress.epochs}"
        parts = [f"{duration(seconds)} left", epoch, measured]
        if progress.failed:
            parts.append(f"{progress.failed} frozen: not finite")
        self._bar.set_description_str("  ".join(parts), refresh=False)
        self._bar.n = done  # update(done - n) would end a rounding error below 1
        self._bar.update(0)

    def close(self) -> None:
        """Leaves the bar as it is, and the cursor below it."""
        self._bar.close()


@contextlib.contextmanager
def progress_bar(make_plan: Callable[[], Plan]) -> Iterator[Callable[[Progress], None]]:
    """Shows a bar on a terminal or in a notebook, and nothing elsewhere."""
    if not (processes.is_first() and (_in_notebook() or sys.stdout.isatty())):
        yield lambda progress: None
        return
    with contextlib.closing(ProgressBar(make_plan())) as bar:
        yield bar


def stage_name(progress: Progress) -> str:
    """Returns what a job's stage is called, such as "classifiers on blur, longer"."""
    view = progress.job.view
    stage = "autoencoders" if view is None else f"classifiers on {view}"
    return stage if progress.job.stage == progress.job.section else f"{stage}, longer"


def mean_and_spread(values: ArrayLike) -> tuple[float, float]:
    """Returns mean and standard deviation over the trials [S] that are not NaN; NaN of none, the latter also of one."""
    present = np.asarray(values, np.float64)
    present = present[~np.isnan(present)]
    deviation = present.std() if len(present) > 1 else np.nan
    return (present.mean(), deviation) if len(present) else (np.nan, np.nan)


def _in_notebook() -> bool:
    kernel = sys.modules.get("ipykernel.kernelapp")
    return kernel is not None and kernel.IPKernelApp.initialized()
