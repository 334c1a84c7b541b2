"""The compiled programs of an experiment: models and steps, closed over the settings and swept over trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from blurjax import memory, processes, steps
from blurjax.config import Config, mesh_shape, override
from blurjax.data.sources import Dataset
from blurjax.errors import UserError
from blurjax.feed import Feed, epoch_order, fits, make_examples, make_feed, members_by_fold
from blurjax.models.autoencoder import Autoencoder
from blurjax.models.classifier import Classifier
from blurjax.sections import TrainingConfig
from blurjax.sweep import (
    TRIAL_AXIS,
    gather_batch,
    loop_evaluation,
    loop_steps,
    make_mesh,
    padded_length,
    per_trial,
    shared,
    sweep,
)
from blurjax.train_state import TrainState, init, make_optimizer
from blurjax.trials import autoencoder_trials, point_trials
from blurjax.types import Params, Trial
from blurjax.view_names import num_folds, views_in_use
from blurjax.views import AXES, Basis, Matrices, ViewParameters, apply_view, view_index

LOGITS_LIMIT = 100e6
"""Bytes of logits in all prediction files together, above which they are not kept."""
CACHE_BYTES = 2**22
"""Of the largest activations of a micro-batch on CPU (docs/engine.md)."""
SHARED_ORDER = (None, None, None)
"""in_axes of positions, start and length where all trials see the same batches."""
OWN_ORDER = (0, None, None)


class Programs:
    """Models, mesh, feed and jitted functions; each is compiled when it is first called.

    Args:
      config: settings fitted to the data.
      dataset: decoded images.
    """

    def __init__(self, config: Config, dataset: Dataset):
        self.config, self.dataset = config, dataset
        self.examples = make_examples(dataset, config.data.split_seed, num_folds(config))
        self.views_in_use = views_in_use(config)
        compute = config.compute
        self.mesh = _mesh(config)
        self.trials_per_vmap = _trials_per_vmap(config, dataset, self.mesh)
        shape, lowering = dataset.image_shape, compute.convolution
        self.autoencoder = Autoencoder(
            image_shape=shape,
            max_bottleneck=_fitted(config.autoencoder.max_bottleneck),
            width=config.autoencoder.width,
            dtype=jnp.dtype(config.autoencoder.dtype),
            lowering=lowering,
            rematerialize=compute.rematerialize,
        )
        self.classifier = Classifier(
            num_classes=len(dataset.class_names),
            width=config.classifier.width,
            dense=config.classifier.dense,
            dtype=jnp.dtype(config.classifier.dtype),
            lowering=lowering,
        )

    def example_image(self) -> jax.Array:
        """f32[1,H,W,C], to find the shapes of parameters with."""
        return jnp.zeros((1, *self.dataset.image_shape), jnp.float32)

    def steps_per_epoch(self, training: TrainingConfig) -> int:
        """Steps in which as many images are seen as the train split has."""
        return math.ceil(len(self.dataset.splits["train"].labels) / training.batch_size)

    def num_steps(self, training: TrainingConfig) -> int:
        """Steps from the first to the last epoch."""
        return _fitted(training.epochs) * self.steps_per_epoch(training)

    @cached_property
    def feed(self) -> Feed:
        """The decoded images, resident or streamed."""
        return make_feed(
            self.dataset,
            resident_limit=self.config.data.resident_limit,
            capacity=self.config.compute.chunk_steps,
            batch_size=max(self.config.autoencoder.batch_size, self.config.classifier.batch_size),
            mesh=self.mesh,
        )

    # What trials are made of

    def place(self, trials: Sequence[Trial]) -> Trial:
        """Trials as arrays [T] on the devices, padded with copies of the last."""
        length = padded_length(len(trials), self.mesh, self.trials_per_vmap)
        padded = [*trials, *[trials[-1]] * (length - len(trials))]
        dtypes = Trial(np.uint32, np.float32, np.float32, np.int32, np.int32)
        columns = Trial(*zip(*padded, strict=True))
        return jax.tree.map(
            lambda column, dtype: processes.put(np.array(column, dtype), per_trial(self.mesh)),
            columns,
            dtypes,
            is_leaf=lambda node: isinstance(node, tuple) and not isinstance(node, Trial),
        )

    def place_rows(self, rows: Sequence[Params]) -> Params:
        """Parameters of one model each, stacked and padded as `place` pads their trials."""
        length = padded_length(len(rows), self.mesh, self.trials_per_vmap)
        padded = [*rows, *[rows[-1]] * (length - len(rows))]
        return jax.tree.map(
            lambda *leaves: processes.put(np.stack(leaves), per_trial(self.mesh)), *padded
        )

    def view_index(self, view: str) -> jax.Array:
        """The `view` of ViewParameters, on the devices."""
        return processes.put(np.int32(view_index(view)), shared(self.mesh))

    # Autoencoders

    @cached_property
    def init_autoencoder(self) -> Callable[[Trial], TrainState]:
        """Trials [T] -> states [T]."""
        example = (self.example_image(), jnp.int32(1))
        optimizer = make_optimizer(self.config.autoencoder, self.num_steps(self.config.autoencoder))
        function = partial(
            init, model=self.autoencoder, example=example, stream="autoencoder", optimizer=optimizer
        )
        return self._jit(function, (0,), compiler_options=_compiled_quickly())

    @cached_property
    def autoencoder_step(self) -> Callable[..., Any]:
        """The step of one autoencoder."""
        training = self.config.autoencoder
        return partial(
            steps.autoencoder_train_step,
            model=self.autoencoder,
            optimizer=make_optimizer(training, self.num_steps(training)),
            gradient=self._gradient(training),
        )

    @cached_property
    def train_autoencoder(self) -> Callable[..., Any]:
        """(states, None, data, positions, start, length) -> (states, metrics)."""
        return self._jit_loop(self.autoencoder_step, None)

    @cached_property
    def evaluate_autoencoder(self) -> Callable[..., Any]:
        """(params, bottlenecks, data, positions, start, length) -> per-example results."""
        step = partial(steps.autoencoder_eval_step, model=self.autoencoder)
        return self._jit(loop_evaluation(step, self.feed.capacity), (0, 0, None, *SHARED_ORDER))

    @cached_property
    def encode(self) -> Callable[..., Any]:
        """(params, bottlenecks, data, positions, start, length) -> codes."""
        step = partial(steps.encode_step, model=self.autoencoder)
        return self._jit(loop_evaluation(step, self.feed.capacity), (0, 0, None, *SHARED_ORDER))

    # Views

    @cached_property
    def view(self) -> steps.ApplyView:
        """The view that its parameters name, of one trial."""
        return partial(apply_view, in_use=self.views_in_use, autoencoder=self.autoencoder)

    @cached_property
    def measure_view(self) -> Callable[..., Any]:
        """(None, view parameters, data, positions, start, length) -> per-example results."""
        step = partial(steps.view_quality_step, view=self.view)
        loop = loop_evaluation(step, self.feed.capacity)
        return self._jit(loop, (None, AXES, None, *SHARED_ORDER))

    @cached_property
    def paint(self) -> Callable[..., jax.Array]:
        """(view parameters of one trial, images u8[M,H,W,C], positions) -> the images in the view, u8[M,H,W,C]."""

        def paint(parameters: ViewParameters, images: jax.Array, positions: jax.Array) -> jax.Array:
            viewed = self.view(parameters, images.astype(jnp.float32) / 255.0, positions)
            return jnp.round(viewed * 255.0).astype(jnp.uint8)

        return jax.jit(paint, compiler_options=_compiled_quickly())

    def abstract_views(self, autoencoders: Params) -> ViewParameters:
        """Shapes and dtypes of the parameters of all views in use, for parameters [T,...] of autoencoders."""
        height, width, channels = self.dataset.image_shape
        trials = jax.tree.leaves(autoencoders)[0].shape[0]
        painters = 1 + num_folds(self.config)
        images, components = self.examples.labels.shape, self.config.autoencoder.max_bottleneck

        def array(*shape: int, dtype: Any = np.float32) -> Any:
            return jax.ShapeDtypeStruct(shape, dtype)

        matrices = Matrices(array(trials, height, height), array(trials, width, width))
        pixels = height * width * channels
        of_view = {
            "blur": {"blur": matrices},
            "downsample": {"downsample": matrices},
            "pca": {"basis": Basis(array(pixels), array(_fitted(components), pixels))},
            "spectrum": {"gain": array(trials, min(height, width) // 2 + 1)},
            "shuffled": {"labels": array(trials, *images, dtype=np.int32)},
        }
        parameters = ViewParameters(
            view=array(dtype=np.int32),
            seed=array(trials, dtype=np.uint32),
            bottleneck=array(trials, dtype=np.int32),
            autoencoders=jax.tree.map(
                lambda leaf: array(trials, painters, *leaf.shape[1:], dtype=leaf.dtype),
                autoencoders,
            ),
            fold_of=array(*images, dtype=np.int32) if painters > 1 else None,
        )
        for view, fields in of_view.items():
            parameters = parameters._replace(**(fields if view in self.views_in_use else {}))
        return parameters

    # Classifiers

    @cached_property
    def init_classifier(self) -> Callable[[Trial], TrainState]:
        """Trials [T] -> states [T]."""
        example = (self.example_image(),)
        optimizer = make_optimizer(self.config.classifier, self.num_steps(self.config.classifier))
        function = partial(
            init, model=self.classifier, example=example, stream="classifier", optimizer=optimizer
        )
        return self._jit(function, (0,), compiler_options=_compiled_quickly())

    @cached_property
    def classifier_step(self) -> Callable[..., Any]:
        """The step of one classifier."""
        training = self.config.classifier
        return partial(
            steps.classifier_train_step,
            model=self.classifier,
            view=self.view,
            optimizer=make_optimizer(training, self.num_steps(training)),
            gradient=self._gradient(training),
            flip=training.flip,
            shift=training.shift,
        )

    @cached_property
    def train_classifier(self) -> Callable[..., Any]:
        """(states, view parameters, data, positions, start, length) -> (states, metrics)."""
        return self._jit_loop(self.classifier_step, AXES)

    @cached_property
    def evaluate_classifier(self) -> Callable[..., Any]:
        """(params, view parameters, data, positions, start, length) -> per-example results."""
        step = partial(
            steps.classifier_eval_step,
            model=self.classifier,
            view=self.view,
            keep_logits=self._logits_bytes() < LOGITS_LIMIT,
        )
        return self._jit(loop_evaluation(step, self.feed.capacity), (0, AXES, None, *SHARED_ORDER))

    def _logits_bytes(self) -> int:
        """Of all prediction files together."""
        config = self.config
        cells = len(config.train_views) * len(config.test_views)
        rows = cells * len(point_trials(config, needs_code=True))
        return 4 * rows * len(self.dataset.splits["test"].labels) * len(self.dataset.class_names)

    # Orders

    @cached_property
    def autoencoder_order(self) -> Callable[[TrainState, int], Any]:
        """The order of the autoencoders' epochs; see `_order`."""
        return self._order(self.config.autoencoder, "autoencoder order")

    @cached_property
    def classifier_order(self) -> Callable[[TrainState, int], Any]:
        """The order of the classifiers' epochs, one program for all views; see `_order`."""
        return self._order(self.config.classifier, "classifier order")

    def _order(self, training: TrainingConfig, stream: str) -> Callable[[TrainState, int], Any]:
        """(states [T], epoch) -> the order of that epoch: per trial on the device, or one for all on the host."""
        count = len(self.dataset.splits["train"].labels)
        fold_of = self.examples.fold_of
        table, lengths = members_by_fold(
            count, None if fold_of is None else fold_of[:count], num_folds(self.config)
        )
        function = partial(
            epoch_order,
            steps=self.steps_per_epoch(training),
            batch_size=training.batch_size,
            stream=stream,
        )
        if self.feed.streamed:
            shared_order = jax.jit(function)
            seed = np.uint32(self.config.data.seed)
            return lambda states, epoch: np.asarray(
                shared_order(seed, processes.fetch(states.trial.fold)[0], epoch, table, lengths)
            )
        own_order = self._jit(
            function, (0, 0, None, None, None), compiler_options=_compiled_quickly()
        )
        return lambda states, epoch: own_order(
            states.trial.seed, states.trial.fold, epoch, table, lengths
        )

    def _gradient(self, training: TrainingConfig) -> steps.Gradient:
        compute, (height, width, _) = self.config.compute, self.dataset.image_shape
        microbatches = compute.microbatches
        if microbatches == "auto":
            of_an_image = height * width * training.width * jnp.dtype(training.dtype).itemsize
            microbatches = _microbatches(training.batch_size, of_an_image)
        return partial(steps.mean_gradient, microbatches=microbatches)

    def _jit_loop(self, step: Callable[..., Any], view_axes: Any) -> Callable[..., Any]:
        order_axes = SHARED_ORDER if self.feed.streamed else OWN_ORDER
        loop = loop_steps(step, self.feed.capacity)
        return self._jit(loop, (0, view_axes, None, *order_axes), donate_argnums=0)

    def _jit(
        self, function: Callable[..., Any], in_axes: tuple[Any, ...], **options: Any
    ) -> Callable[..., Any]:
        return jax.jit(sweep(function, self.mesh, self.trials_per_vmap, in_axes), **options)


def _mesh(config: Config) -> Mesh:
    """Trials first; where devices outnumber them, the rest share the batches, unless the settings say otherwise."""
    compute, num_seeds = config.compute, config.sweep.num_seeds
    there = jax.devices()
    devices = there[: compute.devices]
    if compute.devices is not None and compute.devices > len(there):
        raise UserError(
            f"compute.devices is {compute.devices}, but there are {len(there)}; lower it, or leave it out to use all."
        )
    if compute.mesh == "auto":
        # On CPU, a trial's bits stay the same alone as among others: each is computed by one device.
        rows = num_seeds
        data_devices = 1 if jax.default_backend() == "cpu" else max(1, len(devices) // num_seeds)
    else:
        rows, data_devices = mesh_shape(compute.mesh)
        if rows * data_devices > len(devices):
            raise UserError(
                f"compute.mesh is {compute.mesh}, which takes {rows * data_devices} devices, but there are "
                f"{len(devices)}; lower it."
            )
    for section in ("autoencoder", "classifier"):
        batch_size = getattr(config, section).batch_size
        if compute.mesh == "auto":
            data_devices = math.gcd(data_devices, batch_size)
        elif batch_size % data_devices:
            raise UserError(
                f"compute.mesh is {compute.mesh}, but {section}.batch_size {batch_size} is not a multiple of "
                f"{data_devices}; change one of them."
            )
    mesh = make_mesh(rows, devices, data_devices)
    idle = processes.count() - len({device.process_index for device in mesh.devices.flat})
    if idle:
        raise UserError(
            f"{idle} of {processes.count()} processes would have nothing to do: the run keeps {mesh.size} device(s) "
            "busy; start fewer processes, raise sweep.num_seeds, or let devices share batches with compute.mesh."
        )
    return mesh


def _trials_per_vmap(config: Config, dataset: Dataset, mesh: Mesh) -> int:
    """What the settings say; where they say `auto`, 1 on CPU, and elsewhere what the devices have memory for.

    Trials are counted as seeds: every job has a multiple of them, so that none is padded.
    """
    if config.compute.trials_per_vmap != "auto":
        return config.compute.trials_per_vmap
    trials = math.ceil(config.sweep.num_seeds / mesh.shape[TRIAL_AXIS])
    if jax.default_backend() == "cpu" or trials == 1:
        return 1
    free = processes.least(memory.free_bytes(mesh.local_devices))
    if fits(dataset, config.data.resident_limit):
        free -= sum(split.images.nbytes for split in dataset.splits.values())
    return memory.trials_that_fit(trials, bytes_per_trial(config, dataset), free)


def _microbatches(batch_size: int, bytes_per_image: int) -> int:
    """1 on accelerators; on CPU the fewest pieces of a batch whose largest activations stay in the cache."""
    if jax.default_backend() != "cpu":
        return 1
    divisors = (n for n in range(1, batch_size + 1) if batch_size % n == 0)
    return next(
        n for n in divisors if batch_size // n * bytes_per_image <= CACHE_BYTES or n == batch_size
    )


def bytes_per_trial(config: Config, dataset: Dataset) -> float:
    """Device memory that each of several trials side by side takes, in the training step that takes most."""
    two = {"compute.trials_per_vmap": 2, "compute.devices": 1, "compute.mesh": "1x1"}
    programs = Programs(override(config, two), dataset)
    trials = programs.place(autoencoder_trials(config)[:1])
    autoencoders = jax.eval_shape(programs.init_autoencoder, trials)
    classifiers = jax.eval_shape(programs.init_classifier, trials)
    views = programs.abstract_views(autoencoders.params)
    images = jax.ShapeDtypeStruct((1, *dataset.image_shape), np.uint8)
    labels = jax.ShapeDtypeStruct((1,), np.int32)
    data = {"image": images, "label": labels, "index": labels}

    def taken(section: TrainingConfig, step: Callable[..., Any], axes: Any, *args: Any) -> float:
        positions = jax.ShapeDtypeStruct((2, section.batch_size), np.int32)
        steps = jax.ShapeDtypeStruct((2,), np.int32)
        batches = jax.eval_shape(jax.vmap(gather_batch, (None, None, 0)), data, positions, steps)
        return memory.live_bytes(jax.vmap(step, (0, axes, 0)), *args, batches) / 2

    return max(
        taken(config.autoencoder, programs.autoencoder_step, None, autoencoders, None),
        taken(config.classifier, programs.classifier_step, AXES, classifiers, views),
    )


def _compiled_quickly() -> dict[str, int]:
    """For programs that run seldom: drawing random parameters takes seconds to optimise on CPU."""
    return {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}


def _fitted(value: int | None) -> int:
    assert value is not None, "the settings have not been fitted to the data"
    return value
