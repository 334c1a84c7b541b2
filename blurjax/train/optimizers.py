"""Optimizers by name: the direction of a step, between the clipping of the gradient and the schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from blurjax.config.registry import resolve
from blurjax.config.settings import OPTIMIZERS, TrainingConfig
from blurjax.train.state import Hyperparameters

MakeOptimizer = Callable[[Hyperparameters], optax.GradientTransformation]


def register_optimizer(name: str, make: Callable[[], optax.GradientTransformation]) -> None:
    """Makes an optimizer known to settings.

    Args:
      name: what settings call it.
      make: returns the transformation of a clipped gradient to a direction, such as `optax.scale_by_adam`; learning
        rate, schedule and decoupled weight decay are applied after it.

    Raises:
      ValueError: another optimizer has the name.
    """
    OPTIMIZERS.register(name, make)


def adam() -> optax.GradientTransformation:
    """Returns Adam with optax's constants (Kingma and Ba 2015); with decoupled decay it is AdamW."""
    return optax.scale_by_adam()


def nesterov() -> optax.GradientTransformation:
    """Returns Nesterov momentum of 0.9."""
    return optax.trace(0.9, nesterov=True)


def make_optimizer(config: TrainingConfig, num_steps: int) -> MakeOptimizer:
    """Returns a function from hyperparameters, which may be traced, to an optax transformation.

    The rate rises linearly over the warm-up and falls to 0 along a cosine. Weight decay is decoupled (Loshchilov and
    Hutter 2019) and spares biases and other vectors.
    """
    warmup = round(config.warmup_fraction * num_steps)
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup, num_steps)
    direction = resolve(OPTIMIZERS[config.optimizer])

    def is_matrix(params: Any) -> Any:
        return jax.tree.map(lambda p: p.ndim > 1, params)

    def optimizer(hyperparameters: Hyperparameters) -> optax.GradientTransformation:
        rate = hyperparameters.learning_rate
        return optax.chain(
            optax.clip_by_global_norm(config.gradient_clip),
            direction(),
            optax.add_decayed_weights(hyperparameters.weight_decay, mask=is_matrix),
            optax.scale_by_schedule(lambda count: -rate * schedule(count)),
        )

    return optimizer
