"""Convolution, pooling and upsampling that stay fast under vmap, in loops, and alone.

XLA's own kernel gradient is many times slower inside a loop on CPU, its grouped convolutions (what
a vmap over kernels becomes) are slow everywhere, and its pooling gradient is a scatter. These are
drop-in replacements.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from blurjax.engine import Array, this_machine
from blurjax.models.contractions import Precision
from blurjax.models.lowering import convolve, lowering_for

NHWC = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))

# On smaller maps, XLA's convolutions on CPU take ten times as long as a product of patches.
FEWEST_PIXELS = 16

# Winograd's transforms take time as the sum of channels and features, and save products as their product. With fewer
# (by their harmonic mean), or in images of fewer multiplications, they are worth neither time nor compilation.
FEWEST_WINOGRAD_CHANNELS = 32
FEWEST_WINOGRAD_PRODUCTS = 1_000_000

PIXEL_DEVIATION = 0.25
"""About the standard deviation of the pixels of photographs, in [0,1]."""

# [a,r,i]: row a of an upsampled pair meets row r of a 2x2 window through row i of a 3x3 kernel.
UPSAMPLED_ROWS = (((1, 0, 0), (0, 1, 1)), ((1, 1, 0), (0, 0, 1)))


def convolution(
    images: Array, kernel: Array, *, lowering: str = "auto", precision: Precision = None
) -> Array:
    """Convolves with stride 1 and zero padding to the same size, like `lax.conv_general_dilated`.

    Args:
      images: f32 or bf16 [B,H,W,I].
      kernel: [h,w,I,O] of the same dtype, h and w odd.
      lowering: "lax" (all of it as XLA does it), "hybrid" (the kernel gradient as one matrix
        product; a loop under vmap), "patches" (matrix products of patches), "cpu" or "accelerator":
        what is fastest there, or "auto": the one of these two that fits this machine. "cpu" computes wide
        3x3 convolutions in float32 by Winograd's algorithm, and others as "hybrid" or "patches".
      precision: of the products; None: jax's default.

    Returns:
      [B,H,W,O] of the same dtype. No second derivatives, except with "lax".

    Raises:
      ValueError: unknown lowering, even kernel, or shapes that do not fit.
    """
    _check(images, kernel, lowering)
    if not (kernel.shape[0] % 2 and kernel.shape[1] % 2):
        raise ValueError(f"the kernel's height and width must be odd, not {kernel.shape[:2]}")
    if lowering == "lax":
        return lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=NHWC, precision=precision
        )
    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
    padding = ((rows, rows), (columns, columns))
    return convolve(images, kernel, padding, _resolved(lowering, images, kernel), precision)


def upsample_convolution(
    images: Array, kernel: Array, *, lowering: str = "auto", precision: Precision = None
) -> Array:
    """`convolution(upsample_2x(images), kernel)`, equal within rounding, in 4/9 of the products.

    Within a 3x3 window of an image whose pixels are repeated twice there are only 2x2 different
    ones: the kernel's rows and columns that meet the same pixel are summed first (four sub-pixel
    kernels; Shi et al. 2016, arXiv:1609.07009), and one 2x2 convolution at the low resolution
    computes all four pixels of a block.

    Args:
      images: f32 or bf16 [B,H,W,I].
      kernel: [3,3,I,O] of the same dtype; "lax" takes any odd size.
      lowering: as in `convolution`; "lax" upsamples and convolves.
      precision: of the products; None: jax's default.

    Returns:
      [B,2H,2W,O] of the same dtype.

    Raises:
      ValueError: unknown lowering, a kernel that is not 3x3, or shapes that do not fit.
    """
    if lowering == "lax":
        return convolution(upsample_2x(images), kernel, lowering=lowering, precision=precision)
    _check(images, kernel, lowering)
    if kernel.shape[:2] != (3, 3):
        raise ValueError(f"the kernel must be 3x3, not {kernel.shape[:2]}")
    _, _, channels, features = kernel.shape
    rows = jnp.array(UPSAMPLED_ROWS, kernel.dtype)
    windows = jnp.einsum("ari,bsj,ijco->rscabo", rows, rows, kernel, precision="highest")
    windows = windows.reshape(2, 2, channels, 4 * features)
    padding = ((1, 1), (1, 1))
    way = _resolved(lowering, images, windows)
    return _interleave(convolve(images, windows, padding, way, precision))


def _check(images: Array, kernel: Array, lowering: str) -> None:
    if lowering not in ("auto", "cpu", "accelerator", "lax", "hybrid", "patches"):
        raise ValueError(
            f"lowering must be auto, cpu, accelerator, lax, hybrid or patches, not {lowering!r}"
        )
    if images.ndim != 4 or kernel.ndim != 4 or images.shape[3] != kernel.shape[2]:
        raise ValueError(
            "images [B,H,W,I] and kernel [h,w,I,O] do not fit: "
            f"{tuple(images.shape)}, {tuple(kernel.shape)}"
        )


def _resolved(lowering: str, images: Array, kernel: Array) -> str:
    if lowering == "auto":
        lowering = lowering_for(this_machine().platform)
    if lowering != "cpu":
        return lowering
    pixels, (channels, features) = images.shape[1] * images.shape[2], kernel.shape[2:]
    if pixels < FEWEST_PIXELS:
        return "patches"
    suits = (
        kernel.shape[:2] == (3, 3)
        and images.dtype == jnp.float32
        and 2 * channels * features >= FEWEST_WINOGRAD_CHANNELS * (channels + features)
        and pixels * kernel.size >= FEWEST_WINOGRAD_PRODUCTS
    )
    return "winograd" if suits else "hybrid"


@jax.custom_vjp
def _interleave(x: Array) -> Array:
    """[B,H+1,W+1,4*O], four pixels of a block each from its own window -> [B,2H,2W,O]."""
    batch, height, width = x.shape[0], x.shape[1] - 1, x.shape[2] - 1
    x = x.reshape(batch, height + 1, width + 1, 2, 2, -1)
    rows = [
        jnp.stack([x[:, a : a + height, b : b + width, a, b] for b in (0, 1)], axis=3)
        for a in (0, 1)
    ]
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, -1)


def _interleave_backward(_: None, dy: Array) -> tuple[Array]:
    """By hand: what jax derives adds four padded arrays where one concatenation does."""
    blocks = _windows(dy)
    parts = [
        jnp.pad(blocks[:, :, a, :, b], ((0, 0), (a, 1 - a), (b, 1 - b), (0, 0)))
        for a in (0, 1)
        for b in (0, 1)
    ]
    return (jnp.concatenate(parts, axis=3),)


_interleave.defvjp(lambda x: (_interleave(x), None), _interleave_backward)


@functools.cache
def _injected(lowering: str, upsample: bool) -> Callable[[], Callable[..., Array]]:
    """Returns a function that `nn.Conv(conv_general_dilated_cls=...)` takes.

    Cached, so that equal modules compare equal.
    """

    def general(lhs: Array, rhs: Array, window_strides: Any, padding: Any, **options: Any) -> Array:
        precision = options["precision"]
        plain = (
            lhs.ndim == 4
            and padding == "SAME"
            and options["feature_group_count"] == 1
            and all(size % 2 for size in rhs.shape[:2])
            and {*window_strides, *options["lhs_dilation"], *options["rhs_dilation"]} == {1}
        )
        if plain and upsample and rhs.shape[:2] == (3, 3):
            return upsample_convolution(lhs, rhs, lowering=lowering, precision=precision)
        lhs = upsample_2x(lhs) if upsample else lhs
        if plain:
            return convolution(lhs, rhs, lowering=lowering, precision=precision)
        return lax.conv_general_dilated(lhs, rhs, window_strides, padding, **options)

    return lambda: general


class Conv(nn.Conv):
    """`flax.linen.nn.Conv` with `convolution` put in: same attributes, same parameters.

    Strides, dilations, groups, even kernels and other paddings are left to XLA.

    Attributes:
      lowering: see `convolution`.
      upsample: convolve the images enlarged by `upsample_2x` (see `upsample_convolution`); not for
        circular and reflecting padding, which flax adds before.
    """

    kernel_size: int | Sequence[int] = (3, 3)
    lowering: str = "auto"
    upsample: bool = False

    def __post_init__(self) -> None:
        if self.conv_general_dilated_cls is None and self.conv_general_dilated is None:
            self.conv_general_dilated_cls = _injected(self.lowering, self.upsample)
        super().__post_init__()


def _windows(x: Array) -> Array:
    """[B,H,W,C] with even H and W -> [B,H/2,2,W/2,2,C]."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels)


def _even_windows(x: Array) -> Array:
    """Cuts into windows as `_windows`, with an odd H or W repeated at its end."""
    odd = (x.shape[1] % 2, x.shape[2] % 2)
    # Even a pad by nothing leaves arrays of zeros to be read in the gradient.
    if any(odd):
        x = jnp.pad(x, ((0, 0), (0, odd[0]), (0, odd[1]), (0, 0)), mode="edge")
    return _windows(x)


def _quarters(windows: Array) -> list[Array]:
    """[B,P,2,Q,2,C] -> the four [B,P,Q,C]: added up faster than XLA reduces the two axes."""
    return [windows[:, :, a, :, b] for a in (0, 1) for b in (0, 1)]


def max_pool_2x2(x: Array) -> Array:
    """The maximum of each 2x2 window: [B,H,W,C] -> [B,ceil(H/2),ceil(W/2),C].

    A window over the edge holds what is there. Entries of a window that tie for the maximum share
    its gradient equally (over the edge, an entry counts as often as it is repeated).
    """
    return _max_of_windows(_even_windows(x))


@jax.custom_vjp
def _max_of_windows(windows: Array) -> Array:
    """[B,P,2,Q,2,C] -> [B,P,Q,C]."""
    return functools.reduce(jnp.maximum, _quarters(windows))


def _max_forward(windows: Array) -> tuple[Array, tuple[Array, Array]]:
    largest = _max_of_windows(windows)
    return largest, (windows, largest)


def _max_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array]:
    windows, largest = saved
    ties = sum((quarter == largest).astype(dy.dtype) for quarter in _quarters(windows))
    share = (dy / ties)[:, :, None, :, None]
    return (jnp.where(windows == largest[:, :, None, :, None], share, 0),)


_max_of_windows.defvjp(_max_forward, _max_backward)


def average_pool_2x2(x: Array) -> Array:
    """The mean of each 2x2 window: [B,H,W,C] -> [B,ceil(H/2),ceil(W/2),C].

    A window over the edge holds what is there.
    """
    return _mean_of_windows(_even_windows(x))


@jax.custom_vjp
def _mean_of_windows(windows: Array) -> Array:
    """[B,P,2,Q,2,C] -> [B,P,Q,C]."""
    return functools.reduce(jnp.add, _quarters(windows)) / 4


def _mean_backward(_: None, dy: Array) -> tuple[Array]:
    batch, height, width, channels = dy.shape
    share = (dy / 4)[:, :, None, :, None]
    return (jnp.broadcast_to(share, (batch, height, 2, width, 2, channels)),)


_mean_of_windows.defvjp(lambda windows: (_mean_of_windows(windows), None), _mean_backward)


def upsample_2x(x: Array) -> Array:
    """Every pixel becomes a 2x2 block of itself: [B,H,W,C] -> [B,2H,2W,C]."""
    batch, height, width, channels = x.shape
    blocks = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return blocks.reshape(batch, 2 * height, 2 * width, channels)
