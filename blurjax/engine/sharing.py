"""Devices that share the batches of one trial: each has some of the pieces, and on CPUs their sum has the same bits.

A batch is cut into pieces. The values of the pieces are added in pairs, pairs of pairs and so on, first those of one
device, then, on CPUs, those of all devices: where both numbers are powers of two, in the same order on one device and
on many.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec as P

from blurjax.engine.mesh import DATA_AXIS
from blurjax.engine.types import Array


def share_batches(function: Callable[..., Any], in_axes: Any, out_axes: Any) -> Callable[..., Any]:
    """Spreads a function of batches, in a function that is swept, over the devices that share the batches of a trial.

    On a mesh without an axis `data` it is the function itself.

    Args:
      function: pure, of positional arguments; `devices_sharing`, `own_part` and `sum_over_devices` work in it.
      in_axes: a tuple with, for each argument, the axis of its arrays along which each device has a part, or None for
        one that every device has whole.
      out_axes: the axis along which the parts of the results are put together, or None for results that all devices
        compute alike.
    """

    def spec(axis: int | None) -> P:
        return P() if axis is None else P(*[None] * axis, DATA_AXIS)

    def shared(*args: Any) -> Any:
        if DATA_AXIS not in jax.sharding.get_abstract_mesh().axis_names:
            return function(*args)
        spread = jax.shard_map(
            function,
            in_specs=tuple(map(spec, in_axes)),
            out_specs=spec(out_axes),
            axis_names={DATA_AXIS},
            check_vma=False,
        )
        return spread(*args)

    return shared


def devices_sharing() -> int:
    """Returns how many devices share each batch; 1 outside of `share_batches`."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.shape[DATA_AXIS] if DATA_AXIS in mesh.manual_axes else 1


def own_part(array: Array) -> Array:
    """Returns this device's rows of an array [B,...] that every device computes for the whole batch."""
    sharing = devices_sharing()
    if sharing == 1:
        return array
    length = len(array) // sharing
    return jax.lax.dynamic_slice_in_dim(array, jax.lax.axis_index(DATA_AXIS) * length, length)


def sum_of_pieces(function: Callable[[Any], Any], pieces: Any) -> Any:
    """Sums a function's values over the pieces of a batch, one after another.

    Args:
      function: piece -> pytree of arrays, pure.
      pieces: pytree of arrays [K,...].

    Returns:
      The sum, added in pairs as far as K can be halved.
    """
    shapes = jax.eval_shape(function, jax.tree.map(lambda leaf: leaf[0], pieces))
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def total(pieces: Any) -> Any:
        count, each = len(jax.tree.leaves(pieces)[0]), function
        if count % 2 == 0 and count > 2:
            pieces = jax.tree.map(lambda leaf: leaf.reshape(2, -1, *leaf.shape[1:]), pieces)
            count, each = 2, total

        def add(i: Any, so_far: Any) -> Any:
            own = jax.tree.map(
                lambda leaf: jax.lax.dynamic_index_in_dim(leaf, i, keepdims=False), pieces
            )
            return jax.tree.map(jnp.add, so_far, each(own))

        # A loop of one round would be taken apart, and other operations merged than in one of several: other bits.
        end = jax.lax.optimization_barrier(jnp.int32(1)) if count == 1 else count
        return jax.lax.fori_loop(0, end, add, zero)

    return total(pieces)


def sum_over_devices(tree: Any) -> Any:
    """Sums a pytree of arrays of one dtype over the devices that share a batch.

    On CPUs each device sums its part of all arrays, in pairs. On accelerators the order is XLA's: that takes one
    collective in place of two, and on TPUs sends a third less (compiled: docs/scaling.md).
    """
    sharing, devices = devices_sharing(), jax.sharding.get_abstract_mesh().abstract_device
    if sharing == 1:
        return tree
    if devices is not None and devices.device_kind != "cpu":
        return jax.lax.psum(tree, DATA_AXIS)
    vector, unravel = ravel_pytree(tree)
    padded = jnp.pad(vector, (0, -len(vector) % sharing)).reshape(sharing, -1)
    rows = jax.lax.all_to_all(padded, DATA_AXIS, 0, 0)
    while len(rows) % 2 == 0:
        rows = rows[0::2] + rows[1::2]
    own = functools.reduce(operator.add, rows)
    return unravel(jax.lax.all_gather(own, DATA_AXIS, tiled=True)[: len(vector)])
