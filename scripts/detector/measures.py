"""Classical measures of sharpness that need no reference image; the larger, the sharper.

Pure functions of luma f32[...,H,W] in [0,1] with one number per image, for any leading axes, under jit
and vmap; H and W are at least 16. All but `perceptual_sharpness` and `high_frequency_share` grow with
the square of contrast, so that a sharp image of fog scores less than a blurred one of a forest. All of
them depend on the size: compare images that were reduced to the same one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from blurjax.engine import Array
from blurjax.views import image_quality

HIGH_FREQUENCY = 0.25
"""Cycles per pixel, half of Nyquist's limit, from which `high_frequency_share` counts."""
BLURRING_WIDTH = 11
"""Pixels of the mean with which `perceptual_sharpness` blurs an image again; scikit-image's default."""
LEAST_GRADIENT = float(np.finfo(np.float64).eps)
"""Gradients below count as this much in `perceptual_sharpness`, so that a flat image has a value."""


def laplacian_variance(luma: Array) -> Array:
    """Variance of the Laplacian, f32[...] in [0,16].

    Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy"; 255^2 times as large
    is OpenCV's `Laplacian(...).var()` of 8-bit values.
    """
    return image_quality.laplacian_variance(luma[..., None])


@jax.jit
def tenengrad(luma: Array) -> Array:
    """Mean squared gradient by Sobel's kernels, f32[...] in [0,20].

    Tenenbaum 1970, "Accommodation in computer vision"; Krotkov 1987, "Focusing". Without a threshold,
    as in Pertuz et al. 2013, "Analysis of focus measure operators for shape-from-focus". The border
    is mirrored without repeating the edge pixel (OpenCV's default).
    """
    squares = [jnp.square(_sobel(luma, axis, "reflect")) for axis in (-2, -1)]
    return jnp.mean(squares[0] + squares[1], axis=(-2, -1))


@jax.jit
def brenner(luma: Array) -> Array:
    """Mean squared difference of pixels two apart, f32[...] in [0,1].

    Brenner et al. 1976, "An automated microscope for cytologic research". The mean of both
    directions, so that it stays the same when an image is turned; Brenner's was horizontal.
    """
    means = [jnp.mean(jnp.square(_difference(luma, axis)), axis=(-2, -1)) for axis in (-2, -1)]
    return (means[0] + means[1]) / 2


@jax.jit
def high_frequency_share(luma: Array) -> Array:
    """Share of the power spectrum at frequencies of at least 0.25 cycles per pixel, f32[...] in [0,1].

    The frequency is the radius in the plane of both directions. The window is Hann's, the mean under
    it is removed before; white noise has 1 - pi/16 = 0.80, an image without contrast 0. A measure of
    the family in Firestone et al. 1991, "Comparison of autofocus methods for automated microscopy".
    """
    height, width = luma.shape[-2:]
    rows, columns = (np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (height, width))
    window = np.outer(rows, columns).astype(np.float32)
    window = window.reshape((1,) * (luma.ndim - 2) + window.shape)
    mean = jnp.sum(luma * (window / window.sum()), axis=(-2, -1), keepdims=True)
    power = jnp.square(jnp.abs(jnp.fft.rfft2((luma - mean) * window)))
    # Of two opposite frequencies one is given, but in the columns of 0 and of Nyquist.
    weights = np.full((height, width // 2 + 1), 2, np.float32)
    weights[:, 0] = 1
    if width % 2 == 0:
        weights[:, -1] = 1
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    high = weights * (radius >= HIGH_FREQUENCY)
    total, above = (
        jnp.einsum("...ij,ij->...", power, w, precision="highest") for w in (weights, high)
    )
    return above / jnp.where(total > 0, total, 1)


@jax.jit
def perceptual_sharpness(luma: Array) -> Array:
    """1 minus the perceptual blur, f32[...] in [0,1]: how much gradients shrink when the image is blurred again.

    Crete et al. 2007, "The blur effect: perception and estimation with a new no-reference perceptual
    blur metric", as scikit-image computes it (`1 - measure.blur_effect`): blurred with a mean of 11
    pixels along each direction, the lesser sharpness of both directions. Does not depend on
    contrast; noise counts as sharpness. 0 for an image without contrast. One row or column more is
    left out at the upper and left border than at the others, so mirrored images differ a little.
    """
    return jnp.minimum(*(_lost_gradient(luma, axis) for axis in (-2, -1)))


MEASURES: dict[str, Callable[[Array], Array]] = {
    "laplacian_variance": laplacian_variance,
    "tenengrad": tenengrad,
    "brenner": brenner,
    "high_frequency_share": high_frequency_share,
    "perceptual_sharpness": perceptual_sharpness,
}
"""Name -> measure of luma; the larger, the sharper."""


def _lost_gradient(luma: Array, axis: int) -> Array:
    """Share of the gradient along an axis, f32[...], that is lost when the image is blurred along it."""
    # Sums of shifted copies, not running ones: a flat region stays flat to the last bit.
    margins = [(BLURRING_WIDTH // 2,) * 2 if a == axis else (0, 0) for a in (-2, -1)]
    padded = jnp.pad(luma, [(0, 0)] * (luma.ndim - 2) + margins, mode="symmetric")
    shifted = [_cut(padded, axis, k, luma.shape[axis]) for k in range(BLURRING_WIDTH)]
    blurred = functools.reduce(jnp.add, shifted) / BLURRING_WIDTH
    before, after = (
        jnp.maximum(jnp.abs(_sobel(image, axis, "symmetric")), LEAST_GRADIENT)[..., 2:-1, 2:-1]
        for image in (luma, blurred)
    )
    lost = jnp.maximum(before - after, 0)
    return jnp.sum(lost, axis=(-2, -1)) / jnp.sum(before, axis=(-2, -1))


def _sobel(luma: Array, axis: int, border: str) -> Array:
    """Sobel's derivative along an axis, f32[...,H,W] in [-4,4]: kernels [-1,0,1] and [1,2,1]."""
    across = -1 if axis == -2 else -2
    margins = [(0, 0)] * (luma.ndim - 2) + [(1, 1), (1, 1)]
    slope = _difference(jnp.pad(luma, margins, mode=border), axis)
    before, at, after = (_cut(slope, across, k, luma.shape[across]) for k in range(3))
    return before + 2 * at + after


def _difference(luma: Array, axis: int) -> Array:
    """Each pixel minus the one two before it along an axis, which gets two shorter."""
    length = luma.shape[axis] - 2
    return _cut(luma, axis, 2, length) - _cut(luma, axis, 0, length)


def _cut(luma: Array, axis: int, start: int, length: int) -> Array:
    return jax.lax.slice_in_dim(luma, start, start + length, axis=axis)
