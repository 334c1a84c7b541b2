"""The two training stages: autoencoders, and classifiers of one view. What is trained already is restored."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import Any

import jax

from blurjax.config.sections import TrainingConfig
from blurjax.engine.types import Params, Trial
from blurjax.experiment.context import Context, Model, Models
from blurjax.experiment.fitted_views import FittedViews
from blurjax.experiment.trials import all_autoencoder_trials, classifier_trials
from blurjax.train.evaluation import accuracy_and_loss
from blurjax.train.loop import Job, Training, plan_jobs, train
from blurjax.views.functions import ViewParameters


def train_autoencoders(context: Context) -> Models:
    """The autoencoders of all trials, those of the folds too."""
    programs, config = context.programs, context.config.autoencoder

    def training(job: Job, trials: Trial) -> Training:
        return _training(
            context,
            config,
            init=programs.init_autoencoder,
            order=programs.autoencoder_order,
            steps=programs.train_autoencoder,
            validate=partial(_validate_autoencoder, context, len(job.trials), trials.bottleneck),
            view_parameters=lambda: None,
        )

    trials = all_autoencoder_trials(context.config)
    if not programs.feed.streamed:
        return _train_jobs(context, "autoencoder", trials, training)
    # What is streamed is the same for all trials of a job, so each fold has jobs of its own.
    models = {}
    for _, of_fold in groupby(trials, key=lambda trial: trial.fold):
        models |= _train_jobs(context, "autoencoder", list(of_fold), training)
    return models


def train_classifiers(context: Context, view: str, views: FittedViews) -> Models:
    """The classifiers of all trials, trained on one view."""
    programs, config = context.programs, context.config.classifier

    def training(job: Job, trials: Trial) -> Training:
        del trials
        parameters = partial(views.parameters, view, job.trials)
        return _training(
            context,
            config,
            init=programs.init_classifier,
            order=programs.classifier_order,
            steps=programs.train_classifier,
            validate=partial(_validate_classifier, context, len(job.trials), view, parameters),
            view_parameters=parameters,
        )

    return _train_jobs(
        context, f"classifier/{view}", classifier_trials(context.config, view), training
    )


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
    steps_per_epoch = context.programs.functions.steps_per_epoch(config)
    return Training(
        **pieces,
        feed=context.programs.feed,
        epochs=context.programs.functions.num_steps(config) // steps_per_epoch,
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
        for name, positions in context.programs.monitored.items()
    }
    return lambda: {name: {"loss": wait()["loss"].mean(axis=1)} for name, wait in waits.items()}


def _validate_classifier(
    context: Context,
    count: int,
    view: str,
    parameters: Callable[[], ViewParameters],
    params: Params,
) -> Callable[[], dict[str, Any]]:
    """Accuracy and loss on train and validation in the classifier's own view, and on validation as it is."""
    program, dataset = context.programs.evaluate_classifier, context.programs.dataset
    monitored = context.programs.monitored
    own = parameters()
    cells = {name: (own, positions) for name, positions in monitored.items()}
    if view != "original":
        as_it_is = own._replace(view=context.programs.view_index("original"))
        cells["validation_original"] = (as_it_is, monitored["validation"])
    waits = {
        name: (
            context.dispatch(program, params, view_parameters, positions, count),
            dataset.labels[positions],
        )
        for name, (view_parameters, positions) in cells.items()
    }
    return lambda: {
        name: accuracy_and_loss(wait(), labels) for name, (wait, labels) in waits.items()
    }
