"""The three contractions of a convolution: its value and its two gradients, each in several ways.

Everything here has stride 1, zero padding, images [B,H,W,I] and kernels [h,w,I,O].
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from blurjax.engine import Array
from blurjax.models.pieces import one_after_another, summed

Padding = tuple[tuple[int, int], tuple[int, int]]
"""((top, bottom), (left, right)); each less than the kernel's size."""

Precision = Any

# With this many channels or fewer on one side, all patches of that side are less data than shifting
# both sides.
FEW_CHANNELS = 4

# XLA's convolutions on CPU have a fast way for few channels to so many features, and a slow one for fewer features, and
# for two or three channels.
FEATURES_OF_FEW_CHANNELS = 32

EVERY_PIXEL = (0, 1, 2)


def lax_forward(images: Array, kernel: Array, padding: Padding, precision: Precision) -> Array:
    """[B,H,W,I] and [h,w,I,O] -> [B,P,Q,O], as XLA lowers it."""
    return lax.conv_general_dilated(
        images,
        kernel,
        window_strides=(1, 1),
        padding=padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )


def transposed_padding(size: tuple[int, ...], padding: Padding) -> Padding:
    """The padding with which the output's gradient is convolved back to the images' size."""
    (top, bottom), (left, right) = padding
    return (size[0] - 1 - top, size[0] - 1 - bottom), (size[1] - 1 - left, size[1] - 1 - right)


def lax_images_gradient(dy: Array, kernel: Array, padding: Padding, precision: Precision) -> Array:
    """Images' gradient [B,H,W,I]: dy [B,P,Q,O] convolved with the flipped, transposed kernel."""
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    return lax_forward(dy, turned, transposed_padding(kernel.shape[:2], padding), precision)


def lax_kernel_gradient(
    images: Array, dy: Array, size: tuple[int, int], padding: Padding, precision: Precision
) -> Array:
    """Kernel's gradient [h,w,I,O], as XLA lowers it: in a loop on CPU, 90 times slower."""
    kernel = jax.ShapeDtypeStruct((*size, images.shape[3], dy.shape[3]), images.dtype)
    of_kernel = functools.partial(lax_forward, images, padding=padding, precision=precision)
    (gradient,) = jax.linear_transpose(of_kernel, kernel)(dy)
    return gradient


def _contract(a: Array, b: Array, axes: tuple, precision: Precision) -> Array:
    """Sums over pairs of axes; products of bfloat16 are summed in float32, as in a convolution."""
    wide = jnp.promote_types(a.dtype, jnp.float32)
    product = lax.dot_general(
        a, b, (axes, ((), ())), precision=precision, preferred_element_type=wide
    )
    return product.astype(a.dtype)


def _neighbours(x: Array, size: int, padding: tuple[int, int], axis: int) -> Array:
    """Each pixel beside its `size - 1` followers along an axis, in the last axis."""
    x = jnp.pad(x, [padding if a == axis else (0, 0) for a in range(4)])
    length = x.shape[axis] - size + 1
    shifted = [lax.slice_in_dim(x, i, i + length, axis=axis) for i in range(size)]
    return jnp.concatenate(shifted, axis=3)


def patches(images: Array, size: tuple[int, int], padding: Padding) -> Array:
    """[B,H,W,I] -> [B,P,Q,h*w*I]: each pixel's neighbourhood, in the order of a kernel's axes."""
    rows = _neighbours(images, size[1], padding[1], axis=2)
    return _neighbours(rows, size[0], padding[0], axis=1)


def patch_forward(images: Array, kernel: Array, padding: Padding, precision: Precision) -> Array:
    """[B,H,W,I] and [h,w,I,O] -> [B,P,Q,O]: one matrix product of all patches."""
    height, width, channels, features = kernel.shape
    flat = kernel.reshape(height * width * channels, features)
    return _contract(patches(images, (height, width), padding), flat, ((3,), (0,)), precision)


def patch_images_gradient(
    dy: Array, kernel: Array, padding: Padding, precision: Precision
) -> Array:
    """Images' gradient [B,H,W,I]: each neighbour's share shifted back and added."""
    height, width = kernel.shape[:2]
    (top, bottom), (left, right) = transposed_padding((height, width), padding)
    shares = _contract(dy, kernel, ((3,), (3,)), precision)
    zero = jnp.zeros((), dy.dtype)

    def back(i: int, j: int) -> Array:
        rows = (top - (height - 1 - i), bottom - i, 0)
        columns = (left - (width - 1 - j), right - j, 0)
        return lax.pad(shares[:, :, :, i, j], zero, ((0, 0, 0), rows, columns, (0, 0, 0)))

    total = back(0, 0)
    for i, j in [(i, j) for i in range(height) for j in range(width)][1:]:
        total = total + back(i, j)
    return total


def patch_kernel_gradient(
    images: Array, dy: Array, size: tuple[int, int], padding: Padding, precision: Precision
) -> Array:
    """Kernel's gradient [h,w,I,O]: one matrix product of all patches with dy [B,P,Q,O]."""
    product = _contract(patches(images, size, padding), dy, (EVERY_PIXEL, EVERY_PIXEL), precision)
    return product.reshape(*size, images.shape[3], dy.shape[3])


def shift_kernel_gradient(
    images: Array, dy: Array, size: tuple[int, int], padding: Padding, precision: Precision
) -> Array:
    """Kernel's gradient [h,w,I,O]: one matrix product, the images shifted along W and dy along H.

    Shifting each side along one axis copies w * I + h * O numbers a pixel, where patches of the
    images copy h * w * I, and makes a product of a squarer shape.
    """
    (height, width), (channels, features) = size, (images.shape[3], dy.shape[3])
    if channels <= FEW_CHANNELS:
        return patch_kernel_gradient(images, dy, size, padding, precision)
    if features <= FEW_CHANNELS:
        turned = patch_kernel_gradient(
            dy, images, size, transposed_padding(size, padding), precision
        )
        return turned[::-1, ::-1].swapaxes(2, 3)
    columns = _neighbours(images, width, padding[1], axis=2)
    rows = _neighbours(dy, height, transposed_padding(size, padding)[0], axis=1)
    product = _contract(columns, rows, (EVERY_PIXEL, EVERY_PIXEL), precision)
    # Pixel p of the images meets dy at p - i: the i-th kernel row is the last shift but i.
    product = product.reshape(width, channels, height, features)[:, :, ::-1]
    return product.transpose(2, 0, 1, 3)


def cached_kernel_gradient(images: Array, dy: Array, size: tuple[int, int], **how: Any) -> Array:
    """`shift_kernel_gradient`, summed over micro-batches."""
    return summed(functools.partial(shift_kernel_gradient, size=size, **how), images, dy)


def padded_forward(images: Array, kernel: Array, padding: Padding, **how: Any) -> Array:
    """`lax_forward`, with zeros for the channels and features without which XLA is slow."""
    channels, features = kernel.shape[2:]
    if channels > FEW_CHANNELS or features > FEATURES_OF_FEW_CHANNELS:
        return lax_forward(images, kernel, padding, **how)
    more = 0 if channels == 1 else FEW_CHANNELS - channels
    none = (0, 0)
    wide_images = jnp.pad(images, (none, none, none, (0, more)))
    unused = FEATURES_OF_FEW_CHANNELS - features
    wide_kernel = jnp.pad(kernel, (none, none, (0, more), (0, unused)))
    return lax_forward(wide_images, wide_kernel, padding, **how)[..., :features]


def cached_images_gradient(dy: Array, kernel: Array, padding: Padding, **how: Any) -> Array:
    """`lax_images_gradient`, in micro-batches where the convolution shrinks its images.

    XLA runs those half as fast otherwise; the others it does not mind.
    """
    gradient = functools.partial(lax_images_gradient, kernel=kernel, padding=padding, **how)
    if transposed_padding(kernel.shape[:2], padding) != ((0, 0), (0, 0)):
        return gradient(dy)
    return one_after_another(gradient, dy)
