"""Finds near duplicates: the same photograph, compressed again, scaled or made brighter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from blurjax.data.examples import blocks

MAX_BITS = 3
"""Near duplicates differ in at most this many of the 64 bits of their hashes."""
MAX_DIFFERENCE = 0.05
"""Their thumbnails, without the mean of each channel, differ by less than this: root mean square of
values in [0, 1]."""
MIN_CONTRAST = 2 * MAX_DIFFERENCE
"""Images with less are left out: two of them may differ that little by chance."""
THUMBNAIL = 16
"""Most rows and columns of a thumbnail."""
_GREY = np.array([299.0, 587.0, 114.0])
_COMPARED_HASHES = 2**18  # at a time
_COMPARED_THUMBNAILS = 2**12


class HashedImages(NamedTuple):
    """Hashes and thumbnails of N images."""

    rows: np.ndarray
    """i64[n], ascending: which images have enough contrast."""
    hashes: np.ndarray
    """u64[n], of these."""
    thumbnails: np.ndarray
    """u8[N,h,w,C], of all."""


def hash_images(images: np.ndarray, positions: np.ndarray) -> HashedImages:
    """Hashes the images at positions [N] of u8[M,H,W,C], C 1 or 3, which are read block by block."""
    height, width, channels = images.shape[1:]
    small = (min(height, THUMBNAIL), min(width, THUMBNAIL))
    thumbnails = np.empty((len(positions), *small, channels), np.uint8)  # the most of the memory
    hashes, rows, begin = [np.empty(0, np.uint64)], [np.empty(0, np.int64)], 0
    for block in blocks(images, positions):
        part = thumbnails[begin : begin + len(block)]
        np.rint(_area_sums(block, *small) / (height * width), out=part, casting="unsafe")
        has_contrast = _contrasts(part) >= MIN_CONTRAST
        hashes.append(difference_hashes(block[has_contrast]))
        rows.append(begin + np.flatnonzero(has_contrast))
        begin += len(block)
    return HashedImages(np.concatenate(rows), np.concatenate(hashes), thumbnails)


def similar_pairs(
    a: HashedImages, b: HashedImages, content_a: np.ndarray, content_b: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields (rows of a, rows of b, differing bits) of near duplicates that are not exact ones.

    Args:
      a: N images.
      b: M images.
      content_a: i64[N], from `content_groups`.
      content_b: i64[M], from the same call.
    """
    for i, j in close_pairs(a.hashes, b.hashes):
        for start in range(0, len(i), _COMPARED_THUMBNAILS):
            part = slice(start, start + _COMPARED_THUMBNAILS)
            bits = np.bitwise_count(a.hashes[i[part]] ^ b.hashes[j[part]])
            rows_a, rows_b = a.rows[i[part]], b.rows[j[part]]
            difference = a.thumbnails[rows_a].astype(np.float32) - b.thumbnails[rows_b]
            kept = _contrasts(difference) < MAX_DIFFERENCE
            kept &= content_a[rows_a] != content_b[rows_b]
            yield rows_a[kept], rows_b[kept], bits[kept]


def difference_hashes(images: np.ndarray) -> np.ndarray:
    """Computes which of two neighbouring areas is brighter: survives compression, scaling and brightening.

    The grey image is averaged over 8 rows of 9 areas of equal size; each of the 64 bits says
    whether an area is brighter than the one to its left.

    Args:
      images: u8[N,H,W,C], C 1 or 3.

    Returns:
      u64[N].
    """
    areas = _area_sums(images, 8, 9)
    grey = areas @ _GREY if images.shape[3] == 3 else areas[..., 0]
    bits = grey[:, :, 1:] > grey[:, :, :-1]
    return np.packbits(bits.reshape(len(bits), 64), axis=1).view(np.uint64)[:, 0]


def close_pairs(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (i, j), i64[n] each: every two hashes in a, u64[N], and b, u64[M], that differ in few bits (MAX_BITS)."""
    rows = max(1, _COMPARED_HASHES // max(1, len(b)))
    for start in range(0, len(a), rows):
        differing = np.bitwise_count(a[start : start + rows, np.newaxis] ^ b)
        i, j = np.nonzero(differing <= MAX_BITS)
        yield start + i, j


def _contrasts(images: np.ndarray) -> np.ndarray:
    """Root mean square, in [0, 1], of what is left of images [N,h,w,C] without each channel's mean."""
    pixels = images.reshape(len(images), -1, images.shape[3]).astype(np.float32)
    mean = pixels.mean(axis=1)
    square = np.einsum("npc,npc->nc", pixels, pixels) / pixels.shape[1]
    return np.sqrt(np.maximum(square - mean**2, 0).mean(axis=1)) / 255


def _area_sums(images: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Divides images u8[N,H,W,C] into equal areas, and each pixel among those that it lies in.

    Returns:
      f32[N,rows,columns,C], H * W times the mean of each area: whole numbers, exact up to 256x256
      pixels (255 * 256 * 256 < 2^24), so that areas of equal pixels are equal.
    """
    height, width = images.shape[1:3]
    shares, pixels = (_shares(height, rows), _shares(width, columns)), images.astype(np.float32)
    stripes = np.einsum("rh,nhwc->nrwc", shares[0], pixels, optimize=True)
    return np.einsum("kw,nrwc->nrkc", shares[1], stripes, optimize=True)


def _shares(size: int, cells: int) -> np.ndarray:
    """f32[cells,size]: how much of each pixel lies in each cell, in units of 1 / cells of a pixel."""
    cell, pixel = np.arange(cells)[:, None], np.arange(size)[None, :]
    begin = np.maximum(cell * size, pixel * cells)
    end = np.minimum((cell + 1) * size, (pixel + 1) * cells)
    return np.maximum(end - begin, 0).astype(np.float32)
