"""metrics.jsonl in other forms: a CSV file, event files for TensorBoard, a run of Weights & Biases.

A log is made of metrics.jsonl when a run begins, and grows with it from there: it holds all epochs once, however often
the run was interrupted, and also those from before the log was asked for.
"""

from __future__ import annotations

import csv
import importlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from typing import IO, Any, NamedTuple

import numpy as np

from blurjax.config import Config, Trial
from blurjax.config.loading import flat
from blurjax.runtime import RunDirectory, UserError, read_json
from blurjax.train.jobs import Job
from blurjax.train.metric_writers import MetricWriter, Progress, measures


class Row(NamedTuple):
    """The numbers of a trial after an epoch, or their means over the seeds of trials that differ in nothing else."""

    name: str
    """The trial's key, or "mean" and what the trials have in common."""
    values: dict[str, float | None]
    """Fields of `Trial` that the row is about."""
    measures: dict[str, float]
    """Those that are finite."""


def rows(line: dict[str, Any], trials: Sequence[Trial]) -> Iterator[Row]:
    """Yields the rows of the trials of a line of metrics.jsonl, then the means; means are of what is finite."""
    arrays = {name: np.asarray(values, np.float64) for name, values in measures(line).items()}
    groups: dict[str, list[int]] = {}
    for row, trial in enumerate(trials):
        yield _row(trial.key, trial._asdict(), arrays, [row])
        groups.setdefault(trial.key.partition(" ")[2], []).append(row)
    for in_common, members in groups.items():
        values = trials[members[0]]._asdict() | {"seed": None}
        yield _row(f"mean {in_common}".strip(), values, arrays, members)


def _row(
    name: str, values: dict[str, Any], arrays: dict[str, np.ndarray], members: list[int]
) -> Row:
    finite = {m: array[members][np.isfinite(array[members])] for m, array in arrays.items()}
    return Row(name, values, {m: float(array.mean()) for m, array in finite.items() if array.size})


class Log(MetricWriter):
    """What the logs have in common."""

    def __init__(self, run: RunDirectory, config: Config):
        del config
        self.run = run
        self._steps: dict[str, int] = {}
        """The last step of each job that the log holds."""
        self._replay()

    def resume(self, job: Job, step: int) -> None:
        """Makes the log again where it holds epochs that metrics.jsonl has just dropped."""
        if self._steps.get(job.name, 0) > step:
            self._replay()

    def write(self, progress: Progress) -> None:
        """Adds an epoch."""
        self._add(progress.line, progress.job.trials)

    def _replay(self) -> None:
        self._steps = {}
        self.restart()
        for line, trials in self.run.metrics_with_trials():
            self._add(line, [Trial(**values) for values in trials])

    def _add(self, line: dict[str, Any], trials: Sequence[Trial]) -> None:
        self._steps[line["job"]] = line["step"]
        self.add(line, rows(line, trials))

    def restart(self) -> None:
        """Empties the log."""
        raise NotImplementedError

    def add(self, line: dict[str, Any], rows: Iterator[Row]) -> None:
        """Adds the rows of a line of metrics.jsonl."""
        raise NotImplementedError


class CsvLog(Log):
    """metrics.csv: a row per trial and mean of every line of metrics.jsonl."""

    ABOUT = ("stage", "view", "job", "epoch", "step")
    MEASURES = (
        "loss",
        *("train.loss", "train.accuracy", "validation.loss", "validation.accuracy"),
        *("validation_original.loss", "validation_original.accuracy"),
    )

    def __init__(self, run: RunDirectory, config: Config):
        self._file: IO[str] | None = None
        super().__init__(run, config)

    def restart(self) -> None:
        """Begins the file again."""
        self.close()
        self._file = (self.run.path / "metrics.csv").open("w", newline="", encoding="utf-8")
        columns = (*self.ABOUT, "row", *Trial._fields, *self.MEASURES)
        self._writer = csv.DictWriter(self._file, columns)
        self._writer.writeheader()

    def add(self, line: dict[str, Any], rows: Iterator[Row]) -> None:
        """Adds the rows; the column "row" has their names, and a mean has no seed."""
        assert self._file is not None
        about = {name: line[name] for name in self.ABOUT}
        for row in rows:
            self._writer.writerow(about | {"row": row.name} | row.values | row.measures)
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()


class TensorBoardLog(Log):
    """Event files in tensorboard/: a run of TensorBoard per stage and train view, a tag per measure and row."""

    def __init__(self, run: RunDirectory, config: Config):
        self._make_writer = _imported("tensorboardX", "tensorboard").SummaryWriter
        self._directory = run.path / "tensorboard"
        self._writers: dict[str, Any] = {}
        super().__init__(run, config)

    def restart(self) -> None:
        """Removes all event files."""
        self.close()
        self._writers = {}
        shutil.rmtree(self._directory, ignore_errors=True)

    def _writer(self, name: str) -> Any:
        if name not in self._writers:
            self._writers[name] = self._make_writer(str(self._directory / name))
        return self._writers[name]

    def add(self, line: dict[str, Any], rows: Iterator[Row]) -> None:
        """Adds scalars at the step of training."""
        writer = self._writer("/".join(filter(None, (line["stage"], line["view"]))))
        for row in rows:
            for measure, value in row.measures.items():
                writer.add_scalar(f"{measure}/{_word(row.name)}", value, line["step"])
        writer.flush()

    def write_images(self, name: str, images: np.ndarray) -> None:
        """Adds the images as one, side by side."""
        self._writer("gallery").add_image(_word(name), side_by_side(images), dataformats="HWC")

    def close(self) -> None:
        """Ends the event files."""
        for writer in self._writers.values():
            writer.close()


class WandbLog(Log):
    """A run of Weights & Biases, with its files in wandb/; one for a run directory, however often it is continued.

    A line of metrics.jsonl is a step of W&B, of which none can be logged twice: what W&B has already stays as it is.
    """

    def __init__(self, run: RunDirectory, config: Config):
        wandb = _imported("wandb", "wandb")
        identity = run.path / "wandb.json"
        if not identity.exists():
            run.write_json(identity, {"id": uuid.uuid4().hex[:8]})
        try:
            self._wandb_run = wandb.init(
                id=read_json(identity)["id"],
                resume="allow",
                name=run.path.resolve().name,
                project=os.environ.get("WANDB_PROJECT", "blurjax"),
                dir=str(run.path),
                config=flat(config),
                settings=wandb.Settings(console="off"),
            )
        except wandb.errors.Error as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"Weights & Biases does not begin a run ({reason}); log in with `wandb login`, or set "
                "WANDB_MODE=offline."
            ) from error
        self._image = wandb.Image
        super().__init__(run, config)

    def restart(self) -> None:
        """Counts lines anew."""
        self._line = 0

    def add(self, line: dict[str, Any], rows: Iterator[Row]) -> None:
        """Adds scalars, named by stage and train view; their charts are by epoch."""
        group = "_".join(filter(None, (line["stage"], line["view"])))
        if line["epoch"] == 1:
            self._wandb_run.define_metric(f"{group}/*", step_metric=f"{group}/epoch")
        if self._line >= self._wandb_run.step:
            values = {
                f"{group}/{measure}/{_word(row.name)}": value
                for row in rows
                for measure, value in row.measures.items()
            }
            values[f"{group}/epoch"] = line["epoch"]
            self._wandb_run.log(values, step=self._line, commit=True)
        self._line += 1

    def write_images(self, name: str, images: np.ndarray) -> None:
        """Puts the images into the summary, as one, side by side."""
        self._wandb_run.summary[f"gallery/{_word(name)}"] = self._image(side_by_side(images))

    def close(self) -> None:
        """Ends the run of W&B."""
        self._wandb_run.finish()


LOGS: dict[str, type[Log]] = {
    "csv": CsvLog,
    "tensorboard": TensorBoardLog,
    "wandb": WandbLog,
}
"""Name -> log, as `run_experiment` and the command line take them."""


def make_log(name: str, run: RunDirectory, config: Config) -> Log:
    """Returns a log that holds what metrics.jsonl holds.

    Raises:
      UserError: there is none of this name, its package is not installed, or it does not begin.
    """
    if name not in LOGS:
        raise UserError(f"Metrics are not logged to {name!r}; choose {', '.join(LOGS)}.")
    return LOGS[name](run, config)


def side_by_side(images: np.ndarray) -> np.ndarray:
    """Returns images u8[M,H,W,C] as one u8[H,M·W,C]."""
    return np.concatenate([*images], axis=1)


def _word(name: str) -> str:
    """Returns a name in characters that tags may have: "seed=3 bottleneck=8" -> "seed-3_bottleneck-8"."""
    return name.replace("=", "-").replace(" ", "_")


def _imported(package: str, extra: str) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise UserError(
            f"The log {extra} needs the package {package}, which is not installed; install it with "
            f"`pip install {package}`, or blurjax with its extra [{extra}]."
        ) from error
