"""What the detector sees of an image: how much neighbouring pixels differ, in regions and at several scales."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from blurjax.engine import Array

REGION = 32
"""Pixels: height and width of a region."""
LEVELS = 4
"""Scales: the region's own pixels, and means of 2x2, 4x4 and 8x8 of them."""
STATISTICS = 3 * 12 * LEVELS + 2
"""Features of a region."""
LEAST_DIFFERENCE = 0.5 / 255
"""Added to all differences of brightness, since those of 8-bit pixels are not known better."""


def region_starts(size: int) -> np.ndarray:
    """Returns where regions begin along an axis of `size` >= REGION pixels: evenly, the last one ends at the edge."""
    count = -(-size // REGION)
    return np.round(np.linspace(0, size - REGION, count)).astype(int)


def region_features(regions: Array) -> Array:
    """Describes regions by logarithms of how much their pixels differ.

    In four directions, first differences of neighbours, of pixels two apart and second differences; of each the mean
    of the absolute values, the root of the mean square and the largest, at each of `LEVELS` scales. All of them turn
    with the image, and none sees beyond its region.

    Args:
      regions: f32[N,REGION,REGION], brightness in [0,1].

    Returns:
      f32[N,STATISTICS], about in [-3,3].
    """
    found = [4 * regions.mean((1, 2))[:, None] - 2, _log(regions.std((1, 2)))[:, None]]
    level = regions
    for _ in range(LEVELS):
        found += [_statistics(difference) for difference in _differences(level)]
        level = level.reshape(len(level), level.shape[1] // 2, 2, level.shape[2] // 2, 2).mean(
            (2, 4)
        )
    return jnp.concatenate(found, axis=1)


def turned_and_mirrored(features: Array) -> Array:
    """Returns what the features f32[N,STATISTICS] of regions are where images are turned by 90 degrees or mirrored.

    Directions change places and nothing else, so that four ways stand for all eight.

    Returns:
      f32[4,N,STATISTICS]; the first are as they were.
    """
    overall, directed = features[:, :2], features[:, 2:].reshape(len(features), LEVELS, 4, -1)
    ways = jnp.array([[0, 1, 2, 3], [0, 1, 3, 2], [1, 0, 2, 3], [1, 0, 3, 2]])
    return jnp.stack(
        [
            jnp.concatenate([overall, directed[:, :, way].reshape(len(features), -1)], axis=1)
            for way in ways
        ]
    )


def _differences(x: Array) -> list[Array]:
    """Differences along rows, columns and both diagonals: of neighbours, of pixels two apart, and second ones."""
    found = []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        found += [_difference(x, dy, dx), _difference(x, 2 * dy, 2 * dx)]
        found.append(_difference(_difference(x, dy, dx), dy, dx))
    return found


def _difference(x: Array, dy: int, dx: int) -> Array:
    """Differences of all pixels (y + dy, x + dx) and (y, x) that a region has; dy is not negative."""
    height, width = x.shape[1] - dy, x.shape[2] - abs(dx)
    left, right = max(-dx, 0), max(dx, 0)
    return x[:, dy:, right : right + width] - x[:, :height, left : left + width]


def _statistics(difference: Array) -> Array:
    size = jnp.abs(difference)
    return _log(
        jnp.stack([size.mean((1, 2)), jnp.sqrt((size**2).mean((1, 2))), size.max((1, 2))], axis=1)
    )


def _log(x: Array) -> Array:
    return (jnp.log(x + LEAST_DIFFERENCE) + 4) / 1.5
