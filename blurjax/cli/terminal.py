"""Progress and warnings on a terminal."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from tqdm.contrib.logging import logging_redirect_tqdm

from blurjax.cli.parser import MOST_COLUMNS
from blurjax.experiment.plan import Plan, duration
from blurjax.experiment.progress import ProgressBar, TrainingLeft, mean_and_spread, stage_name
from blurjax.runtime import processes
from blurjax.train.metric_writers import Progress

SECONDS_BETWEEN_LINES = 10.0


def say(text: object) -> None:
    """Prints to standard output; of several processes only the first does."""
    if processes.is_first():
        print(text, flush=True)


def say_answer(paragraphs: Sequence[str]) -> None:
    """Prints the answer of a run, a paragraph each, as wide as the terminal is, up to 100 columns."""
    columns = min(shutil.get_terminal_size().columns, MOST_COLUMNS)
    text = "\n\n".join(textwrap.fill(text, columns) for text in paragraphs)
    say(f"\n{text}\n")


class ProgressLines:
    """Prints the last epoch of every job, and of the others one in ten seconds: for logs and pipes."""

    def __init__(self, plan: Plan):
        self._left, self._printed = TrainingLeft(plan), time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Takes note of an epoch."""
        _, seconds = self._left.update(progress)
        due = time.monotonic() > self._printed + SECONDS_BETWEEN_LINES
        if due or progress.epoch == progress.epochs:
            self._printed = time.monotonic()
            say(describe_progress(progress, seconds))


@contextlib.contextmanager
def show_progress(plan: Plan, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Shows a bar on a terminal, lines elsewhere, and nothing where asked to be quiet."""
    if quiet or not processes.is_first():
        yield lambda progress: None
    elif not sys.stdout.isatty():
        yield ProgressLines(plan)
    else:
        redirected = logging_redirect_tqdm([logging.getLogger("blurjax")])
        with contextlib.closing(ProgressBar(plan)) as bar, redirected:
            yield bar


def describe_progress(progress: Progress, seconds_left: float) -> str:
    """Returns stage, epoch, loss and validation (mean ± standard deviation over trials), speed and time left."""

    def spread(values: ArrayLike, digits: str) -> str:
        mean, deviation = mean_and_spread(values)
        return f"{mean:{digits}}" + ("" if np.isnan(deviation) else f" ± {deviation:{digits}}")

    line = progress.line
    validation = line["validation"]
    if "accuracy" in validation:
        accuracy = 100 * np.asarray(validation["accuracy"])
        validated = f"validation accuracy {spread(accuracy, '.1f')} %"
    else:
        validated = f"validation loss {spread(validation['loss'], '.4f')}"
    parts = [
        f"{stage_name(progress)}  epoch {progress.epoch}/{progress.epochs}",
        f"loss {spread(line['loss'], '.4f')}",
        validated,
        f"{progress.images_per_second:,.0f} images/s, {duration(seconds_left)} left",
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
    sys.unraisablehook = without_abandoned_files(sys.__unraisablehook__)


def without_abandoned_files(hook: Callable[[Any], object]) -> Callable[[Any], None]:
    """Returns a `sys.unraisablehook` that leaves out what TensorStore raises after Orbax has given up on a file."""

    def report(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    return report
