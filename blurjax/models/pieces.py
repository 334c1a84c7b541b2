"""Batches in pieces: micro-batches whose arrays stay in the cache, one after another."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from blurjax.engine import Array

# Pixels of a micro-batch: at 32 to 128 channels, their shifts or transformed tiles take one to four megabytes.
MICRO_BATCH_PIXELS = 512


def nearest_divisor(number: int, wanted: int) -> int:
    """Returns the divisor of a number that is nearest to another one by its ratio, and the smaller of two; 1 of 0."""
    divisors = (n for n in range(1, number + 1) if number % n == 0)
    return min(divisors, key=lambda n: max(n / wanted, wanted / n), default=1)


def micro_batches(*arrays: Array) -> tuple[Array, ...]:
    """[B,...] -> [B/b,b,...]: b is the divisor nearest to the number of images whose arrays stay in the cache."""
    batch, height, width = arrays[0].shape[:3]
    images = nearest_divisor(batch, max(1, MICRO_BATCH_PIXELS // (height * width)))
    return tuple(a.reshape(batch // images, images, *a.shape[1:]) for a in arrays)


def one_after_another(function: Callable[[Array], Array], images: Array) -> Array:
    """A function's values of micro-batches, put together again."""
    (pieces,) = micro_batches(images)
    if len(pieces) == 1:
        return function(images)
    values = lax.map(function, pieces)
    return values.reshape(images.shape[0], *values.shape[2:])


def summed(function: Callable[..., Array], images: Array, dy: Array) -> Array:
    """The sum, in float32, of a function's values of micro-batches."""
    pieces = micro_batches(images, dy)
    if len(pieces[0]) == 1:
        return function(images, dy)

    def add(total: Array, piece: tuple[Array, ...]) -> tuple[Array, None]:
        return total + function(*piece).astype(total.dtype), None

    value = jax.eval_shape(function, images, dy)
    wide = jnp.promote_types(value.dtype, jnp.float32)
    # Zeros made of the arrays themselves vary over the same mesh axes as they do.
    zero = (images[0, 0, 0, 0] * 0 * dy[0, 0, 0, 0]).astype(wide)
    return lax.scan(add, jnp.broadcast_to(zero, value.shape), pieces)[0].astype(value.dtype)
