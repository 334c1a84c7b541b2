"""The pure functions of an experiment, of one trial each: models and steps, closed over the settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp

from blurjax.config.sections import TrainingConfig
from blurjax.config.settings import Config
from blurjax.config.view_names import views_in_use
from blurjax.data.dataset import Dataset
from blurjax.engine.types import Trial
from blurjax.experiment.trials import point_trials
from blurjax.models.autoencoder import Autoencoder
from blurjax.models.classifier import Classifier
from blurjax.train import steps
from blurjax.train.feed import epoch_order
from blurjax.train.state import TrainState, init, make_optimizer
from blurjax.views.functions import apply_view

LOGITS_LIMIT = 100e6
"""Bytes of logits in all prediction files together, above which they are not kept."""
CACHE_BYTES = 2**22
"""Of the largest activations of a micro-batch on CPU (docs/engine.md)."""


class Functions:
    """What `Programs` compiles.

    Args:
      config: settings fitted to the data.
      dataset: decoded images.
    """

    def __init__(self, config: Config, dataset: Dataset):
        self.config, self.dataset = config, dataset
        self.views_in_use = views_in_use(config)
        shape, compute = dataset.image_shape, config.compute
        self.example_image = jnp.zeros((1, *shape), jnp.float32)
        """f32[1,H,W,C], to find the shapes of parameters with."""
        self.autoencoder = Autoencoder(
            image_shape=shape,
            max_bottleneck=_fitted(config.autoencoder.max_bottleneck),
            width=config.autoencoder.width,
            dtype=jnp.dtype(config.autoencoder.dtype),
            lowering=compute.convolution,
            rematerialize=compute.rematerialize,
        )
        self.classifier = Classifier(
            num_classes=len(dataset.class_names),
            width=config.classifier.width,
            dense=config.classifier.dense,
            dtype=jnp.dtype(config.classifier.dtype),
            lowering=compute.convolution,
        )

    def steps_per_epoch(self, training: TrainingConfig) -> int:
        """Steps in which as many images are seen as the train split has."""
        return math.ceil(len(self.dataset.splits["train"]) / training.batch_size)

    def num_steps(self, training: TrainingConfig) -> int:
        """Steps from the first to the last epoch."""
        return _fitted(training.epochs) * self.steps_per_epoch(training)

    @cached_property
    def init_autoencoder(self) -> Callable[[Trial], TrainState]:
        """Trial -> state."""
        return self._init(
            self.config.autoencoder,
            model=self.autoencoder,
            example=(self.example_image, jnp.int32(1)),
            stream="autoencoder",
        )

    @cached_property
    def autoencoder_step(self) -> Callable[..., Any]:
        """(state, None, batch) -> (state, metrics)."""
        return self._step(
            steps.autoencoder_train_step, self.config.autoencoder, model=self.autoencoder
        )

    @cached_property
    def evaluate_autoencoder(self) -> Callable[..., Any]:
        """(params, bottleneck, batch) -> per-example results."""
        return partial(steps.autoencoder_eval_step, model=self.autoencoder)

    @cached_property
    def encode(self) -> Callable[..., Any]:
        """(params, bottleneck, batch) -> codes."""
        return partial(steps.encode_step, model=self.autoencoder)

    @cached_property
    def view(self) -> steps.ApplyView:
        """The view that its parameters name."""
        return partial(apply_view, in_use=self.views_in_use, autoencoder=self.autoencoder)

    @cached_property
    def measure_view(self) -> Callable[..., Any]:
        """(None, view parameters, batch) -> per-example results."""
        return partial(steps.view_quality_step, view=self.view)

    @cached_property
    def init_classifier(self) -> Callable[[Trial], TrainState]:
        """Trial -> state."""
        return self._init(
            self.config.classifier,
            model=self.classifier,
            example=(self.example_image,),
            stream="classifier",
        )

    @cached_property
    def classifier_step(self) -> Callable[..., Any]:
        """(state, view parameters, batch) -> (state, metrics)."""
        training = self.config.classifier
        return self._step(
            steps.classifier_train_step,
            training,
            model=self.classifier,
            view=self.view,
            flip=training.flip,
            shift=training.shift,
        )

    @cached_property
    def evaluate_classifier(self) -> Callable[..., Any]:
        """(params, view parameters, batch) -> per-example results."""
        return partial(
            steps.classifier_eval_step,
            model=self.classifier,
            view=self.view,
            keep_logits=self._logits_bytes() < LOGITS_LIMIT,
        )

    def order(self, training: TrainingConfig, stream: str) -> Callable[..., jax.Array]:
        """(seed, fold, epoch, table, lengths) -> positions; see `epoch_order`."""
        return partial(
            epoch_order,
            steps=self.steps_per_epoch(training),
            batch_size=training.batch_size,
            stream=stream,
        )

    def _init(self, training: TrainingConfig, **how: Any) -> Callable[[Trial], TrainState]:
        return partial(init, optimizer=make_optimizer(training, self.num_steps(training)), **how)

    def _step(
        self, step: Callable[..., Any], training: TrainingConfig, **how: Any
    ) -> Callable[..., Any]:
        optimizer = make_optimizer(training, self.num_steps(training))
        gradient = partial(steps.mean_gradient, microbatches=self._microbatches(training))
        return partial(step, optimizer=optimizer, gradient=gradient, **how)

    def _microbatches(self, training: TrainingConfig) -> int:
        """`auto`: 1 on accelerators, on CPU the fewest pieces whose largest activations stay in the cache."""
        asked_for = self.config.compute.microbatches
        if asked_for != "auto":
            return asked_for
        if jax.default_backend() != "cpu":
            return 1
        height, width, _ = self.dataset.image_shape
        image = height * width * training.width * jnp.dtype(training.dtype).itemsize
        pieces = (n for n in range(1, training.batch_size + 1) if training.batch_size % n == 0)
        fits = (n for n in pieces if training.batch_size // n * image <= CACHE_BYTES)
        return next(fits, training.batch_size)

    def _logits_bytes(self) -> int:
        """Of all prediction files together."""
        config = self.config
        cells = len(config.train_views) * len(config.test_views)
        rows = cells * len(point_trials(config, needs_code=True))
        return 4 * rows * len(self.dataset.splits["test"]) * len(self.dataset.class_names)


def _fitted(value: int | None) -> int:
    assert value is not None, "the settings have not been fitted to the data"
    return value
