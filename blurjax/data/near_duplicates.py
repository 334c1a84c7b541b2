"""Finds near duplicates: the same photograph, compressed again, scaled or made brighter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from blurjax.data.examples import blocks

MAX_RATIO = 0.4
"""Near duplicates are at most this much as far apart as either is from its ordinary neighbours."""
NEIGHBOUR = 5
"""An ordinary neighbour is the fifth nearest of a sample: four may be further copies."""
SAMPLE = 2048
"""Images in the sample."""
THUMBNAIL = 16
"""Most rows and columns of a thumbnail."""
_COARSE = 4
_ROWS, _COLUMNS = 1024, 4096  # compared at a time: 16 MB of distances


class Thumbnails(NamedTuple):
    """N small images, whose distance is the root mean square of their difference without each channel's mean."""

    pixels: np.ndarray
    """u8[N,h,w,C]."""
    coarse: np.ndarray
    """f32[N,16]: averages, whose distance is never larger than that of the pixels."""
    neighbour: np.ndarray
    """f32[N]: distance to an ordinary neighbour."""


def thumbnails(images: np.ndarray, positions: np.ndarray, sample: np.ndarray) -> Thumbnails:
    """Computes the thumbnails of some images, read block by block.

    Args:
      images: u8[M,H,W,C].
      positions: integers [N], of the images to take.
      sample: f32[S,P], from `sample_of`.
    """
    height, width, channels = images.shape[1:]
    small = (min(height, THUMBNAIL), min(width, THUMBNAIL))
    pixels = np.empty((len(positions), *small, channels), np.uint8)  # the most of the memory
    coarse = np.empty((len(positions), _COARSE**2), np.float32)
    neighbour = np.empty(len(positions), np.float32)
    begin = 0
    for block in blocks(images, positions):
        part = slice(begin, begin + len(block))
        pixels[part] = _averages(block, *small)
        means = _averages(pixels[part], _COARSE, _COARSE, exact=True)
        coarse[part] = _vectors(means.mean(axis=3, keepdims=True))
        for start in range(begin, part.stop, _ROWS):
            rows = slice(start, min(start + _ROWS, part.stop))
            squares = _squared_distances(_vectors(pixels[rows]), sample)
            nth = min(NEIGHBOUR, len(sample)) - 1
            neighbour[rows] = np.sqrt(np.maximum(np.partition(squares, nth, axis=1)[:, nth], 0))
        begin = part.stop
    return Thumbnails(pixels, coarse, neighbour)


def sample_of(images: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Returns evenly spaced images as f32[S,P], whose Euclidean distance is that of their thumbnails."""
    height, width = images.shape[1:3]
    spread = np.unique(np.linspace(0, len(positions) - 1, SAMPLE).astype(int))
    parts = blocks(images, positions[spread])
    small = (min(height, THUMBNAIL), min(width, THUMBNAIL))
    return np.concatenate([_vectors(_averages(block, *small)) for block in parts])


def similar_pairs(
    a: Thumbnails, b: Thumbnails, content_a: np.ndarray, content_b: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields (rows of a, rows of b, ratio of distances) of near duplicates that are not exact ones.

    Every image of a is compared with every one of b.

    Args:
      a: N images.
      b: M images.
      content_a: i64[N], from `content_groups`.
      content_b: i64[M], from the same call.
    """
    # The slack is for rounding; what it lets through is compared pixel by pixel.
    limits_a, limits_b = ((MAX_RATIO * x.neighbour) ** 2 + np.float32(1e-6) for x in (a, b))
    for row in range(0, len(b.coarse), _ROWS):
        for column in range(0, len(a.coarse), _COLUMNS):
            rows, columns = slice(row, row + _ROWS), slice(column, column + _COLUMNS)
            limits = np.minimum.outer(limits_b[rows], limits_a[columns])
            j, i = np.nonzero(_squared_distances(b.coarse[rows], a.coarse[columns]) < limits)
            for start in range(0, len(i), _ROWS):
                rows_a = column + i[start : start + _ROWS]
                rows_b = row + j[start : start + _ROWS]
                difference = _vectors(a.pixels[rows_a]) - _vectors(b.pixels[rows_b])
                nearest = np.minimum(a.neighbour[rows_a], b.neighbour[rows_b])
                distance = np.linalg.norm(difference, axis=1)
                kept = distance < MAX_RATIO * nearest
                kept &= content_a[rows_a] != content_b[rows_b]
                yield rows_a[kept], rows_b[kept], distance[kept] / nearest[kept]


def _vectors(images: np.ndarray) -> np.ndarray:
    """Returns images [N,h,w,C] without each channel's mean as f32[N,P]; distance is their root mean square."""
    pixels = images.reshape(len(images), -1, images.shape[3]).astype(np.float32) / 255
    pixels -= pixels.mean(axis=1, keepdims=True)
    return pixels.reshape(len(images), -1) / np.float32(np.sqrt(pixels[0].size))


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Computes f32[n,m] of a[n,P] and b[m,P]."""
    of_a, of_b = (np.einsum("np,np->n", x, x)[:, np.newaxis] for x in (a, b))
    ones_a, ones_b = np.ones_like(of_a), np.ones_like(of_b)
    # One product, which is faster than to add the squares afterwards.
    return np.hstack([-2 * a, of_a, ones_a]) @ np.hstack([b, ones_b, of_b]).T


def _averages(images: np.ndarray, rows: int, columns: int, *, exact: bool = False) -> np.ndarray:
    """Averages images u8[N,H,W,C] over equal areas, a pixel shared among those that it lies in.

    Returns:
      [N,rows,columns,C] in 0 to 255: rounded, u8, or exact, f32.
    """
    height, width = images.shape[1:3]
    shares, pixels = (_shares(height, rows), _shares(width, columns)), images.astype(np.float32)
    stripes = np.einsum("rh,nhwc->nrwc", shares[0], pixels, optimize=True)
    means = np.einsum("kw,nrwc->nrkc", shares[1], stripes, optimize=True) / (height * width)
    return means if exact else np.rint(means).astype(np.uint8)


def _shares(size: int, cells: int) -> np.ndarray:
    """f32[cells,size]: how much of each pixel lies in each cell, in units of 1 / cells of a pixel."""
    cell, pixel = np.arange(cells)[:, None], np.arange(size)[None, :]
    begin = np.maximum(cell * size, pixel * cells)
    end = np.minimum((cell + 1) * size, (pixel + 1) * cells)
    return np.maximum(end - begin, 0).astype(np.float32)
