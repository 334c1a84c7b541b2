"""Blurs of known kind and strength, made on the device from sharp images, to learn from and to be tested on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from blurjax.engine import Array, Key, Scalar
from blurjax.models.linear_code import cosines

STRENGTHS = tuple(float(s) for s in np.geomspace(0.25, 16, 26))
"""Standard deviations of the Gaussian blurs, in pixels, that another blur is compared with."""
MARGIN = 32
"""Pixels by which an image is continued, mirrored, beyond each edge to be blurred: the radius of the widest kernel."""
POINTS = 96
"""Of a path of motion."""
# Table K.1 of ITU-T T.81 (JPEG), for brightness at quality 50.
LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
)


def spread(sigma: Array, *, disc: Array) -> Array:
    """Draws the point spread function of a Gaussian, or of a lens out of focus: a disc.

    Args:
      sigma: f32[], standard deviation along an axis, in pixels; a disc has a radius of 2 sigma.
      disc: bool[].

    Returns:
      f32[2*MARGIN+1,2*MARGIN+1], of sum 1.
    """
    at = jnp.arange(-MARGIN, MARGIN + 1, dtype=jnp.float32)
    radius = jnp.hypot(at[:, None], at[None, :])
    gaussian = jnp.exp(-(radius**2) / (2 * jnp.maximum(sigma, 0.05) ** 2))
    # An edge one pixel wide stands for the share of a pixel that is covered.
    drawn = jnp.where(disc, jnp.clip(2 * sigma + 0.5 - radius, 0, 1), gaussian)
    return drawn / drawn.sum()


def shake(sigma: Array, key: Key) -> Array:
    """Draws the point spread function of a camera that moves: a path in any direction.

    One in three is a straight line at constant speed; the others bend, and linger here and there.

    Args:
      sigma: f32[], root of the mean variance along both axes, in pixels; a straight line is sqrt(24) sigma long.
      key: of the path.

    Returns:
      f32[2*MARGIN+1,2*MARGIN+1], of sum 1.
    """
    keys = jax.random.split(key, 3)
    time = jnp.linspace(-1, 1, POINTS)
    turn, faster, linger = jnp.where(
        jax.random.uniform(keys[0]) < 1 / 3, 0, jax.random.normal(keys[1], (3,))
    )
    angle = jax.random.uniform(keys[2], maxval=2 * jnp.pi) + turn * time
    exposure = jax.nn.softmax(faster * time + linger * jnp.cos(3 * jnp.pi * time))
    path = jnp.stack([jnp.cumsum(jnp.sin(angle)), jnp.cumsum(jnp.cos(angle))])
    path -= (path @ exposure)[:, None]
    path *= sigma / jnp.sqrt((path**2 @ exposure).mean())
    at = jnp.arange(-MARGIN, MARGIN + 1, dtype=jnp.float32)
    near = jnp.clip(1 - jnp.abs(path[:, :, None] - at[None, None]), 0, 1)
    drawn = jnp.einsum("i,iy,ix->yx", exposure, near[0], near[1])
    return drawn / drawn.sum()


def convolve(image: Array, drawn: Array) -> Array:
    """Convolves an image f32[H,W], mirrored at its edges, with a kernel f32[2*MARGIN+1,2*MARGIN+1]."""
    padded = jnp.pad(image, MARGIN, mode="symmetric")
    spectrum = jnp.fft.rfft2(padded) * jnp.fft.rfft2(drawn, s=padded.shape)
    full = jnp.fft.irfft2(spectrum, s=padded.shape)
    return full[2 * MARGIN :, 2 * MARGIN :][: image.shape[0], : image.shape[1]]


def compress(image: Array, quality: Array) -> Array:
    """Quantizes the cosine transform of blocks of 8x8 pixels as JPEG does (libjpeg's scale of qualities).

    Args:
      image: f32[H,W] in [0,1], H and W multiples of 8.
      quality: f32[] in [1,100].

    Returns:
      f32[H,W], clipped to [0,1].
    """
    scale = jnp.where(quality < 50, 50 / quality, 2 - quality / 50)
    steps = jnp.clip(jnp.round(scale * LUMINANCE), 1, 255)
    basis, (height, width) = cosines(8, 8), image.shape
    blocks = (255 * image - 128).reshape(height // 8, 8, width // 8, 8)
    coefficients = jnp.einsum("ui,aibj,vj->aubv", basis, blocks, basis)
    steps = steps[None, :, None, :]
    quantized = jnp.round(coefficients / steps) * steps
    restored = jnp.einsum("ui,aubv,vj->aibj", basis, quantized, basis)
    return jnp.clip((restored.reshape(height, width) + 128) / 255, 0, 1)


def encode(image: Array, sigma: Array) -> Array:
    """Reconstructs an image from its lowest frequencies: what a linear autoencoder keeps of it.

    Args:
      image: f32[H,W].
      sigma: f32[], of the Gaussian whose blur halves the first frequency that is lost, in pixels.
    """
    rows, columns = (jnp.asarray(cosines(size, size)) for size in image.shape)
    coefficients = rows @ image @ columns.T
    fy, fx = jnp.arange(len(rows)) / (2 * len(rows)), jnp.arange(len(columns)) / (2 * len(columns))
    cutoff = jnp.sqrt(2 * jnp.log(2.0)) / (2 * jnp.pi * jnp.maximum(sigma, 0.05))
    kept = jnp.hypot(fy[:, None], fx[None, :]) <= cutoff
    return rows.T @ (coefficients * kept) @ columns


def resampling(size: int, scale: Array, sharpness: Array) -> Array:
    """Returns the matrix f32[size,size] that resizes a line of pixels by `scale` about its first one, mirrored beyond.

    Args:
      size: of a line.
      scale: f32[], below 1 to reduce: a pixel is then a mean over 1 / scale of them.
      sharpness: f32[], of the cubic that interpolates (Keys 1981), 0.5 or so; 0 is the smoothest.
    """
    width = jnp.maximum(1.0, 1 / scale)
    centre = (jnp.arange(size) + 0.5) / scale - 0.5
    # Far enough for the widest reduction of a line and its mirror images.
    source = jnp.arange(-size, 7 * size)
    t = jnp.abs(centre[:, None] - source[None, :]) / width
    a = -sharpness
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * (t**3 - 5 * t**2 + 8 * t - 4)
    weights = jnp.select([t <= 1, t < 2], [near, far], 0.0)
    weights /= weights.sum(1, keepdims=True)
    mirrored = np.arange(-size, 7 * size) % (2 * size)
    mirrored = np.where(mirrored < size, mirrored, 2 * size - 1 - mirrored)
    return weights @ jax.nn.one_hot(mirrored, size)


def resize(image: Array, scale: Array, sharpness: Array | float = 0.5) -> Array:
    """Resizes an image f32[H,W] by `scale` about its corner, continued by its mirror image; the shape stays."""
    rows, columns = (resampling(size, scale, jnp.asarray(sharpness)) for size in image.shape)
    return rows @ image @ columns.T


def blur(image: Array, kind: Array, sigma: Array, key: Key) -> tuple[Array, Array]:
    """Blurs an image in one of the ways of `KINDS`.

    Args:
      image: f32[H,W], brightness in [0,1], H and W multiples of 8.
      kind: i32[], a position in `KINDS`.
      sigma: f32[] in [0.3,10], about the strength.
      key: of the path of motion and the like.

    Returns:
      The blurred image and its strength f32[]: the standard deviation, in pixels, of the Gaussian blur that changes
      this image as much (mean squared difference); 0 for sharp.
    """
    smooth = jax.random.uniform(jax.random.fold_in(key, 1), maxval=0.6)
    reduced = jnp.clip(0.6 / sigma, 0.15, 1)
    ways = (
        lambda: image,
        *[lambda: convolve(image, spread(sigma, disc=kind == 2))] * 2,
        lambda: convolve(image, shake(sigma, key)),
        lambda: encode(image, sigma),
        lambda: compress(image, jnp.clip(12 / sigma**1.5, 1, 100)),
        lambda: resize(resize(image, reduced), 1 / reduced, smooth),
    )
    blurred = jnp.clip(jax.lax.switch(kind, ways), 0, 1)
    return blurred, jnp.where(kind == 0, 0.0, strength(image, blurred))


def strength(image: Array, blurred: Array) -> Scalar:
    """Returns the standard deviation in pixels of the Gaussian blur that changes an image f32[H,W] as much."""
    rows, columns = (jnp.asarray(cosines(size, size)) for size in image.shape)
    power = (rows @ image @ columns.T) ** 2
    fy, fx = jnp.arange(len(rows)) / (2 * len(rows)), jnp.arange(len(columns)) / (2 * len(columns))
    squared = fy[:, None] ** 2 + fx[None, :] ** 2
    exponent = -2 * (jnp.pi * jnp.array(STRENGTHS)) ** 2
    lost = (1 - jnp.exp(exponent[:, None, None] * squared[None])) ** 2
    changes = jnp.einsum("syx,yx->s", lost, power)
    change = jnp.sum((image - blurred) ** 2)
    return jnp.interp(jnp.log(change + 1e-6), jnp.log(changes + 1e-6), jnp.array(STRENGTHS))
