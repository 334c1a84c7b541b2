"""Where a run's metrics go: metrics.jsonl, whatever shows progress, and logs in other forms (metric_logs)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from blurjax.runtime import RunDirectory
from blurjax.train.jobs import Job


@dataclass(frozen=True)
class Progress:
    """The state of a job after an epoch."""

    job: Job
    epoch: int
    epochs: int
    images_per_second: float
    seconds_left: float
    """Of this job."""
    failed: int
    """Trials frozen so far."""
    line: dict[str, Any]
    """Of metrics.jsonl."""


class MetricWriter:
    """Takes what is measured during a run. A subclass defines those methods that it needs; these do nothing."""

    def resume(self, job: Job, step: int) -> None:
        """Drops a job's epochs after this step, from which its training goes on; called when a job begins."""

    def write(self, progress: Progress) -> None:
        """Takes an epoch."""

    def write_images(self, name: str, images: np.ndarray) -> None:
        """Takes images u8[M,H,W,C] of the gallery; the name is that of their view and says the bottleneck."""

    def close(self) -> None:
        """Writes what is left, also where the run is interrupted."""


class MetricsFile(MetricWriter):
    """metrics.jsonl, which counts: a run is resumed and analysed from it."""

    def __init__(self, run: RunDirectory):
        self._run = run

    def resume(self, job: Job, step: int) -> None:
        """Drops the job's later lines."""
        self._run.keep_metrics(lambda line: line["job"] != job.name or line["step"] <= step)

    def write(self, progress: Progress) -> None:
        """Adds a line and waits until it is on the disk."""
        self._run.append_metrics(progress.line)


class MetricWriters(MetricWriter):
    """Several writers, called in order, and a function, such as a progress bar, that is called after every epoch."""

    def __init__(self, writers: Iterable[MetricWriter], progress: Callable[[Progress], None]):
        self._writers, self._progress = tuple(writers), progress

    def resume(self, job: Job, step: int) -> None:
        """Calls `resume` of all."""
        for writer in self._writers:
            writer.resume(job, step)

    def write(self, progress: Progress) -> None:
        """Calls `write` of all, and shows progress."""
        for writer in self._writers:
            writer.write(progress)
        self._progress(progress)

    def write_images(self, name: str, images: np.ndarray) -> None:
        """Calls `write_images` of all."""
        for writer in self._writers:
            writer.write_images(name, images)


def measures(line: dict[str, Any]) -> dict[str, list[float | None]]:
    """Returns measure -> a number per trial of a line of metrics.jsonl, such as "loss" and "validation.accuracy"."""
    found = {"loss": line["loss"]}
    for side, of_side in line.items():
        if isinstance(of_side, dict):
            found |= {f"{side}.{name}": values for name, values in of_side.items()}
    return found


def metric_rows(run: RunDirectory) -> Iterator[dict[str, Any]]:
    """Yields what every line of metrics.jsonl says of each trial, flat."""
    for line, trials in run.metrics_with_trials():
        numbers = measures(line)
        for row, trial in enumerate(trials):
            about = {name: line[name] for name in ("stage", "view", "epoch", "step")}
            yield about | trial | {name: values[row] for name, values in numbers.items()}
