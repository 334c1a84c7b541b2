"""Random keys: one named stream for one purpose, all derived from a trial's integer seed."""

from __future__ import annotations

import zlib

import jax

from blurjax.engine.types import Key, Scalar


def key(seed: Scalar | int, stream: str, position: Scalar | int = 0) -> Key:
    """The key of a stream at a position (a step, an epoch, an example's index).

    Threefry, whatever `jax_default_prng_impl` says: under vmap, `rbg` draws for every trial from the first trial's
    key, and a trial of a sweep would differ from the same trial alone.

    Args:
      seed: u32 or i32 scalar, may be traced.
      stream: what the randomness is for, such as "classifier" or "augmentation"; folded in by its crc32.
      position: i32 scalar, may be traced.
    """
    root = jax.random.key(seed, impl="threefry2x32")
    return jax.random.fold_in(jax.random.fold_in(root, zlib.crc32(stream.encode())), position)
