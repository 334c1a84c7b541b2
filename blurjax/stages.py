"""The two training stages: autoencoders, and classifiers of one view. What is trained already is restored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from blurjax.config import Config, TrainingConfig
from blurjax.evaluate import Evaluation, accuracy_and_loss, dispatch
from blurjax.feed import Examples
from blurjax.programs import Programs
from blurjax.run_directory import RunDirectory
from blurjax.train import Job, Progress, Training, plan_jobs, train
from blurjax.trials import autoencoder_of, autoencoder_trials, classifier_trials
from blurjax.types import Params, Trial
from blurjax.views import NEEDS_CODE, ViewParameters, view_index


@dataclass(frozen=True)
class Context:
    """What every stage works with."""

    config: Config
    """Fitted to the data."""
    run: RunDirectory
    """Made and locked."""
    programs: Programs
    examples: Examples
    progress: Callable[[Progress], None]
    """Called after every epoch."""
    interrupted: Callable[[], bool]
    """Asked after every chunk of steps and every evaluation."""

    def dispatch(
        self,
        program: Callable[..., Any],
        params: Params,
        view_parameters: Any,
        positions: np.ndarray,
        count: int,
    ) -> Callable[[], Evaluation]:
        """Starts an evaluation of `count` trials (the rest is padding) on the examples at positions."""
        batch_size = self.config.classifier.batch_size
        wait = dispatch(program, params, view_parameters, self.programs.feed, positions, batch_size)
        return lambda: {name: values[:count] for name, values in wait().items()}


@dataclass(frozen=True)
class Model:
    """One trial's model after its last step, on the host."""

    params: Params
    failed_step: int
    """-1, or the step at which the trial was frozen."""


Models = dict[Trial, Model]


def train_autoencoders(context: Context) -> Models:
    """The autoencoders of all trials."""
    programs, config = context.programs, context.config.autoencoder

    def training(job: Job, trials: Trial) -> Training:
        return _training(
            context,
            config,
            init=programs.init_autoencoder,
            order=programs.autoencoder_order,
            steps=programs.train_autoencoder,
            validate=partial(_validate_autoencoder, context, len(job.trials), trials.bottleneck),
            view_parameters=None,
        )

    return _train_jobs(context, "autoencoder", autoencoder_trials(context.config), training)


def train_classifiers(context: Context, view: str, autoencoders: Models) -> Models:
    """The classifiers of all trials, trained on one view."""
    programs, config = context.programs, context.config.classifier

    def training(job: Job, trials: Trial) -> Training:
        painters = [
            autoencoders[autoencoder_of(trial, context.config)].params for trial in job.trials
        ]
        parameters = programs.view_parameters(view, trials, programs.place_rows(painters))
        return _training(
            context,
            config,
            init=programs.init_classifier,
            order=programs.classifier_order,
            steps=programs.train_classifier,
            validate=partial(_validate_classifier, context, len(job.trials), view, parameters),
            view_parameters=parameters,
        )

    wanted = classifier_trials(context.config, needs_code=view in NEEDS_CODE)
    return _train_jobs(context, f"classifier/{view}", wanted, training)


def _train_jobs(
    context: Context, name: str, wanted: list[Trial], training: Callable[[Job, Trial], Training]
) -> Models:
    """Trains what is missing of the wanted trials; returns all of them."""
    models = {}
    for job in plan_jobs(context.run, name, wanted):
        trials = context.programs.place(job.trials)
        states = train(job, context.run, trials, training(job, trials))
        for row, trial in enumerate(job.trials):
            params = jax.tree.map(lambda leaf, row=row: leaf[row], states.params)
            models[trial] = Model(params, int(states.failed_step[row]))
    return {trial: models[trial] for trial in wanted}


def _training(context: Context, config: TrainingConfig, **pieces: Any) -> Training:
    steps_per_epoch = context.programs.steps_per_epoch(config)
    return Training(
        **pieces,
        feed=context.programs.feed,
        epochs=context.programs.num_steps(config) // steps_per_epoch,
        steps_per_epoch=steps_per_epoch,
        batch_size=config.batch_size,
        checkpoint_seconds=context.config.compute.checkpoint_seconds,
        interrupted=context.interrupted,
        progress=context.progress,
    )


def _validate_autoencoder(
    context: Context, count: int, bottlenecks: jax.Array, params: Params
) -> Callable[[], dict[str, Any]]:
    """The loss on train (its fixed subset) and on validation."""
    program = context.programs.evaluate_autoencoder
    waits = {
        name: context.dispatch(program, params, bottlenecks, positions, count)
        for name, positions in context.examples.measured.items()
    }
    return lambda: {name: {"loss": wait()["loss"].mean(axis=1)} for name, wait in waits.items()}


def _validate_classifier(
    context: Context, count: int, view: str, parameters: ViewParameters, params: Params
) -> Callable[[], dict[str, Any]]:
    """Accuracy and loss on train and validation in the classifier's own view, and on validation as it is."""
    examples, program = context.examples, context.programs.evaluate_classifier
    cells = {name: (parameters, positions) for name, positions in examples.measured.items()}
    if view != "original":
        as_it_is = parameters._replace(view=np.int32(view_index("original")))
        cells["validation_original"] = (as_it_is, examples.measured["validation"])
    waits = {
        name: (
            context.dispatch(program, params, view_parameters, positions, count),
            examples.labels[positions],
        )
        for name, (view_parameters, positions) in cells.items()
    }
    return lambda: {
        name: accuracy_and_loss(wait(), labels) for name, (wait, labels) in waits.items()
    }
