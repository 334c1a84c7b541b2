"""The programs of an experiment with the shapes that it calls them with: compiled without data, they say what fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from blurjax.config.settings import Config, TrainingConfig, fitted
from blurjax.config.trials import (
    Trial,
    all_autoencoder_trials,
    autoencoder_trials,
    checked,
    checked_views,
    classifier_trials,
    measured_views,
    num_folds,
    quality_trials,
)
from blurjax.config.view_table import VIEWS
from blurjax.data import Dataset
from blurjax.engine import TRIAL_AXIS, Target, per_trial, shared, this_machine
from blurjax.engine.cost import matrix_flops, needed_temporaries
from blurjax.experiment.fitted_views import ViewShapes, on_devices
from blurjax.experiment.hyperparameters import hyperparameters_of
from blurjax.experiment.layout import Layout, Memory, make_layout
from blurjax.experiment.networks import Networks, TrainingData
from blurjax.experiment.programs import AUTOENCODER_ORDER, CLASSIFIER_ORDER, Programs
from blurjax.train.feed import abstract_chunk
from blurjax.train.state import Hyperparameters, TrainState

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
    found = [*made.of_autoencoders(), made.of_views()]
    for of_network in programs.of_networks:
        found += _Calls(of_network, left or {}).of_classifiers()
    return found


class _Calls:
    def __init__(self, programs: Programs, left: Mapping[str, Sequence[Trial]]):
        self.programs, self.config, self.left = programs, programs.config, left
        self.mesh, self.padded = programs.layout.mesh, programs.layout.padded
        self.views = ViewShapes(programs)

    def of_autoencoders(self) -> list[Call]:
        programs, training = self.programs, self.config.autoencoder
        of_split = autoencoder_trials(self.config)
        # Where images are streamed, each fold has a job of its own.
        wanted = of_split if programs.streamed else all_autoencoder_trials(self.config)
        (trials,) = self.to_train({"autoencoder": wanted})
        jobs = 1 + num_folds(self.config) if programs.streamed else 1
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

    def of_views(self) -> Call:
        programs, views = self.programs, measured_views(self.config)
        trials = max((quality_trials(self.config, view) for view in views), key=len)
        splits = *programs.monitored.values(), programs.dataset.splits["test"]
        arguments = None, self.views.of(trials), *self.evaluation_batches()
        steps = sum(map(self.batches, splits)) * len(views)
        of_stage = self.padded(len(trials)), steps, self.config.autoencoder.dtype
        return Call("measure views", EVALUATION, programs.measure_view, arguments, *of_stage)

    def of_classifiers(self) -> list[Call]:
        programs, config, training = self.programs, self.config, self.config.classifier
        models, of_network = programs.networks.classifiers, programs.train_views
        wanted = {f"classifier/{view}": classifier_trials(config, view) for view in of_network}
        of_views = self.to_train(wanted)
        trials = max(of_views, key=len)
        jobs = sum(map(len, of_views)) / len(trials)
        again = {*checked_views(config)} & {*of_network} if training.check else {}
        longer = len(checked(config, trials)) * len(again)
        epochs = fitted(training.epochs) * (jobs + 2 * longer / len(trials))
        rows = self.rows(hyperparameters_of(trials[0], training), len(trials))
        views = self.views.of(trials)
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
        train = self.programs.train_autoencoder
        if models != "autoencoders":
            train = self.programs.train_classifier
        arguments = states, *views, *self.training_batches(trials, training)
        count, dtype = self.padded(len(trials)), training.dtype
        steps = epochs * self.programs.networks.steps_per_epoch(training)
        jobs, beside = epochs / fitted(training.epochs), self.bytes_of(states)
        return [
            Call(f"initialise {models}", OTHER, *init, count, jobs, dtype),
            Call(f"order for {models}", OTHER, *order, count, epochs, dtype, beside),
            Call(
                f"train {models}", TRAINING, train, arguments, count, steps, dtype, 0, len(trials)
            ),
        ]

    def to_train(self, wanted: Mapping[str, Sequence[Trial]]) -> list[Sequence[Trial]]:
        """Returns the trials of each stage that are left; all, where nothing is."""
        return [self.left[stage] for stage in wanted if self.left.get(stage)] or [*wanted.values()]

    # Arguments.

    def rows(self, of_one: Any, trials: int) -> Any:
        """Returns the shapes of what `Programs.place_rows` places."""
        padded = self.programs.layout.padded(trials)
        stacked = lambda leaf: jax.ShapeDtypeStruct((padded, *leaf.shape), leaf.dtype)  # noqa: E731
        return self.on_trials(jax.tree.map(stacked, of_one))

    def on_trials(self, shapes: Any) -> Any:
        return on_devices(shapes, per_trial(self.mesh))

    def everywhere(self, shapes: Any) -> Any:
        return on_devices(shapes, shared(self.mesh))

    def bytes_of(self, shapes: Any) -> int:
        """Returns the bytes on each device of arrays [T,...]."""
        leaves = jax.tree.leaves(shapes)
        total = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
        return total // self.mesh.shape["trial"]

    def order_arguments(self, rows: Hyperparameters) -> tuple[Any, ...]:
        which = rows.seed, rows.members
        if self.programs.streamed:
            which = self.everywhere((np.uint32(0), np.int32(0)))
        return *which, self.number(), *self.everywhere(self.programs.members)

    def subset_arguments(self, rows: Hyperparameters, trials: Sequence[Trial]) -> tuple[Any, ...]:
        train = self.programs.dataset.splits["train"].astype(np.int32)
        width = max(trial.train_examples or len(train) for trial in trials)
        own = self.rows(np.zeros(width, np.int32), len(trials))
        lengths = self.rows(np.int32(0), len(trials))
        return rows.seed, own, lengths, self.number(), self.everywhere(train)

    def number(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of a number that all trials share."""
        return self.everywhere(np.int32(0))

    def evaluation_batches(self) -> tuple[Any, ...]:
        """Returns the data arguments of an evaluation of images that all trials share."""
        programs, size = self.programs, fitted(self.config.classifier.batch_size)
        chunk = abstract_chunk(
            programs.dataset, programs.streamed, programs.capacity, self.mesh, size
        )
        return *chunk, self.number(), self.number()

    def training_batches(
        self, trials: Sequence[Trial], training: TrainingConfig, steps: int | None = None
    ) -> tuple[Any, ...]:
        """Returns the data arguments of a training, or of as many steps on images of each trial's own."""
        programs, size = self.programs, fitted(training.batch_size)
        data, positions = abstract_chunk(
            programs.dataset, programs.streamed, programs.capacity, self.mesh, size
        )
        if not programs.streamed:
            steps = steps or programs.networks.steps_per_epoch(training)
            positions = self.rows(np.zeros((steps, size), np.int32), len(trials))
        return data, positions, self.number(), self.number()

    def batches(self, positions: np.ndarray) -> int:
        """Returns the steps of an evaluation."""
        return math.ceil(len(positions) / fitted(self.config.classifier.batch_size))
