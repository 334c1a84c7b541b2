"""Shapes and shardings of what the programs of an experiment are called with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Sharding

from blurjax.config.settings import TrainingConfig, fitted
from blurjax.config.trials import Trial, all_autoencoder_trials, autoencoder_trials, views_in_use
from blurjax.config.view_table import CODECS
from blurjax.engine import TRIAL_AXIS, per_trial, shared
from blurjax.experiment.fitted_views import Fit, FittedViews
from blurjax.experiment.networks import hyperparameters_of
from blurjax.train.feed import abstract_chunk
from blurjax.train.state import Hyperparameters, TrainedModel
from blurjax.views.functions import AXES, Basis, CodeRange, ViewParameters

if TYPE_CHECKING:
    from blurjax.experiment.programs import Programs
    from blurjax.experiment.rendering import Rendering


class Arguments:
    """Abstract arguments of programs, laid out on the devices as a run lays them out."""

    def __init__(self, programs: Programs):
        self.programs, self.config = programs, programs.config
        self.mesh, self.padded = programs.layout.mesh, programs.layout.padded
        self.views = _stand_ins(programs)

    def rows(self, of_one: Any, trials: int) -> Any:
        """Returns the shapes of what `Programs.place_rows` places."""
        padded = self.padded(trials)
        stacked = lambda leaf: jax.ShapeDtypeStruct((padded, *leaf.shape), leaf.dtype)  # noqa: E731
        return self.on_trials(jax.tree.map(stacked, of_one))

    def on_trials(self, shapes: Any) -> Any:
        """Lays arrays [T,...] out."""
        return _on_devices(shapes, per_trial(self.mesh))

    def everywhere(self, shapes: Any) -> Any:
        """Lays arrays out that all trials share."""
        return _on_devices(shapes, shared(self.mesh))

    def view_parameters(self, trials: Sequence[Trial]) -> ViewParameters:
        """Returns the shapes of `FittedViews.parameters`."""
        one = self.views.of_trial("original", trials[0])
        if {*CODECS} & {*views_in_use(self.config)}:
            images = self.programs.dataset.images
            most = len(CODECS) * len(autoencoder_trials(self.config))
            room = int(self.config.data.resident_limit * 2**30 / images.nbytes)
            shape = max(1, min(most, room)), *images.shape
            rows = np.zeros(len(CODECS), np.int32)
            one = one._replace(codec_images=jax.ShapeDtypeStruct(shape, np.uint8), codec_rows=rows)
        return ViewParameters(
            *(
                self.everywhere(part) if axis is None else self.rows(part, len(trials))
                for axis, part in zip(AXES, one, strict=True)
            )
        )

    def bytes_of(self, shapes: Any) -> int:
        """Returns the bytes on each device of arrays [T,...]."""
        leaves = jax.tree.leaves(shapes)
        total = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
        return total // self.mesh.shape[TRIAL_AXIS]

    def order_arguments(self, rows: Hyperparameters) -> tuple[Any, ...]:
        """Returns those of `Programs.order_program`."""
        which = rows.seed, rows.members
        if self.programs.streamed:
            which = self.everywhere((np.uint32(0), np.int32(0)))
        return *which, self.number(), *self.everywhere(self.programs.members)

    def subset_arguments(self, rows: Hyperparameters, trials: Sequence[Trial]) -> tuple[Any, ...]:
        """Returns those of `Programs.subset_order`."""
        train = self.programs.dataset.splits["train"].astype(np.int32)
        width = max(trial.train_examples or len(train) for trial in trials)
        own = self.rows(np.zeros(width, np.int32), len(trials))
        lengths = self.rows(np.int32(0), len(trials))
        return rows.seed, own, lengths, self.number(), self.everywhere(train)

    def number(self) -> jax.ShapeDtypeStruct:
        """Returns the shape of a number that all trials share."""
        return self.everywhere(np.int32(0))

    def evaluation_batches(self, size: int | None = None) -> tuple[Any, ...]:
        """Returns the data arguments of an evaluation of images that all trials share, in batches of `size`."""
        programs, size = self.programs, size or fitted(self.config.classifier.batch_size)
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

    def rendered(self, rendering: Rendering, trials: int) -> jax.ShapeDtypeStruct:
        """Returns the shape of the images that `training_feed` makes."""
        images = rendering.positions.size, *rendering.dataset.image_shape
        return self.on_trials(jax.ShapeDtypeStruct((self.padded(trials), *images), np.uint8))

    def batches(self, positions: np.ndarray) -> int:
        """Returns the steps of an evaluation."""
        return math.ceil(len(positions) / fitted(self.config.classifier.batch_size))


def _on_devices(shapes: Any, sharding: Sharding) -> Any:
    """Returns shapes and dtypes of arrays with a sharding."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=sharding), shapes
    )


def _stand_ins(programs: Programs) -> FittedViews:
    """Returns views that are made with zeros, of the shapes that they have in a run; without images of codecs."""
    networks, dataset = programs.networks, programs.dataset
    in_use = views_in_use(programs.config)
    row = hyperparameters_of(Trial(0, 1), programs.config.autoencoder)
    state = jax.eval_shape(networks.autoencoder_init, row)
    zeros = partial(jax.tree.map, lambda leaf: np.zeros(leaf.shape, leaf.dtype))
    model = TrainedModel(zeros(state.variables), np.int32(-1))
    floats = programs.config.autoencoder.max_bottleneck or 1
    code = np.zeros(floats, np.float32)
    ranges = CodeRange(code, code) if "quantised" in in_use else None
    height, width, channels = dataset.image_shape
    fit = Fit(0.0, True, np.ones(min(height, width) // 2 + 1, np.float32), ranges)
    basis = None
    if "pca" in in_use:
        values = height * width * channels
        mean = np.zeros(values, np.float32)
        basis = Basis(mean, np.zeros((floats, values), np.float32))
    trials = all_autoencoder_trials(programs.config)
    models, fits = dict.fromkeys(trials, model), dict.fromkeys(trials, fit)
    return FittedViews(programs, models, fits, basis, None)
