"""3x3 convolutions with fewer multiplications: F(2x2, 3x3) of Winograd (1980; Lavin and Gray 2016, arXiv:1509.09308).

A tile of 4x4 pixels holds what 2x2 pixels of a convolution need. Once tile and kernel are transformed, these take 16
products of two numbers in place of 36; over all tiles and channels, they are 16 matrix products. The transforms only
add and halve, so rounding errors are about those of an ordinary convolution.

Shapes are those of `blurjax.models.contractions`, kernels [3,3,I,O]. Everything is computed in float32, and given back
in the dtype of the images, in micro-batches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import lax

from blurjax.engine import Array
from blurjax.models.contractions import Padding, Precision, transposed_padding
from blurjax.models.pieces import one_after_another, summed

Grid = list[list[Array]]
"""A matrix whose entries are arrays of one shape, such as one pixel of every tile."""
Matrix = tuple[tuple[float, ...], ...]

# What tiles, kernels and products are multiplied with, from both sides.
OF_TILE = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
OF_KERNEL = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
OF_PRODUCTS = ((1, 1, 1, 0), (0, 1, -1, -1))


def forward(images: Array, kernel: Array, padding: Padding, precision: Precision) -> Array:
    """[B,H,W,I] and [3,3,I,O] -> [B,P,Q,O]."""
    return _convolved(images, _entries(kernel), 0, padding, precision)


def images_gradient(dy: Array, kernel: Array, padding: Padding, precision: Precision) -> Array:
    """Images' gradient [B,H,W,I]: dy [B,P,Q,O] convolved with the flipped kernel, summed over features."""
    flipped = [row[::-1] for row in _entries(kernel)[::-1]]
    return _convolved(dy, flipped, 1, transposed_padding(kernel.shape[:2], padding), precision)


def kernel_gradient(
    images: Array, dy: Array, size: tuple[int, int], padding: Padding, precision: Precision
) -> Array:
    """Kernel's gradient [3,3,I,O]: products of the transformed tiles of images and dy, summed over tiles."""
    del size  # 3x3

    def product(tile: Array, output: Array) -> Array:
        # Of matrices: of arrays with four axes, XLA transposes one.
        a, b = (x.reshape(-1, x.shape[3]) for x in (tile, output))
        return lax.dot_general(a, b, (((0,), (0,)), ((), ())), precision=precision)

    def gradient(images: Array, dy: Array) -> Array:
        tiles = _transformed(OF_TILE, _tiles(images, padding))
        outputs = _transformed(_transposed(OF_PRODUCTS), _blocks(dy))
        entries = _transformed(_transposed(OF_KERNEL), _entrywise(product, tiles, outputs))
        return jnp.stack([jnp.stack(row) for row in entries]).astype(images.dtype)

    return summed(gradient, images, dy)


def _convolved(
    images: Array, kernel: Grid, axis: int, padding: Padding, precision: Precision
) -> Array:
    """Convolves with a kernel of these entries, summed over one of their two axes."""

    def product(tile: Array, entry: Array) -> Array:
        return lax.dot_general(tile, entry, (((3,), (axis,)), ((), ())), precision=precision)

    def convolution(images: Array) -> Array:
        tiles = _transformed(OF_TILE, _tiles(images, padding))
        products = _entrywise(product, tiles, _transformed(OF_KERNEL, kernel))
        blocks = _transformed(OF_PRODUCTS, products)
        rows = jnp.stack([jnp.stack(row, axis=3) for row in blocks], axis=2)
        batch, height, _, width, _, features = rows.shape
        whole = rows.reshape(batch, 2 * height, 2 * width, features)
        (height, _), (width, _) = _size(images, padding)
        return whole[:, :height, :width].astype(images.dtype)

    return one_after_another(convolution, images)


def _entries(kernel: Array) -> Grid:
    """The matrices [I,O] of a kernel."""
    return [[kernel[i, j] for j in range(3)] for i in range(3)]


def _blocks(images: Array) -> Grid:
    """[B,H,W,C] -> the 2x2 pixels [B,ceil(H/2),ceil(W/2),C] of blocks, with zeros over the edge."""
    odd = [size % 2 for size in images.shape[1:3]]
    if any(odd):
        images = jnp.pad(images, ((0, 0), (0, odd[0]), (0, odd[1]), (0, 0)))
    batch, height, width, channels = images.shape
    blocks = images.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return [[blocks[:, :, i, :, j] for j in range(2)] for i in range(2)]


def _size(images: Array, padding: Padding) -> list[tuple[int, int]]:
    """How many pixels, and how many blocks, a convolution's value has along both axes."""
    pixels = [n + sum(p) - 2 for n, p in zip(images.shape[1:3], padding, strict=True)]
    return [(n, -(-n // 2)) for n in pixels]


def _tiles(images: Array, padding: Padding) -> Grid:
    """The 4x4 pixels [B,P,Q,C] of tiles, of which each begins two pixels after the one before."""
    (height, rows), (width, columns) = _size(images, padding)
    (top, bottom), (left, right) = padding
    whole = (0, 0), (top, bottom + height % 2), (left, right + width % 2), (0, 0)
    blocks = _blocks(jnp.pad(images, whole))

    def pixel(i: int, j: int) -> Array:
        return blocks[i % 2][j % 2][:, i // 2 :, j // 2 :][:, :rows, :columns]

    return [[pixel(i, j) for j in range(4)] for i in range(4)]


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _entrywise(product: Callable[[Array, Array], Array], a: Grid, b: Grid) -> Grid:
    return [[product(*pair) for pair in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)]


def _transformed(matrix: Matrix, grid: Grid) -> Grid:
    """Matrix · grid · matrixᵀ, in float32."""
    wide = [[entry.astype(jnp.float32) for entry in row] for row in grid]
    columns = [_times(matrix, column) for column in zip(*wide, strict=True)]
    return [_times(matrix, row) for row in zip(*columns, strict=True)]


def _times(matrix: Matrix, arrays: Sequence[Array]) -> list[Array]:
    """Matrix · arrays, without products by 1 and sums with 0."""

    def row(factors: tuple[float, ...]) -> Array:
        terms = [
            a if f == 1 else -a if f == -1 else f * a
            for f, a in zip(factors, arrays, strict=True)
            if f
        ]
        return functools.reduce(jnp.add, terms)

    return [row(factors) for factors in matrix]
