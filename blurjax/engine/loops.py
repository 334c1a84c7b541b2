"""Many steps of one trial in one program: a loop on the device, with the metrics of every step in a buffer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from blurjax.engine.types import Scalar


def loop_steps(
    step: Callable[[Any, Any], tuple[Any, Any]],
    get_batch: Callable[[Any, Any], Any],
    capacity: int,
) -> Callable[[Any, Any, Scalar | int, Scalar | int], tuple[Any, Any]]:
    """Makes a function that takes many steps of one trial.

    Args:
      step: (state, batch) -> (state, metrics), pure; metrics are a pytree of arrays, and the new state has the shapes
        and dtypes of the old one.
      get_batch: (data, i) -> the batch of step i, where i is a traced i32 scalar.
      capacity: the most steps in one call.

    Returns:
      run(state, data, start, length) -> (state, metrics), which takes the steps start to start + length - 1. Every
      leaf of the metrics has a leading axis [capacity], whose rows from `length` on are zero. `start` and `length`
      may be traced, so that one compiled program serves every length up to `capacity`; the metrics of steps beyond it
      are dropped.
    """

    def run(state: Any, data: Any, start: Scalar | int, length: Scalar | int) -> tuple[Any, Any]:
        def next_step(state: Any, data: Any, i: Scalar | int) -> tuple[Any, Any]:
            return step(state, get_batch(data, i))

        def body(i: Scalar, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            state, buffers = carry
            state, metrics = next_step(state, data, start + i)
            return state, jax.tree.map(lambda all_, new: all_.at[i].set(new), buffers, metrics)

        _, shapes = jax.eval_shape(next_step, state, data, start)
        buffers = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), shapes)
        return jax.lax.fori_loop(0, length, body, (state, buffers))

    return run
