"""What a trial carries from step to step, and the optimizer that moves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from blurjax.config.sections import TrainingConfig
from blurjax.engine.random import key
from blurjax.engine.types import Params, Scalar, Trial

MakeOptimizer = Callable[[Trial], optax.GradientTransformation]


class TrainState(NamedTuple):
    """Arrays only; the model and the optimizer live beside it."""

    step: Scalar
    """i32, steps taken: the whole position in the data."""
    params: Params
    opt_state: Any
    trial: Trial
    failed_step: Scalar
    """i32, the step at which something was not finite and the trial was frozen; -1: never."""


def make_optimizer(config: TrainingConfig, num_steps: int) -> MakeOptimizer:
    """Returns trial -> optax transformation; learning rate and weight decay may be traced.

    The rate rises linearly over the warm-up and falls to 0 along a cosine. Weight decay is decoupled (Loshchilov and
    Hutter 2019) and spares biases.
    """
    warmup = round(config.warmup_fraction * num_steps)
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup, num_steps)
    direction = (
        optax.scale_by_adam() if config.optimizer == "adamw" else optax.trace(0.9, nesterov=True)
    )

    def optimizer(trial: Trial) -> optax.GradientTransformation:
        return optax.chain(
            optax.clip_by_global_norm(config.gradient_clip),
            direction,
            optax.add_decayed_weights(trial.weight_decay, mask=_is_kernel),
            optax.scale_by_schedule(lambda count: -trial.learning_rate * schedule(count)),
        )

    return optimizer


def init(
    trial: Trial, *, model: nn.Module, example: tuple, stream: str, optimizer: MakeOptimizer
) -> TrainState:
    """The state before the first step; equal seeds give equal parameters.

    Args:
      trial: scalars.
      model: a module.
      example: what the module is called with.
      stream: name of the random stream that parameters are drawn from.
      optimizer: from `make_optimizer`.
    """
    params = model.init(key(trial.seed, stream), *example)["params"]
    return TrainState(
        step=jnp.int32(0),
        params=params,
        opt_state=optimizer(trial).init(params),
        trial=trial,
        failed_step=jnp.int32(-1),
    )


def apply_gradients(
    state: TrainState, loss: Scalar, grads: Params, optimizer: MakeOptimizer
) -> TrainState:
    """One update; a trial with a loss, gradient or parameter that is not finite stays as it was, for good."""
    updates, opt_state = optimizer(state.trial).update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    finite = jnp.isfinite(loss) & _all_finite(grads) & _all_finite(params)
    alive = finite & (state.failed_step < 0)
    params, opt_state = jax.tree.map(
        lambda new, old: jnp.where(alive, new, old),
        (params, opt_state),
        (state.params, state.opt_state),
    )
    failed_step = jnp.where(alive | (state.failed_step >= 0), state.failed_step, state.step)
    return TrainState(state.step + 1, params, opt_state, state.trial, failed_step)


def _all_finite(tree: Any) -> Scalar:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def _is_kernel(params: Params) -> Any:
    return jax.tree.map(lambda p: p.ndim > 1, params)
