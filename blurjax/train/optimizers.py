"""Optimizers by name: the direction of a step, between the clipping of the gradient and the schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax
import optax.contrib

from blurjax.config import OPTIMIZERS, TrainingConfig, resolve
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


def muon() -> optax.GradientTransformation:
    """Returns Muon for parameters of two axes or more, and Adam for vectors (Jordan 2024; both from optax).

    A kernel [..., O] is orthogonalised as a matrix of O columns: that of a convolution [h,w,I,O] as [h·w·I,O]. Updates
    of matrices have the root mean square that Adam's tend to have, 0.2 (Liu et al. 2025, arXiv:2502.16982), so that one
    learning rate suits both.
    """

    def dimensions(params: Any) -> Any:
        def of(p: Any) -> optax.contrib.MuonDimensionNumbers | None:
            if p.ndim < 2:
                return None
            return optax.contrib.MuonDimensionNumbers(tuple(range(p.ndim - 1)), p.ndim - 1)

        return jax.tree.map(of, params)

    return optax.contrib.muon(
        learning_rate=-1.0,  # a direction: descent is left to the schedule
        muon_weight_dimension_numbers=dimensions,
        consistent_rms=0.2,
    )


def make_optimizer(
    config: TrainingConfig, num_steps: int, frozen: tuple[str, ...] = ()
) -> MakeOptimizer:
    """Returns a function from hyperparameters, which may be traced, to an optax transformation.

    The rate rises linearly over the warm-up and falls to 0 as `schedule` says. Weight decay is decoupled (Loshchilov
    and Hutter 2019) and spares biases and other vectors.

    Args:
      config: optimizer, schedule and limit of the gradient.
      num_steps: of the whole training.
      frozen: the parts of the model, first keys of its parameters, that stay as they are.
    """
    warmup = min(round(config.warmup_fraction * num_steps), num_steps - 1)
    if config.schedule == "triangular":
        rise = optax.linear_schedule(0.0, 1.0, warmup)
        fall = optax.linear_schedule(1.0, 0.0, num_steps - warmup)
        schedule = optax.join_schedules([rise, fall], [warmup])
    else:
        schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup, num_steps)
    limit = config.gradient_clip
    direction = resolve(OPTIMIZERS[config.optimizer])

    def is_matrix(params: Any) -> Any:
        return jax.tree.map(lambda p: p.ndim > 1, params)

    def is_frozen(params: Any) -> Any:
        return {name: name in frozen for name in params}

    def optimizer(hyperparameters: Hyperparameters) -> optax.GradientTransformation:
        rate = hyperparameters.learning_rate
        whole = optax.chain(
            optax.identity() if limit is None else optax.clip_by_global_norm(limit),
            direction(),
            optax.add_decayed_weights(hyperparameters.weight_decay, mask=is_matrix),
            optax.scale_by_schedule(lambda count: -rate * schedule(count)),
        )
        if not frozen:
            return whole
        return optax.partition({True: optax.set_to_zero(), False: whole}, is_frozen)

    return optimizer
