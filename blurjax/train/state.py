"""What a trial carries from step to step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from blurjax.engine import Array, Params, Scalar


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
    """One trial's model after training, on the host; or those of several, arrays [T,...]."""

    variables: Any
    failed_step: Any
    """i32, -1, or the step at which the trial was frozen."""


class Best(NamedTuple):
    """Trials as they were after the epoch with the highest validation accuracy so far, the first of equals."""

    variables: Any
    """[T,...]."""
    accuracy: Any
    """f32[T]; -1 before the first epoch."""


class TrainState(NamedTuple):
    """Arrays only; the model and the optimizer live beside it."""

    step: Scalar
    """i32, steps taken: the whole position in the data."""
    params: Params
    model_state: dict[str, Any]
    """The model's other collections, such as "batch_stats"; empty for most models."""
    opt_state: Any
    average: dict[str, Any] | None
    """Moving average of the parameters and of `model_state`, where the settings ask for one."""
    hyperparameters: Hyperparameters
    failed_step: Scalar
    """i32, the step at which something was not finite and the trial was frozen; -1: never."""

    @property
    def variables(self) -> dict[str, Any]:
        """The variables for evaluation: their average where there is one."""
        return {"params": self.params, **self.model_state} if self.average is None else self.average


def first_state(
    hyperparameters: Hyperparameters,
    variables: dict[str, Any],
    *,
    optimizer: Callable[[Hyperparameters], optax.GradientTransformation],
    averaged: bool,
) -> TrainState:
    """Returns the state before the first step.

    Args:
      hyperparameters: scalars.
      variables: of the model.
      optimizer: from `make_optimizer`.
      averaged: whether to keep a moving average of the variables.
    """
    params = variables["params"]
    return TrainState(
        step=jnp.int32(0),
        params=params,
        model_state={name: value for name, value in variables.items() if name != "params"},
        opt_state=optimizer(hyperparameters).init(params),
        average=jax.tree.map(jnp.copy, variables) if averaged else None,
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
        # The bias correction of Adam: without it, short runs would evaluate the first, random parameters, too.
        share = (average_decay - 1) / jnp.expm1((state.step + 1) * math.log(average_decay))

        def averaged(new: Array, old: Array) -> Array:
            if not jnp.issubdtype(old.dtype, jnp.inexact):  # it counts steps, or the like
                return new
            return (old + share * (new - old)).astype(old.dtype)

        average = jax.tree.map(averaged, {"params": params, **model_state}, average)
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


def better_of(best: Best, variables: Any, accuracy: Array) -> Best:
    """Returns `best` with those trials [T] replaced whose accuracy f32[T] is higher than it was then."""
    better = accuracy > best.accuracy

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(choose, Best(variables, accuracy), best)
