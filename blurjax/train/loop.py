"""The host's side of training: feed the device, write what it measured, checkpoint, stop when asked to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from blurjax.engine.mesh import fetch, place
from blurjax.engine.types import Trial
from blurjax.runtime import processes
from blurjax.runtime.run_directory import RunDirectory, read_json
from blurjax.train.checkpoints import Checkpoints
from blurjax.train.feed import AHEAD, Feed
from blurjax.train.state import TrainState

Validation = dict[str, dict[str, np.ndarray]]


class Interrupted(Exception):
    """The run was asked to stop, and its position is saved."""


class AllTrialsFailed(Exception):
    """No trial of a job has a finite loss any more."""


@dataclass(frozen=True)
class Job:
    """Trials of one stage that are trained together and checkpointed together."""

    name: str
    """Such as "classifier/reconstruction/job-0"; its directory under checkpoints/."""
    trials: tuple[Trial, ...]

    @property
    def stage(self) -> str:
        """The first part of the name."""
        return self.name.split("/")[0]

    @property
    def view(self) -> str | None:
        """The view that classifiers are trained on."""
        parts = self.name.split("/")
        return parts[1] if len(parts) == 3 else None


@dataclass(frozen=True)
class Progress:
    """What a line of progress is made of."""

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


@dataclass(frozen=True)
class Training:
    """Everything that a job needs besides its trials."""

    init: Callable[[Trial], TrainState]
    """Trials [T] -> states [T]."""
    order: Callable[[TrainState, int], Any]
    """(states [T], epoch) -> the order that the feed takes."""
    steps: Callable[..., tuple[TrainState, dict[str, jax.Array]]]
    """The compiled loop: (states, view parameters, data, positions, start, length) -> (states, metrics [T,K])."""
    validate: Callable[[Any], Callable[[], Validation]]
    """Params [T] -> a function that waits for and returns what was measured after an epoch."""
    feed: Feed
    view_parameters: Callable[[], Any]
    """Asked for only where steps are left."""
    epochs: int
    steps_per_epoch: int
    batch_size: int
    checkpoint_seconds: float
    interrupted: Callable[[], bool]
    progress: Callable[[Progress], None]


def find_jobs(run: RunDirectory, name: str) -> list[Job]:
    """The jobs of a stage (and view) that the run directory holds, in the order in which they were begun."""
    paths = run.job(name).glob("job-*/job.json")
    found = []
    for path in sorted(paths, key=lambda path: int(path.parent.name.removeprefix("job-"))):
        trials = tuple(Trial(**trial) for trial in read_json(path)["trials"])
        found.append(Job(f"{name}/{path.parent.name}", trials))
    return found


def plan_jobs(run: RunDirectory, name: str, wanted: list[Trial]) -> list[Job]:
    """The jobs that cover the trials wanted: those that the directory holds, and one of whatever is missing."""
    jobs = [job for job in find_jobs(run, name) if set(job.trials) & set(wanted)]
    known = {trial for job in jobs for trial in job.trials}
    missing = tuple(trial for trial in wanted if trial not in known)
    if missing:
        number = len(find_jobs(run, name))
        jobs.append(Job(f"{name}/job-{number}", missing))
    return jobs


def train(job: Job, run: RunDirectory, trials: Trial, training: Training) -> TrainState:
    """Trains a job to its end, from wherever its last checkpoint left it.

    Args:
      job: the trials.
      run: where checkpoints and metrics go.
      trials: the job's trials as arrays [T], padded.
      training: what they are trained with.

    Returns:
      The final states of the job's trials, padding removed, on the host.

    Raises:
      Interrupted: after saving, where `training.interrupted` says so.
      AllTrialsFailed: none is left.
    """
    run.write_json(run.job_file(job.name), {"trials": [trial._asdict() for trial in job.trials]})
    with Checkpoints(run.job(job.name)) as checkpoints:
        loop = _Loop(job, run, training, checkpoints, trials)
        if loop.step < loop.total_steps:
            loop.run()
        states = loop.host_states()
    if (states.failed_step >= 0).all():
        raise AllTrialsFailed(
            f"Every trial of {job.name} had a loss, gradient or parameter that was not finite, the first at step "
            f"{states.failed_step.min()}; lower {job.stage}.learning_rate."
        )
    return states


class _Loop:
    """One job's way through its steps."""

    def __init__(
        self,
        job: Job,
        run: RunDirectory,
        training: Training,
        checkpoints: Checkpoints,
        trials: Trial,
    ):
        self.job, self.run_directory, self.training, self.checkpoints = (
            job,
            run,
            training,
            checkpoints,
        )
        self.trials = trials
        self.total_steps = training.epochs * training.steps_per_epoch
        self.loss_sum = np.zeros(len(job.trials), np.float32)
        """Of the epoch's steps so far; part of a checkpoint, so that a resumed epoch reports the same mean."""
        self.step, self.asked_to_stop = 0, False
        self.states = self._restore() or training.init(trials)
        self.first_step, self.begun, self.saved = self.step, time.monotonic(), time.monotonic()
        self.run_directory.keep_metrics(
            lambda line: line["job"] != job.name or line["step"] <= self.step
        )

    def _restore(self) -> TrainState | None:
        """The states of the last checkpoint, padded as the trials are, or None where there is none."""
        count = len(self.job.trials)
        abstract = jax.eval_shape(self.training.init, self.trials)
        like = jax.tree.map(lambda x: np.zeros((count, *x.shape[1:]), x.dtype), abstract)
        restored = self.checkpoints.restore({"states": like, "loss_sum": self.loss_sum})
        if restored is None:
            return None
        self.loss_sum = restored["loss_sum"]
        self.step = int(restored["states"].step[0])
        return jax.tree.map(self._place, restored["states"])

    def _place(self, rows: np.ndarray) -> jax.Array:
        """Rows of the job's trials, padded and on the devices as its trials are."""
        padding = [(0, len(self.trials.seed) - len(rows))] + [(0, 0)] * (rows.ndim - 1)
        return place(np.pad(rows, padding, mode="edge"), self.trials.seed.sharding)

    def host_states(self) -> TrainState:
        """The states without padding, as NumPy arrays."""
        count = len(self.job.trials)
        return jax.tree.map(lambda x: x[:count], fetch(self.states))

    def run(self) -> None:
        """Steps until the end. What an epoch measured is fetched and written while the next one's first chunk runs."""
        training, finish_epoch = self.training, None
        view_parameters = training.view_parameters()
        while self.step < self.total_steps:
            epoch, done = divmod(self.step, training.steps_per_epoch)
            losses: list[tuple[jax.Array, int]] = []
            for chunk in training.feed.chunks(training.order(self.states, epoch), done):
                self.states, metrics = training.steps(
                    self.states,
                    view_parameters,
                    chunk.data,
                    chunk.positions,
                    chunk.start,
                    chunk.length,
                )
                self.step += chunk.length
                losses.append((metrics["loss"], chunk.length))
                if len(losses) > AHEAD:
                    jax.block_until_ready(losses[-1 - AHEAD][0])
                if finish_epoch is not None:
                    finish_epoch()
                    finish_epoch = None
                if self.step % training.steps_per_epoch and self._must_save():
                    self._add_losses(losses)
                    self._save()
            validation = training.validate(self.states.params)
            failed_step = jnp.copy(
                self.states.failed_step
            )  # the states are donated to the next chunk
            finish_epoch = partial(self._finish_epoch, epoch + 1, losses, validation, failed_step)
            if self._must_save():
                finish_epoch()
                finish_epoch = None
                self._save()

    def _must_save(self) -> bool:
        due = time.monotonic() - self.saved >= self.training.checkpoint_seconds
        due, self.asked_to_stop = processes.any_of(due, self.training.interrupted())
        return due or self.asked_to_stop or self.step == self.total_steps

    def _save(self) -> None:
        self.run_directory.check_owner()
        loss_sum = self._place(self.loss_sum)
        self.checkpoints.save(self.step, {"states": self.states, "loss_sum": loss_sum})
        self.saved = time.monotonic()
        if self.asked_to_stop and self.step < self.total_steps:
            raise Interrupted

    def _add_losses(self, losses: list[tuple[jax.Array, int]]) -> None:
        """Adds chunks' losses to the epoch's, and empties the list."""
        for values, length in losses:
            of_steps = fetch(values)[: len(self.loss_sum), :length]
            self.loss_sum = self.loss_sum + of_steps.sum(axis=1)
        losses.clear()

    def _finish_epoch(
        self,
        epoch: int,
        losses: list[tuple[jax.Array, int]],
        validation: Callable[[], Validation],
        failed_step: jax.Array,
    ) -> None:
        self._add_losses(losses)
        mean_loss, self.loss_sum = (
            self.loss_sum / self.training.steps_per_epoch,
            np.zeros_like(self.loss_sum),
        )
        line = {
            "stage": self.job.stage,
            "view": self.job.view,
            "job": self.job.name,
            "epoch": epoch,
            "step": epoch * self.training.steps_per_epoch,
            "loss": mean_loss,
            **validation(),
        }
        self.run_directory.append_metrics(line)
        seconds = time.monotonic() - self.begun
        done = line["step"] - self.first_step
        self.training.progress(
            Progress(
                job=self.job,
                epoch=epoch,
                epochs=self.training.epochs,
                images_per_second=done * self.training.batch_size * len(self.job.trials) / seconds,
                seconds_left=(self.total_steps - line["step"]) * seconds / done,
                failed=int((fetch(failed_step)[: len(self.job.trials)] >= 0).sum()),
                line=line,
            )
        )
