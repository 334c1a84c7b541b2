"""The gradient of a batch: of its pieces, one after another, on each of the devices that share it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from blurjax.engine import (
    DATA_AXIS,
    Array,
    Key,
    Params,
    Scalar,
    devices_sharing,
    own_part,
    sum_of_pieces,
    sum_over_devices,
)
from blurjax.runtime import UserError

LossFunction = Callable[[Params, dict[str, Any], Any, Key], tuple[Array, dict[str, Any]]]
"""(params, model_state, examples, key) -> (losses f32[B], model_state)."""


def mean_gradient(
    loss_fn: LossFunction,
    params: Params,
    model_state: dict[str, Any],
    examples: Any,
    mask: Array,
    key: Key,
    *,
    microbatches: int,
    together: int = 1,
) -> tuple[Scalar, Params, dict[str, Any]]:
    """Computes the mean of per-example losses and its gradient.

    Args:
      loss_fn: per-example losses of any number of examples.
      params: what the gradient is of.
      model_state: the model's other collections.
      examples: pytree of arrays [B,...], this device's part of a batch.
      mask: bool[B], which examples count.
      key: of the batch; each micro-batch has its own.
      microbatches: the least number of pieces that a batch is cut into, as far as `together` allows; each device has
        equally many. All pieces begin with the same model state, and their gradients are added. Equal results within
        rounding for models without dropout whose output for an example depends on that example alone, or on those that
        stay together with it; less memory, and on CPU faster where a piece stays in the cache.
      together: examples that follow each other in the batch and are never cut.

    Returns:
      The loss, the gradient, and the model state after the batch: of its floats the mean of those after the pieces,
      and all else as it is after the first piece.

    Raises:
      UserError: devices share the batch, and their parts are no multiple of `together`.
    """
    sharing, counted = devices_sharing(), jnp.sum(mask)
    if sharing > 1:
        counted = jax.lax.psum(counted, DATA_AXIS)
    counted = jnp.maximum(counted, 1)

    def piece_loss(
        params: Params, model_state: dict[str, Any], examples: Any, mask: Array, key: Key
    ) -> tuple[Scalar, dict[str, Any]]:
        values, model_state = loss_fn(params, model_state, examples, key)
        return jnp.sum(jnp.where(mask, values, 0.0)) / counted, model_state

    value_and_grad = jax.value_and_grad(piece_loss, has_aux=True)

    def of_piece(piece: Any) -> Any:
        examples, mask, number = piece
        own_key = jax.random.fold_in(key, number)
        (loss, state), grads = value_and_grad(params, model_state, examples, mask, own_key)
        floats, rest = _floats_and_rest(state)
        return (loss, grads, floats), [jnp.where(number == 0, leaf, 0) for leaf in rest]

    if microbatches == sharing == 1:
        (loss, model_state), grads = value_and_grad(params, model_state, examples, mask, key)
        return loss, grads, model_state
    if len(mask) % together:
        raise UserError(
            f"Of each batch a device has {len(mask)} images, and a model normalises {together} together; let fewer "
            "devices share a batch (compute.mesh), or make batches larger."
        )
    most = len(mask) // together
    at_least = min(math.ceil(microbatches / sharing), most)
    count = next(n for n in range(at_least, most + 1) if most % n == 0)
    numbers = own_part(jnp.arange(sharing * count))
    pieces = jax.tree.map(lambda leaf: leaf.reshape(count, -1, *leaf.shape[1:]), (examples, mask))
    total, rest = sum_of_pieces(of_piece, (*pieces, numbers))
    loss, grads, floats = sum_over_devices(total)
    floats = iter([leaf / (sharing * count) for leaf in floats])
    rest = iter([sum_over_devices(leaf) for leaf in rest])
    model_state = jax.tree.map(
        lambda leaf: next(floats if _is_float(leaf) else rest).astype(leaf.dtype), model_state
    )
    return loss, grads, model_state


def _floats_and_rest(tree: Any) -> tuple[list[Array], list[Array]]:
    """Returns the arrays of a pytree that hold floats, and the others, such as counts, flags and bits of keys."""
    leaves = jax.tree.leaves(tree)
    return [x for x in leaves if _is_float(x)], [x for x in leaves if not _is_float(x)]


def _is_float(array: Array) -> bool:
    return jnp.issubdtype(array.dtype, jnp.inexact)
