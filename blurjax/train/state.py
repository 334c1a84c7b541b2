"""What a trial carries from step to step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from blurjax.engine.random import key
from blurjax.engine.types import Params, Scalar


class Hyperparameters(NamedTuple):
    """The values of one trial on the device: scalars, or arrays [T] in a sweep."""

    seed: Any
    """u32; every random stream of the trial is derived from it."""
    learning_rate: Any
    """f32, peak of the schedule."""
    weight_decay: Any
    """f32, decoupled."""
    bottleneck: Any
    """i32, floats of the code in use; 0 where nothing depends on the code."""
    members: Any
    """i32, which images it is trained on: 0 all of the train split, k + 1 all but fold k."""


class TrainedModel(NamedTuple):
    """One trial's model after its last step, on the host."""

    variables: Any
    failed_step: int
    """-1, or the step at which the trial was frozen."""


class TrainState(NamedTuple):
    """Arrays only; the model and the optimizer live beside it."""

    step: Scalar
    """i32, steps taken: the whole position in the data."""
    params: Params
    model_state: dict[str, Any]
    """The model's other collections, such as "batch_stats"; empty for most models."""
    opt_state: Any
    average: Params | None
    """Moving average of the parameters, where the settings ask for one."""
    hyperparameters: Hyperparameters
    failed_step: Scalar
    """i32, the step at which something was not finite and the trial was frozen; -1: never."""

    @property
    def variables(self) -> dict[str, Any]:
        """The variables for evaluation: with averaged parameters where there are some."""
        params = self.params if self.average is None else self.average
        return {"params": params, **self.model_state}


def init(
    hyperparameters: Hyperparameters,
    *,
    model: nn.Module,
    example: tuple,
    stream: str,
    optimizer: Callable[[Hyperparameters], optax.GradientTransformation],
    averaged: bool,
) -> TrainState:
    """Returns the state before the first step; equal seeds give equal parameters.

    Args:
      hyperparameters: scalars.
      model: a module.
      example: what the module is called with.
      stream: name of the random stream that parameters are drawn from.
      optimizer: from `make_optimizer`.
      averaged: whether to keep a moving average of the parameters.
    """
    variables = dict(model.init(key(hyperparameters.seed, stream), *example))
    params = variables.pop("params")
    return TrainState(
        step=jnp.int32(0),
        params=params,
        model_state=variables,
        opt_state=optimizer(hyperparameters).init(params),
        average=jax.tree.map(jnp.copy, params) if averaged else None,
        hyperparameters=hyperparameters,
        failed_step=jnp.int32(-1),
    )


def update(
    state: TrainState,
    loss: Scalar,
    grads: Params,
    model_state: dict[str, Any],
    *,
    optimizer: Callable[[Hyperparameters], optax.GradientTransformation],
    average_decay: float,
) -> TrainState:
    """Takes one step; a trial with a loss, gradient or variable that is not finite stays as it was, for good."""
    transformation = optimizer(state.hyperparameters)
    updates, opt_state = transformation.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    average = state.average
    if average is not None:
        average = optax.incremental_update(params, average, 1 - average_decay)
    leaves = jax.tree.leaves((loss, grads, params, model_state))
    alive = jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all() & (state.failed_step < 0)
    params, model_state, opt_state, average = jax.tree.map(
        lambda new, old: jnp.where(alive, new, old),
        (params, model_state, opt_state, average),
        (state.params, state.model_state, state.opt_state, state.average),
    )
    failed_step = jnp.where(alive | (state.failed_step >= 0), state.failed_step, state.step)
    return state._replace(
        step=state.step + 1,
        params=params,
        model_state=model_state,
        opt_state=opt_state,
        average=average,
        failed_step=failed_step,
    )
