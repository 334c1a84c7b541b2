"""How far a run is: the training that is left, and one bar for all of it on a terminal or in a notebook."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from tqdm.auto import tqdm

from blurjax.config import LONGER, Config
from blurjax.data import Dataset
from blurjax.experiment.plan import COMPILE_SECONDS, Plan, duration, make_plan
from blurjax.runtime import processes
from blurjax.train.metric_writers import Progress


class TrainingLeft:
    """What is left of a run's training, by its plan and by what is seen of it.

    The time is computed with the rate of the latest job of a section, and with the plan's before there is one.
    """

    def __init__(self, plan: Plan):
        self._flops = {s.job: 1.0 if math.isnan(s.flops) else s.flops for s in plan.stages}
        """Of a step of one trial, by the name of a stage's jobs."""
        self._left = {s.job: s.steps_left * self._flops[s.job] for s in plan.stages}
        self._total = sum(self._left.values())
        self._steps, self._planned_rate = dict(plan.steps_done), plan.flops_per_second
        self._rates: dict[str, float] = {}
        self._measured: set[str] = set()
        """Jobs of which the first epoch, with its compilations, is over."""

    def update(self, progress: Progress) -> tuple[float, float]:
        """Takes an epoch of a job into account.

        Returns:
          The share of the training that is done, of what was left when the plan was made, and the seconds left.
        """
        job, step = progress.job, progress.line["step"]
        stage = job.name.rpartition("/")[0]
        flops = len(job.trials) * self._flops[stage]
        done = (step - self._steps.get(job.name, 0)) * flops
        self._left[stage] = max(0.0, self._left[stage] - done)
        self._steps[job.name] = step
        of_job = flops * step * (progress.epochs - progress.epoch) / progress.epoch
        if of_job and job.name in self._measured:
            self._rates[job.section] = of_job / progress.seconds_left
        self._measured.add(job.name)
        seconds = 0.0
        for section in ("autoencoder", "classifier"):
            stages = (s for s in self._left if s.split("/")[0].removeprefix(LONGER) == section)
            left = sum(self._left[s] for s in stages)
            is_compiled = section in self._rates or section == job.section
            seconds += left / self._rates.get(section, self._planned_rate)
            seconds += COMPILE_SECONDS / 2 if left and not is_compiled else 0.0
        # Epochs after the last checkpoint are trained again, so that more may be left than was planned.
        return max(0.0, 1 - sum(self._left.values()) / max(self._total, 1.0)), seconds


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
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Leaves the bar as it is, and the cursor below it."""
        self._bar.close()


@contextlib.contextmanager
def progress_bar(
    config: Config, dataset: Dataset, out: str | Path
) -> Iterator[Callable[[Progress], None]]:
    """Shows a bar on a terminal or in a notebook, and nothing elsewhere."""
    if not (processes.is_first() and (_in_notebook() or sys.stdout.isatty())):
        yield lambda progress: None
        return
    with contextlib.closing(ProgressBar(make_plan(config, dataset, out))) as bar:
        yield bar


def stage_name(progress: Progress) -> str:
    """Returns what a job's stage is called, such as "classifiers on blur, longer"."""
    view = progress.job.view
    stage = "autoencoders" if view is None else f"classifiers on {view}"
    return stage if progress.job.stage == progress.job.section else f"{stage}, longer"


def mean_and_spread(values: ArrayLike) -> tuple[float, float]:
    """Returns mean and standard deviation over the trials [S] that are not NaN, which are NaN where all are."""
    present = np.asarray(values, np.float64)
    present = present[~np.isnan(present)]
    return (present.mean(), present.std()) if len(present) else (np.nan, np.nan)


def _in_notebook() -> bool:
    kernel = sys.modules.get("ipykernel.kernelapp")
    return kernel is not None and kernel.IPKernelApp.initialized()
