"""Augmentation of training images; of classifiers, after the view and drawn alike in all views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from blurjax.engine import Array, Scalar, devices_sharing, key, own_part

GREY = 0.5
"""The colour of a cutout: models subtract it from images, so that it is 0 as in DeVries and Taylor (2017)."""


class Drawn(NamedTuple):
    """Changes of each image of a batch; None: no change of the kind."""

    mirrored: Array | None
    """bool[B]."""
    offset: Array | None
    """i32[B,2], rows and columns of the padded image that lie before its window."""
    centre: Array | None = None
    """i32[B,2], row and column of the pixel around which a square is cut out."""


@dataclass(frozen=True)
class Augmentation:
    """The kinds of changes that training images undergo.

    Attributes:
      num_train: images of the train split, each of which a trial sees once in as many examples.
      flip: whether images are mirrored left to right: never, each with probability 1/2, or alternating, each every
        second time that it is seen and half of them the first time (Jordan 2024, arXiv:2404.00498).
      shift: largest shift in pixels, in both directions.
      cutout: side of a square in pixels that is made grey. Its centre is any pixel, so that a part of it may lie
        outside (DeVries and Taylor 2017, arXiv:1708.04552).
      stream: the random stream of flips and shifts.
    """

    num_train: int = 1
    flip: Literal["none", "random", "alternating"] = "none"
    shift: int = 0
    cutout: int = 0
    stream: str = "augmentation"

    def draw(self, seed: Scalar, step: Scalar, batch: Array, size: int) -> Drawn:
        """Draws the changes of a batch, or of this device's part of it, from (seed, step).

        Args:
          seed: u32 scalar.
          step: i32 scalar.
          batch: i32[B], indices of the images.
          size: height and width of an image.
        """
        count = len(batch) * devices_sharing()
        flip_key, shift_key = jax.random.split(key(seed, self.stream, step))
        mirrored, offset, centre = None, None, None
        if self.flip == "random":
            mirrored = own_part(jax.random.bernoulli(flip_key, shape=(count,)))
        elif self.flip == "alternating":
            times_seen = own_part(step * count + jnp.arange(count)) // self.num_train
            first = jax.vmap(lambda index: jax.random.bernoulli(key(seed, "mirrored first", index)))
            mirrored = first(batch) ^ (times_seen % 2 == 1)
        if self.shift:
            offset = own_part(jax.random.randint(shift_key, (count, 2), 0, 2 * self.shift + 1))
        if self.cutout:
            centre = own_part(jax.random.randint(key(seed, "cutout", step), (count, 2), 0, size))
        return Drawn(mirrored, offset, centre)

    def apply(self, images: Array, drawn: Drawn) -> Array:
        """Mirrors images f32[B,H,W,C], shifts them, repeating the border, and cuts squares out, as drawn."""
        if drawn.mirrored is not None:
            images = jnp.where(drawn.mirrored[:, None, None, None], images[:, :, ::-1], images)
        if drawn.offset is not None:
            amount = (self.shift, self.shift)
            padded = jnp.pad(images, ((0, 0), amount, amount, (0, 0)), mode="edge")
            images = jax.vmap(
                lambda image, offset: jax.lax.dynamic_slice(
                    image, (offset[0], offset[1], 0), images.shape[1:]
                )
            )(padded, drawn.offset)
        if drawn.centre is not None:
            in_square = jax.vmap(lambda centre: self._square(centre, images.shape[1:3]))
            images = jnp.where(in_square(drawn.centre)[..., None], GREY, images)
        return images

    def _square(self, centre: Array, size: tuple[int, ...]) -> Array:
        """Returns which pixels, bool[H,W], lie in the square around one."""
        rows, columns = (
            (jnp.arange(length) >= middle - self.cutout // 2)
            & (jnp.arange(length) < middle - self.cutout // 2 + self.cutout)
            for length, middle in zip(size, centre, strict=True)
        )
        return rows[:, None] & columns[None, :]
