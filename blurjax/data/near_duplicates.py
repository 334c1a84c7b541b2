"""Finds near duplicates: the same photograph, compressed again, scaled or made brighter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from blurjax.data.examples import blocks

MAX_RATIO = 0.4
"""Near duplicates are less than this much as far apart as either is from its ordinary neighbours."""
NEIGHBOUR = 5
"""An ordinary neighbour is the fifth nearest of a sample: four may be further copies."""
SAMPLE = 2048
"""Images in the sample."""
THUMBNAIL = 16
"""Most rows and columns of a thumbnail."""
ORDINARY = 0.145
"""Distance of an ordinary neighbour among 2,500 photographs of natural and built scenes: the median. Used where there
are too few others to tell, or many of them are near duplicates."""
_CONTRAST = 0.75
"""ORDINARY as part of the median contrast of these photographs: dark or hazy ones are closer to one another."""
_COARSE = 4
_LEAST_DISTANCE = 1e-4  # less is rounding: thumbnails that differ do so by 1.4e-4 or more
_ROWS, _COLUMNS = 1024, 4096  # compared at a time: 16 MB of distances


class Thumbnails(NamedTuple):
    """N small images, whose distance is the root mean square of their difference without each channel's mean."""

    pixels: np.ndarray
    """u8[N,h,w,C]."""
    coarse: np.ndarray
    """f32[N,16]: averages, whose distance is never larger than that of the pixels."""
    neighbour: np.ndarray
    """f32[N]: distance to an ordinary neighbour."""


def shrink(images: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Averages the images at positions [N] of u8[M,H,W,C], read block by block, to u8[N,h,w,C] of at most 16x16."""
    height, width, channels = images.shape[1:]
    size = (min(height, THUMBNAIL), min(width, THUMBNAIL))
    pixels = np.empty((len(positions), *size, channels), np.uint8)  # the most of the memory
    begin = 0
    for block in blocks(images, positions):
        part = pixels[begin : begin + len(block)]
        np.rint(_averages(block, *size), out=part, casting="unsafe")
        begin += len(block)
    return pixels


def sample_of(pixels: np.ndarray) -> np.ndarray:
    """Returns at most `SAMPLE` evenly spaced ones of images [N,h,w,C]."""
    return pixels[np.unique(np.linspace(0, len(pixels) - 1, SAMPLE).astype(int))]


def thumbnails(pixels: np.ndarray, sample: np.ndarray) -> Thumbnails:
    """Compares small images with a sample of others.

    Args:
      pixels: u8[N,h,w,C], from `shrink`.
      sample: u8[S,h,w,C].
    """
    neighbour = np.empty(len(pixels), np.float32)
    others, nth = _vectors(sample), min(NEIGHBOUR, len(sample)) - 1
    for start in range(0, len(pixels), _ROWS):
        part = slice(start, start + _ROWS)
        vectors = _vectors(pixels[part])
        nearest = np.argpartition(_squared_distances(vectors, others), nth, axis=1)[:, nth]
        # Again from the difference: squares that nearly cancel would make equal images differ.
        distance = np.linalg.norm(vectors - others[nearest], axis=1)
        neighbour[part] = np.where(distance < _LEAST_DISTANCE, 0, distance)
    return Thumbnails(pixels, _coarse(pixels), neighbour)


def photograph_thumbnails(pixels: np.ndarray) -> Thumbnails:
    """Prepares small photographs u8[N,h,w,C] for comparison with one another, where no sample of others is at hand."""
    neighbour = np.empty(len(pixels), np.float32)
    for start in range(0, len(pixels), _ROWS):
        part = slice(start, start + _ROWS)
        contrast = np.linalg.norm(_vectors(pixels[part]), axis=1)
        neighbour[part] = np.minimum(ORDINARY, _CONTRAST * contrast)
    return Thumbnails(pixels, _coarse(pixels), neighbour)


def similar_pairs(
    a: Thumbnails, b: Thumbnails, content_a: np.ndarray, content_b: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields (rows of a, rows of b, ratio of distances) of near duplicates that are not exact ones.

    Every image of a is compared with every one of b.

    Args:
      a: N images.
      b: M images.
      content_a: i64[N], from `content_groups`. What is changed in it between two of the results counts from then on.
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
                unequal = content_a[rows_a] != content_b[rows_b]
                rows_a, rows_b = rows_a[unequal], rows_b[unequal]
                if not len(rows_a):
                    continue
                difference = _vectors(a.pixels[rows_a]) - _vectors(b.pixels[rows_b])
                nearest = np.minimum(a.neighbour[rows_a], b.neighbour[rows_b])
                distance = np.linalg.norm(difference, axis=1)
                kept = distance < MAX_RATIO * nearest
                yield rows_a[kept], rows_b[kept], distance[kept] / nearest[kept]


def _coarse(pixels: np.ndarray) -> np.ndarray:
    """Returns f32[N,16], averages of small images u8[N,h,w,C]."""
    coarse = np.empty((len(pixels), _COARSE**2), np.float32)
    for start in range(0, len(pixels), _ROWS):
        part = slice(start, start + _ROWS)
        means = _averages(pixels[part], _COARSE, _COARSE)
        coarse[part] = _vectors(means.mean(axis=3, keepdims=True))
    return coarse


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


def _averages(images: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Averages images u8[N,H,W,C] over equal areas, which share a pixel that lies in several: f32[N,rows,columns,C]."""
    height, width = images.shape[1:3]
    shares, pixels = (_shares(height, rows), _shares(width, columns)), images.astype(np.float32)
    stripes = np.einsum("rh,nhwc->nrwc", shares[0], pixels, optimize=True)
    return np.einsum("kw,nrwc->nrkc", shares[1], stripes, optimize=True) / (height * width)


def _shares(size: int, cells: int) -> np.ndarray:
    """f32[cells,size]: how much of each pixel lies in each cell, in units of 1 / cells of a pixel."""
    cell, pixel = np.arange(cells)[:, None], np.arange(size)[None, :]
    begin = np.maximum(cell * size, pixel * cells)
    end = np.minimum((cell + 1) * size, (pixel + 1) * cells)
    return np.maximum(end - begin, 0).astype(np.float32)
