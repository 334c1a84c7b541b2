"""Batches of images, gathered on the device, and the loops over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

import jax
import jax.numpy as jnp

from blurjax.engine import Array, Metrics, Scalar, loop_steps, share_batches


class Batch(TypedDict):
    """A batch of images and what belongs to them."""

    image: Array
    """f32[B,H,W,C] in [0,1]."""
    label: Array
    """i32[B]."""
    index: Array
    """i32[B], position of the image in the data set."""
    mask: Array
    """bool[B], False where the batch is padded."""


def gather_batch(data: dict[str, Array], positions: Array, step: Scalar | int) -> Batch:
    """Gathers the batch of one step from data on the device.

    Args:
      data: "image" u8[M,H,W,C], "label" i32[M], "index" i32[M]; or with axes [S,B] in place of [M] where the examples
        lie in the order of the steps already.
      positions: i32[S,B], -1 where a batch is padded; else rows of data, unless these lie in order.
      step: row of positions.
    """
    own = jax.lax.dynamic_index_in_dim(positions, step, keepdims=False)
    if data["label"].ndim == 2:
        found = {
            name: jax.lax.dynamic_index_in_dim(array, step, keepdims=False)
            for name, array in data.items()
        }
    else:
        found = {name: array[jnp.maximum(own, 0)] for name, array in data.items()}
    return {
        "image": found["image"].astype(jnp.float32) / 255.0,
        "label": found["label"],
        "index": found["index"],
        "mask": own >= 0,
    }


def training_loop(
    step: Callable[[Any, Any, Batch], tuple[Any, Metrics]], capacity: int
) -> Callable[..., tuple[Any, Metrics]]:
    """Makes the training of one trial, as `loop_steps` does, over batches that `gather_batch` gathers.

    Args:
      step: (state, view_parameters, batch) -> (state, metrics).
      capacity: the most steps in one call.

    Returns:
      (state, view_parameters, data, positions, start, length) -> (state, metrics [capacity]); view_parameters are the
      same in all steps.
    """
    return _share(_loop(step, capacity), out_axes=None)


def evaluation_loop(
    eval_step: Callable[[Any, Any, Batch], Metrics], capacity: int
) -> Callable[..., Metrics]:
    """Makes a loop as `training_loop` does, for a step (variables, view_parameters, batch) -> metrics [B,...]."""

    def step(variables: Any, views: Any, batch: Batch) -> tuple[Any, Metrics]:
        return variables, eval_step(variables, views, batch)

    run = _loop(step, capacity)

    def evaluate(*arguments: Any) -> Metrics:
        return run(*arguments)[1]

    return _share(evaluate, out_axes=1)


def _loop(step: Callable[..., Any], capacity: int) -> Callable[..., Any]:
    def run(state: Any, views: Any, data: Any, positions: Array, start: Any, length: Any) -> Any:
        def step_on(state: Any, batch: Batch) -> tuple[Any, Metrics]:
            return step(state, views, batch)

        def get_batch(batches: tuple[dict[str, Array], Array], i: Scalar) -> Batch:
            return gather_batch(*batches, i)

        return loop_steps(step_on, get_batch, capacity)(state, (data, positions), start, length)

    return run


def _share(run: Callable[..., Any], out_axes: int | None) -> Callable[..., Any]:
    """Spreads what lies in the order of the steps over the devices that share batches: each has some columns."""

    def shared(state: Any, views: Any, data: Any, positions: Array, start: Any, length: Any) -> Any:
        of_data = 1 if data["label"].ndim == 2 else None
        spread = share_batches(run, (None, None, of_data, 1, None, None), out_axes)
        return spread(state, views, data, positions, start, length)

    return shared
