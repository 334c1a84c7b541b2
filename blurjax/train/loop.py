"""The host's side of training: feeds the device, writes what was measured, checkpoints, stops when asked to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from blurjax.engine import fetch, place
from blurjax.runtime import Interrupted, RunDirectory, UserError, processes
from blurjax.train.checkpoints import Checkpoints
from blurjax.train.feed import AHEAD, Feed
from blurjax.train.jobs import Job
from blurjax.train.metric_writers import MetricWriter, Progress
from blurjax.train.state import Best, Hyperparameters, TrainedModel, TrainState, better_of

Validation = dict[str, dict[str, np.ndarray]]
"""Side, such as "train" -> measure, such as "loss" -> one number a trial [T]."""
_better_of = jax.jit(better_of)


@dataclass(frozen=True)
class Training:
    """Everything that a job needs besides its trials."""

    init: Callable[[Hyperparameters], TrainState]
    """Hyperparameters [T] -> states [T]."""
    order: Callable[[TrainState, int], Any]
    """(states [T], epoch) -> the order that the feed takes."""
    steps: Callable[..., tuple[TrainState, dict[str, jax.Array]]]
    """The compiled loop: (states, view parameters, data, positions, start, length) -> (states, metrics [T,K])."""
    validate: Callable[[Any], Callable[[], Validation]]
    """Variables [T] -> a function that waits for and returns what was measured after an epoch."""
    feed: Callable[[], Feed]
    """Called only where steps are left."""
    view_parameters: Callable[[], Any]
    """Likewise."""
    epochs: int
    steps_per_epoch: int
    batch_size: int
    checkpoint_seconds: float
    interrupted: Callable[[], bool]
    writer: MetricWriter
    warm_start: Callable[[TrainState], TrainState] | None = None
    """From the first states [T] to those that training begins with; None: the same."""
    select_best: bool = False
    """Whether models are those of the epoch with the best validation accuracy, instead of the last."""


def train(
    job: Job, run: RunDirectory, hyperparameters: Hyperparameters, training: Training
) -> TrainedModel:
    """Trains a job to its end, from wherever its last checkpoint left it.

    Args:
      job: the trials.
      run: where checkpoints go.
      hyperparameters: of the job's trials, arrays [T], padded.
      training: what they are trained with.

    Returns:
      The models of the job's trials, arrays [T,...], padding removed, on the host.

    Raises:
      Interrupted: after saving, where `training.interrupted` says so.
    """
    run.write_json(run.job_file(job.name), {"trials": [trial._asdict() for trial in job.trials]})
    with Checkpoints(run.job(job.name)) as checkpoints:
        loop = _Loop(job, run, training, checkpoints, hyperparameters)
        if loop.step < loop.total_steps:
            loop.run()
        variables = loop.states.variables if loop.best is None else loop.best.variables
        trained = fetch(TrainedModel(variables, loop.states.failed_step))
    return jax.tree.map(lambda x: x[: len(job.trials)], trained)


def read_trained(
    job: Job, run: RunDirectory, states: TrainState, *, select_best: bool, total_steps: int
) -> TrainedModel:
    """Reads the models of a job that is trained, and leaves the directory as it is.

    Args:
      job: its trials.
      run: the run directory.
      states: of its trials, as `jax.eval_shape` returns them, arrays [T,...].
      select_best: as of `Training`.
      total_steps: of a trained job.

    Returns:
      The models, arrays [T,...] on the host.

    Raises:
      UserError: there is no whole checkpoint of its last step, or it is of another model.
    """
    like = _checkpoint_form(states, len(job.trials), select_best=select_best)
    with Checkpoints(run.job(job.name), read_only=True) as checkpoints:
        restored = checkpoints.restore(like)
    if restored is None or restored["states"].step[0] != total_steps:
        raise UserError(
            f"{run.job(job.name)} holds no models that are trained to their end; continue the run with the command "
            "that began it."
        )
    states = restored["states"]
    variables = restored["best"].variables if select_best else states.variables
    return TrainedModel(variables, states.failed_step)


def _checkpoint_form(states: TrainState, count: int, *, select_best: bool) -> dict[str, Any]:
    """Returns what a checkpoint of `count` trials holds, as zeros, for states [T,...] of any number of trials."""
    like = jax.tree.map(lambda x: np.zeros((count, *x.shape[1:]), x.dtype), states)
    best = {"best": Best(like.variables, np.zeros(count, np.float32))} if select_best else {}
    return {"states": like, "loss_sum": np.zeros(count, np.float32)} | best


class _Loop:
    """The steps of one job, from the last checkpoint on."""

    def __init__(
        self,
        job: Job,
        run: RunDirectory,
        training: Training,
        checkpoints: Checkpoints,
        hyperparameters: Hyperparameters,
    ):
        self.job, self.run_directory, self.training = job, run, training
        self.checkpoints, self.hyperparameters = checkpoints, hyperparameters
        self.total_steps = training.epochs * training.steps_per_epoch
        self.loss_sum = np.zeros(len(job.trials), np.float32)
        """Of the epoch's steps so far; part of a checkpoint, so that a resumed epoch reports the same mean."""
        self.step, self.asked_to_stop = 0, False
        self.best: Best | None = None
        """Where the settings select the best epoch."""
        self.states = self._restore() or self._start()
        self.first_step, self.begun, self.saved = self.step, time.monotonic(), time.monotonic()
        self.compiled = False
        """Whether rates are measured from the end of an epoch on, and not from the start, with compilations."""
        training.writer.resume(job, self.step)

    def _restore(self) -> TrainState | None:
        """Returns the states of the last checkpoint, padded as the trials are, or None where there is none."""
        states = jax.eval_shape(self.training.init, self.hyperparameters)
        select_best = self.training.select_best
        like = _checkpoint_form(states, len(self.job.trials), select_best=select_best)
        restored = self.checkpoints.restore(like)
        if restored is None:
            return None
        if select_best:
            self.best = jax.tree.map(self._place, restored["best"])
        self.loss_sum = restored["loss_sum"]
        self.step = int(restored["states"].step[0])
        return jax.tree.map(self._place, restored["states"])

    def _start(self) -> TrainState:
        """Returns the states before the first step."""
        states = self.training.init(self.hyperparameters)
        if self.training.warm_start is not None:
            states = self.training.warm_start(states)
        if self.training.select_best:
            # A copy, because the states are donated.
            variables = jax.tree.map(jnp.copy, states.variables)
            self.best = Best(variables, self._place(np.full(len(self.job.trials), -1, np.float32)))
        return states

    def _place(self, rows: np.ndarray) -> jax.Array:
        """Places rows of the job's trials on the devices, padded as its hyperparameters are."""
        seeds = self.hyperparameters.seed
        padding = [(0, len(seeds) - len(rows))] + [(0, 0)] * (rows.ndim - 1)
        return place(np.pad(rows, padding, mode="edge"), seeds.sharding)

    def run(self) -> None:
        """Takes the steps that are left. An epoch's results are written while the next one's first chunk runs."""
        training, finish_epoch = self.training, None
        feed, view_parameters = training.feed(), training.view_parameters()
        while self.step < self.total_steps:
            epoch, done = divmod(self.step, training.steps_per_epoch)
            losses: list[tuple[jax.Array, int]] = []
            for chunk in feed.chunks(training.order(self.states, epoch), done):
                arguments = chunk.data, chunk.positions, chunk.start, chunk.length
                self.states, metrics = training.steps(self.states, view_parameters, *arguments)
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
            validation = training.validate(self.states.variables)
            if self.best is not None:
                measured = validation()
                accuracy = self._place(measured["validation"]["accuracy"].astype(np.float32))
                self.best = _better_of(self.best, self.states.variables, accuracy)
                validation = partial(dict, measured)
            failed_step = jnp.copy(self.states.failed_step)  # the states are donated next
            finish_epoch = partial(self._finish_epoch, epoch + 1, losses, validation, failed_step)
            if self._must_save():
                finish_epoch()
                finish_epoch = None
                self._save()

    def _must_save(self) -> bool:
        due = time.monotonic() - self.saved >= self.training.checkpoint_seconds
        due, self.asked_to_stop = processes.any_process(due, self.training.interrupted())
        return due or self.asked_to_stop or self.step == self.total_steps

    def _save(self) -> None:
        self.run_directory.check_owner()
        loss_sum = self._place(self.loss_sum)
        best = {} if self.best is None else {"best": self.best}
        self.checkpoints.save(self.step, {"states": self.states, "loss_sum": loss_sum} | best)
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
        """Hands on what was measured in an epoch."""
        self._add_losses(losses)
        training, count = self.training, len(self.job.trials)
        line = {
            "stage": self.job.stage,
            "view": self.job.view,
            "job": self.job.name,
            "epoch": epoch,
            "step": epoch * training.steps_per_epoch,
            "loss": self.loss_sum / training.steps_per_epoch,
            **validation(),
        }
        self.loss_sum = np.zeros_like(self.loss_sum)
        seconds = time.monotonic() - self.begun
        done = line["step"] - self.first_step
        if not self.compiled:  # of which the first epoch says too little
            self.compiled, self.first_step, self.begun = True, line["step"], time.monotonic()
        training.writer.write(
            Progress(
                job=self.job,
                epoch=epoch,
                epochs=training.epochs,
                images_per_second=done * training.batch_size * count / seconds,
                seconds_left=(self.total_steps - line["step"]) * seconds / done,
                failed=int((fetch(failed_step)[:count] >= 0).sum()),
                line=line,
            )
        )
