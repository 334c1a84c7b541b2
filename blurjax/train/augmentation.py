"""Augmentation of training images, after the view, drawn alike in all views."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from blurjax.engine.random import key
from blurjax.engine.types import Array, Scalar


class Augmentation(NamedTuple):
    """Changes of each image of a batch; None: no change of the kind."""

    mirrored: Array | None
    """bool[B]."""
    offset: Array | None
    """i32[B,2], rows and columns of the padded image that lie before its window."""


def draw(seed: Scalar, step: Scalar, batch_size: int, *, flip: bool, shift: int) -> Augmentation:
    """Draws the changes of a batch from (seed, step).

    Args:
      seed: u32 scalar.
      step: i32 scalar.
      batch_size: B.
      flip: whether to mirror half of the images left to right.
      shift: largest shift in pixels, in both directions.
    """
    flip_key, shift_key = jax.random.split(key(seed, "augmentation", step))
    return Augmentation(
        jax.random.bernoulli(flip_key, shape=(batch_size,)) if flip else None,
        jax.random.randint(shift_key, (batch_size, 2), 0, 2 * shift + 1) if shift else None,
    )


def augment(images: Array, drawn: Augmentation, shift: int) -> Array:
    """Mirrors and shifts images f32[B,H,W,C] as drawn, repeating the border."""
    if drawn.mirrored is not None:
        images = jnp.where(drawn.mirrored[:, None, None, None], images[:, :, ::-1], images)
    if drawn.offset is not None:
        padded = jnp.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode="edge")
        images = jax.vmap(
            lambda image, offset: jax.lax.dynamic_slice(
                image, (offset[0], offset[1], 0), images.shape[1:]
            )
        )(padded, drawn.offset)
    return images
