"""Progress and warnings on a terminal."""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import Any

import numpy as np

from blurjax.experiment.plan import duration
from blurjax.runtime import processes
from blurjax.train.loop import Progress


def say(text: object) -> None:
    """Prints to standard output; of several processes only the first does."""
    if processes.is_first():
        print(text, flush=True)


class ProgressLine:
    """Prints one line an epoch; on a terminal, each epoch of a job overwrites the previous one."""

    def __init__(self) -> None:
        self._overwrite = sys.stdout.isatty()

    def __call__(self, progress: Progress) -> None:
        """Prints a line of progress."""
        text = describe_progress(progress)
        if not self._overwrite:
            say(text)
        elif processes.is_first():
            end = "\n" if progress.epoch == progress.epochs else ""
            columns = os.get_terminal_size().columns
            print(f"\r\x1b[K{text[: columns - 1]}", end=end, flush=True)


def describe_progress(progress: Progress) -> str:
    """Returns stage, epoch, loss and validation (mean ± standard deviation over trials), speed and time left."""

    def spread(values: Any, digits: str) -> str:
        values = np.asarray(values, np.float64)
        return f"{np.nanmean(values):{digits}} ± {np.nanstd(values):{digits}}"

    line, view = progress.line, progress.job.view
    stage = "autoencoders" if view is None else f"classifiers on {view}"
    if progress.job.stage != progress.job.section:
        stage += ", longer"
    validation = line["validation"]
    if "accuracy" in validation:
        accuracy = 100 * np.asarray(validation["accuracy"])
        validated = f"validation accuracy {spread(accuracy, '.1f')} %"
    else:
        validated = f"validation loss {spread(validation['loss'], '.4f')}"
    parts = [
        f"{stage}  epoch {progress.epoch}/{progress.epochs}",
        f"loss {spread(line['loss'], '.4f')}",
        validated,
        f"{progress.images_per_second:,.0f} images/s, {duration(progress.seconds_left)} left",
    ]
    if progress.failed:
        parts.append(f"{progress.failed} trial(s) frozen: not finite")
    return "  ".join(parts)


def log_to_terminal() -> None:
    """Prints warnings of blurjax on standard error, one line each, and hides those of a failed write in Orbax.

    Such a failure ends the run with one sentence. Orbax (through absl) and the event loop of its writes (asyncio) log
    it as well, and the threads of TensorStore raise errors for the writes that were abandoned.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    blurjax = logging.getLogger("blurjax")
    blurjax.addHandler(handler)
    blurjax.propagate = False  # a library may have given the root logger a handler, too
    for logger in ("absl", "asyncio"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)

    def report(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            sys.__unraisablehook__(unraisable)

    sys.unraisablehook = report


def slug(source: str) -> str:
    """Returns a directory name for a data source: "tfds:mnist" -> "mnist", "folder:a/My Photos/" -> "My-Photos"."""
    name = source.split(":", 1)[-1].rstrip("/").split("/")[-1].removesuffix(".npz")
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"
