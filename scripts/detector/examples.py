"""Photographs of known blur to learn from: made on the device from small sharp images."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from blurjax.engine import Array, Key
from blurjax.sharpness.features import REGION, region_features
from detector.blurs import blur, compress, convolve, resize, spread

TILES = 4
"""Images that one photograph is made of."""
TILE = 96
"""Pixels: height and width of what is cut out of an image."""
SHARP, SHARP_SUBJECT, NOTHING = 0.4, 0.14, 0.02
"""Shares of photographs that are sharp, that are so in their first tile alone, and that show nothing."""
WEAKEST, STRONGEST = 0.7, 10.0
"""Of the blurs, about, as `blur` takes it."""
SKY_CONTRAST = 0.15
"""Of where nothing is to be seen, as part of that of a photograph that is blurred until nothing is."""
BLURS = (1, 2, 3, 3, 4, 5, 6)
"""Kinds of blur, in `KINDS`, all equally frequent: motion is the most various."""
OUT_OF_FOCUS = (1, 2)
"""Kinds of blur, in `KINDS`, behind a sharp subject."""


class Example(NamedTuple):
    """A photograph of R = TILES * (TILE / REGION)^2 regions, as the detector sees it, and the truth.

    Attributes:
      features: f16[R,STATISTICS].
      strengths: f32[R], of the blur of each region's tile; 0 where it is sharp, NaN where nothing is to be seen.
      kind: i32[], of the blur that is somewhere in it, in `KINDS`.
      blurry: bool[], False where the subject is sharp, or nothing is to be seen.
    """

    features: Array
    strengths: Array
    kind: Array
    blurry: Array


class Conditions(NamedTuple):
    """Under what a photograph is taken, the same for all of its tiles (scalars)."""

    scale: Array
    cubic: Array
    kind: Array
    sigma: Array
    contrast: Array
    brightness: Array
    noise: Array
    quality: Array


def make_example(key: Key, images: Array) -> Example:
    """Makes a photograph: sharp, blurred, of a sharp subject before a blurred background, or of nothing.

    The images are reduced by a random factor (so that they are as sharp as pixels can be), blurred, and then come low
    contrast (fog), noise (night), and JPEG compression as cameras use it, each at random, none of which is blur.

    Args:
      key: of everything that is random.
      images: u8[TILES,H,W], brightness, H and W at least TILE.
    """
    keys = jax.random.split(key, 3 + TILES)
    sort = jax.random.uniform(keys[0])
    nothing = sort < NOTHING
    subject = (sort >= SHARP) & (sort < SHARP + SHARP_SUBJECT)
    blurry = sort >= SHARP + SHARP_SUBJECT
    taken = _conditions(keys[1], subject, blurry)

    def tile(i: Array, key: Key, image: Array) -> tuple[Array, Array]:
        cut, turn, empty, noise = jax.random.split(key, 4)
        start = jax.random.randint(cut, (2,), 0, jnp.array(image.shape) - TILE + 1)
        sharp = jax.lax.dynamic_slice(image.astype(jnp.float32) / 255, start, (TILE, TILE))
        mirrored, turned = jax.random.bernoulli(turn, shape=(2,))
        sharp = jnp.where(mirrored, sharp[::-1], sharp)
        sharp = jnp.where(turned, sharp.T, sharp)
        sharp = jnp.clip(resize(sharp, taken.scale, taken.cubic), 0, 1)
        blurred, strength = blur(sharp, taken.kind, taken.sigma, keys[2])
        is_sharp = subject & (i == 0)
        seen = jnp.where(is_sharp, sharp, blurred)
        is_empty = nothing | ((i > 0) & (jax.random.uniform(empty) < 0.1))
        sky = convolve(sharp, spread(jnp.float32(11), disc=jnp.bool_(False)))
        sky = sky.mean() + SKY_CONTRAST * (sky - sky.mean())
        seen = taken.contrast * jnp.where(is_empty, sky, seen) + taken.brightness
        seen = jnp.clip(seen + taken.noise * jax.random.normal(noise, seen.shape), 0, 1)
        seen = jnp.where(taken.quality < 100, compress(seen, taken.quality), seen)
        side = TILE // REGION
        regions = (jnp.round(255 * seen) / 255).reshape(side, REGION, side, REGION).swapaxes(1, 2)
        features = region_features(regions.reshape(-1, REGION, REGION)).astype(jnp.float16)
        strength = jnp.where(is_empty, jnp.nan, jnp.where(is_sharp, 0.0, strength))
        return features, jnp.full(len(features), strength)

    features, strengths = jax.vmap(tile)(jnp.arange(TILES), keys[3:], images)
    return Example(
        features.reshape(-1, features.shape[-1]), strengths.reshape(-1), taken.kind, blurry
    )


def _conditions(key: Key, subject: Array, blurry: Array) -> Conditions:
    keys = iter(jax.random.split(key, 16))

    def uniform(low: float = 0.0, high: float = 1.0) -> Array:
        return jax.random.uniform(next(keys), minval=low, maxval=high)

    def log_uniform(low: float, high: float) -> Array:
        return jnp.exp(uniform(math.log(low), math.log(high)))

    def sometimes(share: float, value: Array, otherwise: float) -> Array:
        return jnp.where(uniform() < share, value, otherwise)

    kind = jnp.where(blurry, jax.random.choice(next(keys), jnp.array(BLURS)), 0)
    out_of_focus = jax.random.choice(next(keys), jnp.array(OUT_OF_FOCUS))
    sigma = log_uniform(WEAKEST, STRONGEST)
    contrast = sometimes(0.5, uniform(0.12, 1.0), 1.0)
    return Conditions(
        scale=sometimes(0.75, log_uniform(0.3, 1.0), 1.0),
        cubic=uniform(0.0, 0.75),
        kind=jnp.where(subject, out_of_focus, kind),
        sigma=jnp.where(subject, jnp.maximum(sigma, 1.2), sigma),
        contrast=contrast,
        brightness=uniform() * (1 - contrast),
        noise=sometimes(0.4, log_uniform(0.5, 20.0), 0.0) / 255,
        quality=sometimes(0.5, uniform(40.0, 100.0), 100.0),
    )
