"""How good or blurry images are: SSIM, variance of the Laplacian, power spectra; and a blur.

Pure functions of images f32[...,H,W,C] in [0,1] with one number (or spectrum) per image, for any
leading axes, under jit and vmap. All are safe in float32: no variance is a rounded difference of large
squares.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from blurjax.engine import Array, Scalar

REC_601 = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2
WINDOW = 7
"""Pixels of a side of the windows of SSIM."""


@jax.jit
def ssim(a: Array, b: Array) -> Array:
    """Structural similarity, f32[...] in [-1,1], of each pair of 8-bit images in a and b, f32[...,H,W,C].

    Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity",
    equation 13, as scikit-image computes it by default: uniform 7x7 windows, sample covariance,
    K1 = 0.01, K2 = 0.03, data range 1, the mean over all windows that lie inside the image and over
    channels. H and W are at least 7. Values are rounded to multiples of 1/255, as all views are.
    """
    channels, count = a.shape[-1], WINDOW**2
    # One long axis, on which neighbours are `channels` apart, vectorises better than few channels.
    a, b = (jnp.round(x.reshape(*x.shape[:-2], -1) * 255.0).astype(jnp.int32) for x in (a, b))
    sum_a, sum_b, squares, products = (
        _window_sums(x, channels) for x in (a, b, a * a + b * b, a * b)
    )
    # Whole numbers below 2^31: differences of large squares, which float32 would round.
    means, square_means = 2 * sum_a * sum_b, sum_a * sum_a + sum_b * sum_b
    covariances, variances = 2 * count * products - means, count * squares - square_means
    c1, c2 = SSIM_C1 * (255 * count) ** 2, SSIM_C2 * 255**2 * count * (count - 1)
    similarity = (means + c1) / (square_means + c1) * ((covariances + c2) / (variances + c2))
    # In two steps: one long float32 sum of nearly equal numbers would round the same way each time.
    return jnp.mean(jnp.mean(similarity, axis=-1), axis=-1)


def grey(images: Array) -> Array:
    """Grey images, f32[...,H,W]: Rec. 601 luma of [...,H,W,3], the one channel of [...,H,W,1]."""
    if images.shape[-1] == 1:
        return images[..., 0]
    # Not a matrix product, which accelerators would round to bfloat16.
    return jnp.sum(images * jnp.asarray(REC_601).reshape((1,) * (images.ndim - 1) + (3,)), axis=-1)


def laplacian_variance(images: Array) -> Array:
    """Variance of the Laplacian, f32[...], of the grey images: low where blurry.

    Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy". The kernel is
    [[0,1,0],[1,-4,1],[0,1,0]]; the border is mirrored without repeating the edge pixel (OpenCV's
    default). Values are in [0,1]: on 8-bit values the result is 255^2 times as large.
    """
    luma = grey(images)
    height, width = luma.shape[-2:]
    padding = [(0, 0)] * (luma.ndim - 2) + [(1, 1), (1, 1)]
    padded = jnp.pad(luma, padding, mode="reflect")
    rows = padded[..., :height, 1:-1] + padded[..., 2:, 1:-1]
    columns = padded[..., 1:-1, :width] + padded[..., 1:-1, 2:]
    return jnp.var(rows + columns - 4 * luma, axis=(-2, -1))


def radial_power_spectrum(images: Array) -> Array:
    """Mean power at each radius of frequency, f32[...,R], of the grey images without their mean.

    R is min(H,W) // 2 + 1. Power is |FFT|^2 / (H*W): its mean over all frequencies is the image's
    variance, and white noise of variance v has a flat spectrum v. Entry k is the mean over the
    frequencies whose radius, in cycles per shorter side, rounds to k; the corners beyond Nyquist
    (k = R - 1) are left out.
    """
    luma = grey(images)
    luma = luma - jnp.mean(luma, axis=(-2, -1), keepdims=True)
    power = jnp.square(jnp.abs(jnp.fft.fft2(luma))) / (luma.shape[-2] * luma.shape[-1])
    radii, counts = _radii(luma.shape[-2], luma.shape[-1])
    inside = np.flatnonzero(radii < counts.size)
    flat = power.reshape(*luma.shape[:-2], -1)[..., inside]
    sums = jnp.zeros((*luma.shape[:-2], counts.size), flat.dtype).at[..., radii[inside]].add(flat)
    return sums / counts.reshape((1,) * (luma.ndim - 2) + (-1,))


def filter_radially(images: Array, gain: Array) -> Array:
    """Images f32[B,H,W,C] with each frequency multiplied by the gain f32[R] of its radius.

    Radii are those of `radial_power_spectrum`, of which a gain multiplies the root; frequencies
    beyond Nyquist get the last one.
    """
    height, width = images.shape[-3:-1]
    radii, _ = _radii(height, width)
    of_frequency = np.minimum(radii, gain.shape[-1] - 1).reshape(height, width)[:, : width // 2 + 1]
    frequencies = jnp.fft.rfft2(images, axes=(-3, -2)) * gain[of_frequency][None, ..., None]
    return jnp.fft.irfft2(frequencies, s=(height, width), axes=(-3, -2))


def gaussian_blur_matrix(sigma: Scalar | float, size: int) -> Array:
    """The matrix, f32[size,size], of a Gaussian blur along one side of an image.

    `rows @ image @ columns.T` blurs image[H,W] with matrices of sizes H and W. Each row is a
    sampled Gaussian of sum 1 whose tails are folded back at the border, edge pixel repeated, as
    scipy.ndimage.gaussian_filter does with mode="reflect" and no truncation.

    Args:
      sigma: standard deviation in pixels, f32 scalar, 0 (the identity, exactly) to about 2 * size;
        may be traced.
      size: pixels of the side, static.
    """
    # Every off-diagonal weight of the smallest sigma underflows to 0.
    sigma = jnp.maximum(jnp.asarray(sigma, jnp.float32), 1e-3)
    pixels = np.arange(size)
    period = 2 * size * np.arange(-4, 5)[:, None, None]
    offset = np.stack([period + pixels[None, None, :], period - 1 - pixels[None, None, :]])
    distance = jnp.asarray(offset - pixels[:, None], jnp.float32)
    weights = jnp.exp(-0.5 * jnp.square(distance / sigma)).sum(axis=(0, 1))
    return weights / weights.sum(axis=1, keepdims=True)


def _window_sums(values: Array, channels: int) -> Array:
    """Sums i32[...,H-6,(W-6)*C] over windows of values i32[...,H,W*C]."""
    for axis, step in ((values.ndim - 2, 1), (values.ndim - 1, channels)):
        stop = values.shape[axis] - (WINDOW - 1) * step
        starts = range(0, WINDOW * step, step)
        windows = [jax.lax.slice_in_dim(values, k, k + stop, axis=axis) for k in starts]
        values = functools.reduce(jnp.add, windows)
    return values


def _radii(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Radius of each of the H*W frequencies, in cycles per shorter side; how many have each."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :]
    side = min(height, width)
    radii = np.rint(side * np.hypot(rows, columns)).astype(np.int32).ravel()
    return radii, np.bincount(radii)[: side // 2 + 1]
