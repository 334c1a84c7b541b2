"""The two training stages: autoencoders, and classifiers of one view. What is trained already is restored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import jax

from blurjax.config.settings import ClassifierConfig, TrainingConfig
from blurjax.config.trials import Trial, all_autoencoder_trials, classifier_trials
from blurjax.experiment.context import Context
from blurjax.experiment.fitted_views import FittedViews
from blurjax.experiment.programs import Models
from blurjax.train.evaluation import accuracy_and_loss
from blurjax.train.jobs import Job, plan_jobs
from blurjax.train.loop import Training, train
from blurjax.train.state import Hyperparameters
from blurjax.views.functions import ViewParameters

MakeTraining = Callable[[Job, Hyperparameters], Training]


def train_autoencoders(context: Context) -> Models:
    """Trains the autoencoders of all trials, those of the folds too."""
    programs, config = context.programs, context.config.autoencoder

    def training(job: Job, hyperparameters: Hyperparameters) -> Training:
        count, bottlenecks = len(job.trials), hyperparameters.bottleneck
        return _training(
            context,
            config,
            init=programs.init_autoencoder,
            order=programs.autoencoder_order,
            steps=programs.train_autoencoder,
            validate=partial(_validate_autoencoder, context, count, bottlenecks),
            view_parameters=lambda: None,
        )

    trials = all_autoencoder_trials(context.config)
    if not programs.feed.streamed:
        return _train_jobs(context, config, "autoencoder", trials, training)
    # All trials of a streamed job see the same images, so each fold has jobs of its own.
    models = {}
    for _, of_fold in groupby(trials, key=lambda trial: trial.fold):
        models |= _train_jobs(context, config, "autoencoder", [*of_fold], training)
    return models


def train_classifiers(context: Context, view: str, views: FittedViews) -> Models:
    """Trains the classifiers of all trials on one view."""
    programs, config = context.programs, context.config.classifier

    def training(job: Job, hyperparameters: Hyperparameters) -> Training:
        del hyperparameters
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

    trials = classifier_trials(context.config, view)
    return _train_jobs(context, config, f"classifier/{view}", trials, training)


def _train_jobs(
    context: Context,
    config: TrainingConfig,
    name: str,
    wanted: Sequence[Trial],
    training: MakeTraining,
) -> Models:
    """Trains what is missing of the wanted trials; returns all of them."""
    models = {}
    for job in plan_jobs(context.run, name, wanted):
        placed = context.programs.place(job.trials, config, reseeded=job.view == "reseeded")
        trained = train(job, context.run, placed, training(job, placed))
        for row, trial in enumerate(job.trials):
            models[trial] = jax.tree.map(lambda leaf, row=row: leaf[row], trained)
    return {trial: models[trial] for trial in wanted}


def _training(context: Context, config: TrainingConfig, **pieces: Any) -> Training:
    steps_per_epoch = context.programs.steps_per_epoch(config)
    return Training(
        **pieces,
        feed=context.programs.feed,
        epochs=context.programs.num_steps(config) // steps_per_epoch,
        steps_per_epoch=steps_per_epoch,
        batch_size=config.batch_size,
        select_best=isinstance(config, ClassifierConfig) and config.select == "best",
        checkpoint_seconds=context.config.compute.checkpoint_seconds,
        interrupted=context.interrupted,
        progress=context.progress,
    )


def _validate_autoencoder(
    context: Context, count: int, bottlenecks: jax.Array, variables: Any
) -> Callable[[], dict[str, Any]]:
    """Measures the loss on train (its monitored subset) and on validation."""
    program = context.programs.evaluate_autoencoder
    waits = {
        name: context.dispatch(program, variables, bottlenecks, positions, count)
        for name, positions in context.programs.monitored.items()
    }
    return lambda: {name: {"loss": wait()["loss"].mean(axis=1)} for name, wait in waits.items()}


def _validate_classifier(
    context: Context,
    count: int,
    view: str,
    parameters: Callable[[], ViewParameters],
    variables: Any,
) -> Callable[[], dict[str, Any]]:
    """Measures accuracy and loss on train and validation in the classifier's own view, and on original validation."""
    programs, monitored = context.programs, context.programs.monitored
    own = parameters()
    cells = {name: (own, positions) for name, positions in monitored.items()}
    if view != "original":
        original = own._replace(view=programs.view_index("original"))
        cells["validation_original"] = (original, monitored["validation"])
    evaluate = partial(context.dispatch, programs.evaluate_classifier, variables)
    waits = {
        name: (evaluate(view_parameters, positions, count), programs.dataset.labels[positions])
        for name, (view_parameters, positions) in cells.items()
    }
    return lambda: {
        name: accuracy_and_loss(wait(), labels) for name, (wait, labels) in waits.items()
    }
