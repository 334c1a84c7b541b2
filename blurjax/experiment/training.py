"""The two training stages: autoencoders, and classifiers of one view. What is trained already is restored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import jax

from blurjax.config.settings import ClassifierConfig, TrainingConfig, fitted
from blurjax.config.trials import (
    LONGER,
    Trial,
    autoencoder_trials,
    checked,
    checked_views,
    classifier_trials,
)
from blurjax.config.view_table import VIEWS
from blurjax.experiment import labels
from blurjax.experiment.context import Context
from blurjax.experiment.fitted_views import FittedViews
from blurjax.experiment.programs import Models
from blurjax.experiment.rendering import training_feed
from blurjax.runtime import AllTrialsFailed
from blurjax.train.evaluation import accuracy_and_loss
from blurjax.train.jobs import Job, plan_jobs
from blurjax.train.loop import Training, train
from blurjax.train.state import Hyperparameters, TrainState
from blurjax.views.functions import ViewParameters

MakeTraining = Callable[[Job, Hyperparameters], Training]


def train_autoencoders(
    context: Context, trials: Sequence[Trial], stage: str = "autoencoder"
) -> Models:
    """Trains autoencoders, those of the same fold together."""
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
            feed=lambda: programs.feed,
            view_parameters=lambda: None,
        )

    if not programs.streamed:
        return _train_jobs(context, config, stage, trials, training)
    # All trials of a streamed job see the same images, so each fold has jobs of its own.
    models = {}
    for _, of_fold in groupby(trials, key=lambda trial: trial.fold):
        models |= _train_jobs(context, config, stage, [*of_fold], training)
    return models


def train_classifiers(
    context: Context,
    view: str,
    views: FittedViews,
    trials: Sequence[Trial],
    stage: str = "classifier",
) -> Models:
    """Trains classifiers on one view."""
    programs, config = context.programs.for_view(view), context.config.classifier

    def training(job: Job, hyperparameters: Hyperparameters) -> Training:
        del hyperparameters
        parameters = partial(views.parameters, view, job.trials)

        def warm_start(states: TrainState) -> TrainState:
            return programs.warm_start(states, parameters().autoencoders.variables)

        return _training(
            context,
            config,
            init=programs.init_classifier,
            order=labels.classifier_order(programs, job.trials),
            steps=programs.train_classifier,
            validate=partial(
                _validate_classifier,
                context,
                len(job.trials),
                view,
                parameters,
                labels.monitored(programs, job.trials),
            ),
            feed=lambda: training_feed(programs, parameters(), context.interrupted),
            view_parameters=parameters,
            warm_start=warm_start if VIEWS[view].starts_warm else None,
        )

    return _train_jobs(context, config, f"{stage}/{view}", trials, training)


def train_longer(context: Context, views: FittedViews) -> None:
    """Trains the first trials again for twice the epochs, where `check` asks for it, for the sake of their curves."""
    config = context.config
    if config.autoencoder.check:
        longer = context.with_twice_the_epochs("autoencoder")
        trials = checked(config, autoencoder_trials(config))
        train_autoencoders(longer, trials, f"{LONGER}autoencoder")
    longer = context.with_twice_the_epochs("classifier")
    for view in checked_views(config):
        trials = checked(config, classifier_trials(config, view))
        train_classifiers(longer, view, views, trials, f"{LONGER}classifier")


def _train_jobs(
    context: Context,
    config: TrainingConfig,
    name: str,
    wanted: Sequence[Trial],
    training: MakeTraining,
) -> Models:
    """Trains what is missing of the wanted trials; returns all of them.

    Raises:
      AllTrialsFailed: none of them is left, but for those that are trained longer, whose curves alone are wanted.
    """
    models = {}
    for job in plan_jobs(context.run, name, wanted):
        placed = context.programs.place(job.trials, config, reseeded=job.view == "reseeded")
        trained = train(job, context.run, placed, training(job, placed))
        for row, trial in enumerate(job.trials):
            models[trial] = jax.tree.map(lambda leaf, row=row: leaf[row], trained)
    failed = [int(models[trial].failed_step) for trial in wanted]
    if min(failed) >= 0 and not name.startswith(LONGER):
        section = name.split("/")[0]
        raise AllTrialsFailed(
            f"Every trial of {name} had a loss, gradient or parameter that was not finite, the first at step "
            f"{min(failed)}; lower {section}.learning_rate."
        )
    return {trial: models[trial] for trial in wanted}


def _training(context: Context, config: TrainingConfig, **pieces: Any) -> Training:
    steps_per_epoch = context.programs.networks.steps_per_epoch(config)
    return Training(
        **pieces,
        epochs=context.programs.networks.num_steps(config) // steps_per_epoch,
        steps_per_epoch=steps_per_epoch,
        batch_size=fitted(config.batch_size),
        select_best=isinstance(config, ClassifierConfig) and config.select == "best",
        checkpoint_seconds=context.config.compute.checkpoint_seconds,
        interrupted=context.interrupted,
        writer=context.writer,
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
    monitored: Mapping[str, labels.Monitored],
    variables: Any,
) -> Callable[[], dict[str, Any]]:
    """Measures accuracy and loss on train and validation in the classifier's own view, and on original validation."""
    own = parameters()
    cells = {name: (own, images) for name, images in monitored.items()}
    if view != "original":
        original = own._replace(view=context.programs.view_index("original"))
        cells["validation_original"] = (original, monitored["validation"])
    waits = {
        name: (context.dispatch(on.evaluate, variables, view_parameters, on.positions, count), on)
        for name, (view_parameters, on) in cells.items()
    }
    return lambda: {
        name: accuracy_and_loss(wait(), on.labels, on.mask) for name, (wait, on) in waits.items()
    }
