"""Numbers that views are made with: matrices of blurs and averages, curves of distortion, principal components."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from sklearn.decomposition import PCA

from blurjax.views.functions import Basis, Matrices
from blurjax.views.image_quality import gaussian_blur_matrix

MOST_PCA_IMAGES, MOST_PCA_BYTES = 20_000, 2**32
SMALLEST_SIGMA, SIGMAS = 0.2, 24
"""Of the curve that blurs are read from: pixels, and how many between it and the size of the image."""


def candidate_sigmas(shape: tuple[int, int, int]) -> np.ndarray:
    """Returns standard deviations f64[SIGMAS] in pixels, from hardly visible to the size of the image."""
    return np.geomspace(SMALLEST_SIGMA, max(shape[:2]), SIGMAS)


def gaussian(sigma: float, shape: tuple[int, int, int]) -> Matrices:
    """Returns the Gaussian blur of a standard deviation in pixels, for images of a shape (H, W, C)."""
    height, width, _ = shape
    return Matrices(_blur_matrix(sigma, height), _blur_matrix(sigma, width))


@lru_cache(maxsize=256)
def _blur_matrix(sigma: float, size: int) -> np.ndarray:
    return np.asarray(gaussian_blur_matrix(sigma, size))


def sigma_of_distortion(
    sigmas: np.ndarray, distortion: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the sigmas at which a curve of distortions reaches its targets.

    Interpolated between logarithms, where distortions are close to straight.

    Args:
      sigmas: f64[S], ascending.
      distortion: f64[S], mean squared errors, 0 where a blur is so weak that 8 bits do not show it.
      target: f64[T], mean squared errors.

    Returns:
      f32[T], clamped to the range of sigmas, and bool[T]: whether the curve reaches the target.
    """
    rising = np.maximum.accumulate(distortion)
    first = int(np.argmax(rising > 0))
    with np.errstate(divide="ignore"):
        wanted, known = np.log(target), np.log(rising[first:])
    found = np.exp(np.interp(wanted, known, np.log(sigmas[first:])))
    return found.astype(np.float32), (wanted >= known[0]) & (wanted <= known[-1])


def averaging(shape: tuple[int, int, int], values: int) -> Matrices:
    """Returns the map that averages images of a shape (H, W, C) to at most so many values and enlarges them again."""
    height, width = reduced_size(shape, values)
    return Matrices(averaging_matrix(shape[0], height), averaging_matrix(shape[1], width))


def reduced_size(shape: tuple[int, int, int], values: int) -> tuple[int, int]:
    """Returns the largest h * w with h * w * C <= values, as square as can be.

    Args:
      shape: (H, W, C) of the images.
      values: at least C.
    """
    height, width, channels = shape
    pixels = values // channels
    heights = range(1, min(height, pixels) + 1)
    sizes = [(h, min(width, pixels // h)) for h in heights]
    return max(sizes, key=lambda size: (size[0] * size[1], -abs(size[0] - size[1]), size[1]))


def averaging_matrix(size: int, fewer: int) -> np.ndarray:
    """Returns f32[size,size]: averages pixels to `fewer` by area, and interpolates linearly between their centres."""
    edges = np.arange(fewer + 1) * size / fewer
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    averaged = np.maximum(overlap, 0) * fewer / size
    centres = np.clip((pixels + 0.5) * fewer / size - 0.5, 0, fewer - 1)
    weights = np.maximum(1 - np.abs(centres[:, None] - np.arange(fewer)), 0)
    return (weights @ averaged).astype(np.float32)


def principal_components(
    images: np.ndarray, positions: np.ndarray, count: int, rng: np.random.Generator, seed: int
) -> Basis:
    """Computes the first principal components of some images, of at most 20,000 of them and 4 GiB in float32.

    Randomised (Halko, Martinsson and Tropp 2011), in float32.

    Args:
      images: u8[N,H,W,C].
      positions: i32[n], of the images to take.
      count: how many components.
      rng: draws the images where there are more.
      seed: of the randomised method.
    """
    most = min(MOST_PCA_IMAGES, max(count, MOST_PCA_BYTES // (4 * images[0].size)))
    if len(positions) > most:
        positions = positions[np.sort(rng.choice(len(positions), most, replace=False))]
    values = images[positions].reshape(len(positions), -1).astype(np.float32) / np.float32(255)
    count = min(count, *values.shape)
    fitted = PCA(count, copy=False, svd_solver="randomized", random_state=seed).fit(values)
    return Basis(np.float32(fitted.mean_), np.float32(fitted.components_))
