"""The compiled programs of an experiment: its functions of one trial, swept over all trials and looped over batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from blurjax.config.sections import TrainingConfig
from blurjax.config.settings import Config
from blurjax.config.view_names import num_folds
from blurjax.data.dataset import Dataset
from blurjax.engine.mapping import loop_evaluation, loop_steps, per_trial, shared, sweep
from blurjax.engine.types import Params, Trial
from blurjax.experiment.functions import Functions
from blurjax.experiment.layout import TRIAL_DTYPES, make_layout
from blurjax.runtime import processes
from blurjax.train.feed import (
    Feed,
    assign_folds,
    make_feed,
    members_by_fold,
    monitored_positions,
)
from blurjax.train.state import TrainState
from blurjax.views.functions import AXES, ViewParameters, view_index

SHARED_ORDER = (None, None, None)
"""in_axes of positions, start and length where all trials see the same batches."""
OWN_ORDER = (0, None, None)


class Programs:
    """Functions, layout, feed, and what is jitted of them; each is compiled when it is first called.

    Args:
      config: settings fitted to the data.
      dataset: decoded images.
    """

    def __init__(self, config: Config, dataset: Dataset):
        self.config, self.dataset = config, dataset
        self.functions = Functions(config, dataset)
        self.layout = make_layout(config, dataset)
        self.monitored = monitored_positions(dataset, config.data.split_seed)
        self.fold_of = assign_folds(dataset, num_folds(config), config.data.split_seed)

    @cached_property
    def feed(self) -> Feed:
        """The decoded images, resident or streamed."""
        return make_feed(
            self.dataset,
            resident_limit=self.config.data.resident_limit,
            capacity=self.config.compute.chunk_steps,
            batch_size=max(self.config.autoencoder.batch_size, self.config.classifier.batch_size),
            mesh=self.layout.mesh,
        )

    # What trials are made of

    def place(self, trials: Sequence[Trial]) -> Trial:
        """Trials as arrays [T] on the devices, padded with copies of the last."""
        rows = [Trial(*(d(x) for d, x in zip(TRIAL_DTYPES, t, strict=True))) for t in trials]
        return self.place_rows(rows)

    def place_rows(self, rows: Sequence[Params]) -> Params:
        """What belongs to one trial each, stacked on the devices and padded with copies of the last."""
        padded = [*rows, *[rows[-1]] * (self.layout.padded(len(rows)) - len(rows))]
        sharding = per_trial(self.layout.mesh)
        return jax.tree.map(lambda *leaves: processes.put(np.stack(leaves), sharding), *padded)

    def view_index(self, view: str) -> jax.Array:
        """The `view` of ViewParameters, on the devices."""
        return processes.put(np.int32(view_index(view)), shared(self.layout.mesh))

    # Autoencoders

    @cached_property
    def init_autoencoder(self) -> Callable[[Trial], TrainState]:
        """Trials [T] -> states [T]."""
        return self._jit(self.functions.init_autoencoder, (0,), **_compiled_quickly())

    @cached_property
    def train_autoencoder(self) -> Callable[..., Any]:
        """(states, None, data, positions, start, length) -> (states, metrics)."""
        return self._jit_training(self.functions.autoencoder_step, None)

    @cached_property
    def evaluate_autoencoder(self) -> Callable[..., Any]:
        """(params, bottlenecks, data, positions, start, length) -> per-example results."""
        return self._jit_evaluation(self.functions.evaluate_autoencoder, 0, 0)

    @cached_property
    def encode(self) -> Callable[..., Any]:
        """(params, bottlenecks, data, positions, start, length) -> codes."""
        return self._jit_evaluation(self.functions.encode, 0, 0)

    # Views

    @cached_property
    def measure_view(self) -> Callable[..., Any]:
        """(None, view parameters, data, positions, start, length) -> per-example results."""
        return self._jit_evaluation(self.functions.measure_view, None, AXES)

    @cached_property
    def paint(self) -> Callable[..., jax.Array]:
        """(view parameters of one trial, images u8[M,H,W,C], positions) -> the images in the view, u8[M,H,W,C]."""

        def paint(parameters: ViewParameters, images: jax.Array, positions: jax.Array) -> jax.Array:
            pixels = images.astype(jnp.float32) / 255.0
            viewed = self.functions.view(parameters, pixels, positions)
            return jnp.round(viewed * 255.0).astype(jnp.uint8)

        return jax.jit(paint, **_compiled_quickly())

    # Classifiers

    @cached_property
    def init_classifier(self) -> Callable[[Trial], TrainState]:
        """Trials [T] -> states [T]."""
        return self._jit(self.functions.init_classifier, (0,), **_compiled_quickly())

    @cached_property
    def train_classifier(self) -> Callable[..., Any]:
        """(states, view parameters, data, positions, start, length) -> (states, metrics)."""
        return self._jit_training(self.functions.classifier_step, AXES)

    @cached_property
    def evaluate_classifier(self) -> Callable[..., Any]:
        """(params, view parameters, data, positions, start, length) -> per-example results."""
        return self._jit_evaluation(self.functions.evaluate_classifier, 0, AXES)

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
        train, folds = self.dataset.splits["train"], num_folds(self.config)
        table, lengths = members_by_fold(train, self.fold_of, folds)
        function = self.functions.order(training, stream)
        if self.feed.streamed:
            shared_order = jax.jit(function)
            seed = np.uint32(self.config.data.seed)
            return lambda states, epoch: np.asarray(
                shared_order(seed, processes.fetch(states.trial.fold)[0], epoch, table, lengths)
            )
        own_order = self._jit(function, (0, 0, None, None, None), **_compiled_quickly())
        return lambda states, epoch: own_order(
            states.trial.seed, states.trial.fold, epoch, table, lengths
        )

    def _jit_training(self, step: Callable[..., Any], view_axes: Any) -> Callable[..., Any]:
        order_axes = SHARED_ORDER if self.feed.streamed else OWN_ORDER
        loop = loop_steps(step, self.feed.capacity)
        return self._jit(loop, (0, view_axes, None, *order_axes), donate_argnums=0)

    def _jit_evaluation(self, step: Callable[..., Any], *axes: Any) -> Callable[..., Any]:
        loop = loop_evaluation(step, self.feed.capacity)
        return self._jit(loop, (*axes, None, *SHARED_ORDER))

    def _jit(
        self, function: Callable[..., Any], in_axes: tuple[Any, ...], **options: Any
    ) -> Callable[..., Any]:
        return jax.jit(sweep(function, *self.layout, in_axes), **options)


def _compiled_quickly() -> dict[str, Any]:
    """For programs that run seldom: drawing random parameters takes seconds to optimise on CPU."""
    on_cpu = jax.default_backend() == "cpu"
    return {"compiler_options": {"xla_backend_optimization_level": 0}} if on_cpu else {}
