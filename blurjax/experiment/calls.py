"""The programs of an experiment with the shapes that it calls them with: compiled without data, they say what fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any, NamedTuple

import jax

from blurjax.config.settings import Config, TrainingConfig, fitted
from blurjax.config.trials import (
    Trial,
    all_autoencoder_trials,
    autoencoder_trials,
    checked,
    checked_views,
    classifier_trials,
    measured_views,
    quality_trials,
)
from blurjax.config.view_table import VIEWS
from blurjax.data import Dataset
from blurjax.engine import TRIAL_AXIS, Target, this_machine
from blurjax.engine.cost import matrix_flops, needed_temporaries
from blurjax.engine.mesh import Layout
from blurjax.experiment.arguments import Arguments
from blurjax.experiment.layout import Memory, make_layout
from blurjax.experiment.networks import Networks, TrainingData, hyperparameters_of
from blurjax.experiment.programs import AUTOENCODER_ORDER, CLASSIFIER_ORDER, Programs
from blurjax.train.state import TrainState

TRAINING, EVALUATION, OTHER = "training", "evaluation", "other"
"""Kinds of programs."""


class Call(NamedTuple):
    """A program, and what it is called with where it has the most trials."""

    name: str
    kind: str
    function: Any
    """From `jax.jit`."""
    arguments: tuple[Any, ...]
    """Shapes with shardings."""
    trials: int
    """With padding."""
    steps: float
    """Of it in an experiment, each of so many trials."""
    dtype: str
    """Of activations."""
    beside: int = 0
    """Bytes that lie on each device while it runs and are not among its arguments."""
    models: int = 0
    """Trials without padding; of training alone."""

    def lower(self) -> Any:
        """Returns the program that a run calls, still to be compiled; the others take it from jax's cache.

        Its numbers of steps are Python's: another kind of argument would be another program.
        """
        is_loop = self.kind in (TRAINING, EVALUATION)
        arguments = (*self.arguments[:-2], 0, 1) if is_loop else self.arguments
        return self.function.lower(*arguments)


def make_programs(
    config: Config,
    dataset: Dataset,
    target: Target | None = None,
    *,
    memory_of: Callable[[Call, Layout], Memory] | None = None,
) -> Programs:
    """Returns the programs of an experiment, laid out on the devices.

    Where settings leave to the devices how many trials run side by side, those of training are compiled for it.

    Args:
      config: fitted to the data.
      dataset: decoded images.
      target: the devices; None: those of this machine.
      memory_of: compiles a program; None: for jax's cache, in which the run finds it.

    Raises:
      UserError: the settings ask for more devices than there are, or batches do not divide evenly.
    """
    target = target or this_machine()
    measure = memory_of or (lambda call, layout: _memory_of(call, target))

    def training(layout: Layout) -> list[Call]:
        made = calls(Programs(config, dataset, target, layout))
        return [call for call in made if call.kind == TRAINING]

    def memory(layout: Layout) -> Memory:
        with ThreadPoolExecutor() as pool:
            return max(pool.map(lambda call: measure(call, layout), training(layout)))

    def flops(layout: Layout) -> float:
        share = layout.mesh.shape[TRIAL_AXIS]
        return max(
            matrix_flops(call.function.trace(*call.arguments).jaxpr.jaxpr) * share / call.trials
            for call in training(layout)
        )

    data_devices = Networks(config, TrainingData.of(dataset), target.platform).data_devices
    return Programs(
        config, dataset, target, make_layout(config, target, data_devices, memory, flops)
    )


def _memory_of(call: Call, target: Target) -> Memory:
    try:
        compiled = call.lower().compile(compiler_options=target.compiler_options)
    except jax.errors.JaxRuntimeError as error:
        return Memory(math.inf, needed_temporaries(error))
    return Memory.of(compiled, call.beside)


def calls(programs: Programs, left: Mapping[str, Sequence[Trial]] | None = None) -> list[Call]:
    """Returns every program that an experiment trains, evaluates, orders or initialises with.

    A program that is called with several numbers of trials is there once, with the most. `left` are the trials of each
    stage, such as "classifier/original", that are still to be trained; None: all.
    """
    made = _Calls(programs, left or {})
    found = [*made.of_autoencoders(), *made.of_views()]
    for of_network in programs.of_networks:
        found += _Calls(of_network, left or {}).of_classifiers()
    return found


class _Calls(Arguments):
    def __init__(self, programs: Programs, left: Mapping[str, Sequence[Trial]]):
        super().__init__(programs)
        self.left = left

    def of_autoencoders(self) -> list[Call]:
        programs, training = self.programs, self.config.autoencoder
        of_split = autoencoder_trials(self.config)
        (left,) = self.to_train({"autoencoder": all_autoencoder_trials(self.config)})
        # Where images are streamed, each fold has a job of its own.
        by_fold = [[*of_fold] for _, of_fold in groupby(left, key=lambda trial: trial.fold)]
        trials = max(by_fold, key=len) if programs.streamed else left
        jobs = len(left) / len(trials)
        longer = len(checked(self.config, of_split)) if training.check else 0
        epochs = fitted(training.epochs) * (jobs + 2 * longer / len(trials))
        rows = self.rows(hyperparameters_of(trials[0], training), len(trials))
        states = self.on_trials(jax.eval_shape(programs.init_autoencoder, rows))
        order = programs.order_program(training, AUTOENCODER_ORDER), self.order_arguments(rows)
        init = programs.init_autoencoder, (rows,)
        found = self.stage("autoencoders", training, trials, states, init, order, (None,), epochs)
        per_epoch = sum(map(self.batches, programs.monitored.values()))
        evaluated = states.variables, rows.bottleneck
        evaluate = programs.evaluate_autoencoder, (*evaluated, *self.evaluation_batches())
        of_stage = self.padded(len(trials)), per_epoch * epochs, training.dtype
        rest = self.bytes_of(states) - self.bytes_of(states.variables)
        found.append(Call("evaluate autoencoders", EVALUATION, *evaluate, *of_stage, beside=rest))
        group = self.padded(1)
        few = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                (group, *leaf.shape[1:]), leaf.dtype, sharding=leaf.sharding
            ),
            evaluated,
        )
        images = sum(self.batches(programs.dataset.splits[split]) for split in ("train", "test"))
        steps = images * math.ceil(len(of_split) / group)
        encode = programs.encode, (*few, *self.evaluation_batches())
        return [*found, Call("encode", EVALUATION, *encode, group, steps, training.dtype)]

    def of_views(self) -> list[Call]:
        programs, config = self.programs, self.config

        def call(
            name: str, function: Any, of_views: Sequence[Sequence[Trial]], steps: int, size: int = 0
        ) -> Call:
            trials = max(of_views, key=len)
            arguments = None, self.view_parameters(trials), *self.evaluation_batches(size)
            of_stage = self.padded(len(trials)), steps * len(of_views), config.autoencoder.dtype
            return Call(name, EVALUATION, function, arguments, *of_stage)

        splits = *programs.monitored.values(), programs.dataset.splits["test"]
        measured = [quality_trials(config, view) for view in measured_views(config)]
        steps = sum(map(self.batches, splits))
        found = [call("measure views", programs.measure_view, measured, steps)]
        if programs.rendering:
            again = checked_views(config) if config.classifier.check else ()
            rendered = self.classifiers_to_train(config.train_views)
            rendered += [checked(config, classifier_trials(config, view)) for view in again]
            batches = programs.rendering.positions.shape
            render = call("render views", programs.render_view, rendered, *batches)
            found.append(render._replace(beside=programs.rendering.bytes))
        return found

    def of_classifiers(self) -> list[Call]:
        programs, config, training = self.programs, self.config, self.config.classifier
        models, of_network = programs.networks.classifiers, programs.train_views
        of_views = self.classifiers_to_train(of_network)
        trials = max(of_views, key=len)
        jobs = sum(map(len, of_views)) / len(trials)
        again = {*checked_views(config)} & {*of_network} if training.check else {}
        longer = len(checked(config, trials)) * len(again)
        epochs = fitted(training.epochs) * (jobs + 2 * longer / len(trials))
        rows = self.rows(hyperparameters_of(trials[0], training), len(trials))
        views = self.view_parameters(trials)
        states = self.on_trials(jax.eval_shape(programs.init_classifier, rows))
        few = max((trial.train_examples or 0) for trial in trials)
        order = programs.order_program(training, CLASSIFIER_ORDER), self.order_arguments(rows)
        if few:
            order = programs.subset_order, self.subset_arguments(rows, trials)
        init = programs.init_classifier, (rows,)
        found = self.stage(models, training, trials, states, init, order, (views,), epochs)
        validation = self.batches(programs.monitored["validation"])
        cells = len(of_network) * len(config.test_views)
        # In its own view and in the original one, and of the train split as many images.
        steps = 3 * validation * epochs + cells * self.batches(programs.dataset.splits["test"])
        count, dtype = self.padded(len(trials)), training.dtype
        rest = self.bytes_of(states) - self.bytes_of(states.variables)
        rest += programs.rendering.bytes if programs.rendering else 0

        def evaluate(name: str, function: Any, batches: tuple[Any, ...], steps: float) -> Call:
            arguments = states.variables, views, *batches
            return Call(name, EVALUATION, function, arguments, count, steps, dtype, rest)

        shared_images = programs.evaluate_classifier, self.evaluation_batches()
        found.append(evaluate(f"evaluate {models}", *shared_images, steps))
        if few:
            batches = self.training_batches(trials, training, validation)
            own_images = programs.evaluate_classifier_on_own, batches, validation * epochs
            found.append(evaluate(f"evaluate {models} on their own images", *own_images))
        warm = [view for view in of_network if VIEWS[view].starts_warm]
        if warm:
            start = programs.warm_start, (states, views.autoencoders.variables)
            found.append(Call(f"start {models}", OTHER, *start, count, len(warm), dtype))
        return found

    def stage(
        self,
        models: str,
        training: TrainingConfig,
        trials: Sequence[Trial],
        states: TrainState,
        init: tuple[Any, tuple[Any, ...]],
        order: tuple[Any, tuple[Any, ...]],
        views: tuple[Any],
        epochs: float,
    ) -> list[Call]:
        """Returns what both kinds of models are trained with."""
        train, originals = self.programs.train_autoencoder, 0
        data, *batches = self.training_batches(trials, training)
        if models != "autoencoders":
            train = self.programs.train_classifier
            if rendering := self.programs.rendering:
                data |= {"image": self.rendered(rendering, len(trials))}
                originals = self.programs.dataset.images.nbytes
        arguments = states, *views, data, *batches
        count, dtype = self.padded(len(trials)), training.dtype
        steps = epochs * self.programs.networks.steps_per_epoch(training)
        jobs, beside = epochs / fitted(training.epochs), self.bytes_of(states)
        of_training = count, steps, dtype, originals, len(trials)
        return [
            Call(f"initialise {models}", OTHER, *init, count, jobs, dtype),
            Call(f"order for {models}", OTHER, *order, count, epochs, dtype, beside),
            Call(f"train {models}", TRAINING, train, arguments, *of_training),
        ]

    def classifiers_to_train(self, views: Sequence[str]) -> list[Sequence[Trial]]:
        """Returns those of each view that are left; all, where nothing is."""
        return self.to_train(
            {f"classifier/{view}": classifier_trials(self.config, view) for view in views}
        )

    def to_train(self, wanted: Mapping[str, Sequence[Trial]]) -> list[Sequence[Trial]]:
        """Returns the trials of each stage that are left; all, where nothing is."""
        return [self.left[stage] for stage in wanted if self.left.get(stage)] or [*wanted.values()]
