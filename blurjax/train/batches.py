"""Batches of images, gathered on the device, and the loops over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from blurjax.engine import DATA_AXIS, Array, Metrics, Scalar, loop_steps


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
    batch: Batch = {
        "image": found["image"].astype(jnp.float32) / 255.0,
        "label": found["label"],
        "index": found["index"],
        "mask": own >= 0,
    }
    if DATA_AXIS in jax.sharding.get_abstract_mesh().axis_names:
        batch = jax.lax.with_sharding_constraint(batch, P(DATA_AXIS))
    return batch


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

    def step_on(state: Any, views_and_batch: tuple[Any, Batch]) -> tuple[Any, Metrics]:
        return step(state, *views_and_batch)

    def get_batch(data: tuple[Any, dict[str, Array], Array], i: Scalar) -> tuple[Any, Batch]:
        view_parameters, arrays, positions = data
        return view_parameters, gather_batch(arrays, positions, i)

    run = loop_steps(step_on, get_batch, capacity)
    return lambda state, view_parameters, data, positions, start, length: run(
        state, (view_parameters, data, positions), start, length
    )


def evaluation_loop(
    eval_step: Callable[[Any, Any, Batch], Metrics], capacity: int
) -> Callable[..., Metrics]:
    """Makes a loop as `training_loop` does, for a step (variables, view_parameters, batch) -> metrics."""
    run = training_loop(
        lambda params, views, batch: (params, eval_step(params, views, batch)), capacity
    )
    return lambda *args: run(*args)[1]
