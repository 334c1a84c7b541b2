"""How a convolution's value and its two gradients are computed, and what vmap makes of them.

Everything here has stride 1, zero padding, images [B,H,W,I] and kernels [h,w,I,O]. A convolution is
three contractions of the same three arrays; each is a function of its own, so that each can take
the way that is fast for it and carry its own batching rule. `docs/engine.md` has the measurements
behind the choices.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from blurjax.engine import Array
from blurjax.models import winograd

Padding = tuple[tuple[int, int], tuple[int, int]]
"""((top, bottom), (left, right)); each less than the kernel's size."""

Precision = Any

# With this many channels or fewer on one side, all patches of that side are less data than shifting
# both sides.
FEW_CHANNELS = 4

# Pixels of a micro-batch: at 32 to 128 channels, their shifts or transformed tiles take one to four megabytes.
MICRO_BATCH_PIXELS = 512

# XLA's convolutions on CPU have a fast way for few channels to so many features, and a slow one for fewer features, and
# for two or three channels.
FEATURES_OF_FEW_CHANNELS = 32

EVERY_PIXEL = (0, 1, 2)


def lowering_for(platform: str) -> str:
    """Returns the way to lower convolutions that suits a platform such as "gpu": "cpu" or "accelerator"."""
    return "cpu" if platform == "cpu" else "accelerator"


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


def _micro_batches(*arrays: Array) -> tuple[Array, ...]:
    """[B,...] -> [B/b,b,...]: b is the divisor nearest to the number whose arrays stay in the cache."""
    batch, height, width = arrays[0].shape[:3]
    fits = max(1, MICRO_BATCH_PIXELS // (height * width))
    divisors = (count for count in range(1, batch + 1) if batch % count == 0)
    images = min(divisors, key=lambda count: max(count / fits, fits / count), default=1)
    return tuple(a.reshape(batch // images, images, *a.shape[1:]) for a in arrays)


def _one_after_another(function: Callable[[Array], Array], images: Array) -> Array:
    """A function's values of micro-batches, put together again."""
    (pieces,) = _micro_batches(images)
    if len(pieces) == 1:
        return function(images)
    values = lax.map(function, pieces)
    return values.reshape(images.shape[0], *values.shape[2:])


def _summed(function: Callable[..., Array], images: Array, dy: Array) -> Array:
    """The sum, in float32, of a function's values of micro-batches."""
    pieces = _micro_batches(images, dy)
    if len(pieces[0]) == 1:
        return function(images, dy)

    def add(total: Array, piece: tuple[Array, ...]) -> tuple[Array, None]:
        return total + function(*piece).astype(total.dtype), None

    value = jax.eval_shape(function, images, dy)
    wide = jnp.promote_types(value.dtype, jnp.float32)
    # Zeros made of the arrays themselves vary over the same mesh axes as they do.
    zero = (images[0, 0, 0, 0] * 0 * dy[0, 0, 0, 0]).astype(wide)
    return lax.scan(add, jnp.broadcast_to(zero, value.shape), pieces)[0].astype(value.dtype)


def cached_kernel_gradient(images: Array, dy: Array, size: tuple[int, int], **how: Any) -> Array:
    """`shift_kernel_gradient`, summed over micro-batches."""
    return _summed(functools.partial(shift_kernel_gradient, size=size, **how), images, dy)


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
    return _one_after_another(gradient, dy)


def winograd_forward(images: Array, kernel: Array, **how: Any) -> Array:
    """`winograd.forward`, in micro-batches."""
    return _one_after_another(functools.partial(winograd.forward, kernel=kernel, **how), images)


def winograd_images_gradient(dy: Array, kernel: Array, padding: Padding, **how: Any) -> Array:
    """`winograd.images_gradient`, in micro-batches."""
    how["padding"] = transposed_padding(kernel.shape[:2], padding)
    return _one_after_another(functools.partial(winograd.images_gradient, kernel=kernel, **how), dy)


def winograd_kernel_gradient(images: Array, dy: Array, size: tuple[int, int], **how: Any) -> Array:
    """`winograd.kernel_gradient`, summed over micro-batches; the size is 3x3."""
    return _summed(functools.partial(winograd.kernel_gradient, **how), images, dy)


def looped(function: Callable[..., Array]) -> Callable[..., Array]:
    """Returns a function of arrays for one trial that under vmap is computed for one trial after another.

    XLA for CPUs makes a slow grouped convolution of a vmap over kernels. An axis of one element costs nothing.
    """
    mapped = custom_vmap(function)

    @mapped.def_vmap
    def rule(axis_size: int, in_batched: list[bool], *arguments: Array) -> tuple[Array, bool]:
        if axis_size == 1:
            one = [a[0] if b else a for a, b in zip(arguments, in_batched, strict=True)]
            return mapped(*one)[None], True

        def one_trial(i: Array) -> Array:
            return mapped(*(a[i] if b else a for a, b in zip(arguments, in_batched, strict=True)))

        return lax.map(one_trial, jnp.arange(axis_size)), True

    return mapped


class Lowering(NamedTuple):
    """A way to compute each of the three contractions."""

    forward: Callable[..., Array]
    images_gradient: Callable[..., Array]
    kernel_gradient: Callable[..., Array]
    is_looped: bool
    """Whether vmap computes one trial after another; else XLA batches it."""


LOWERINGS = {
    "hybrid": Lowering(padded_forward, cached_images_gradient, cached_kernel_gradient, True),
    "winograd": Lowering(
        winograd_forward, winograd_images_gradient, winograd_kernel_gradient, True
    ),
    "patches": Lowering(patch_forward, patch_images_gradient, patch_kernel_gradient, False),
    "accelerator": Lowering(lax_forward, lax_images_gradient, lax_kernel_gradient, False),
}


def _apply(lowering: str, part: str, *arrays: Array, **static: Any) -> Array:
    """One of a lowering's three functions on its arrays."""
    way = LOWERINGS[lowering]
    function = functools.partial(getattr(way, part), **static)
    return (looped(function) if way.is_looped else function)(*arrays)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def convolve(
    images: Array, kernel: Array, padding: Padding, lowering: str, precision: Precision
) -> Array:
    """[B,H,W,I] and [h,w,I,O] -> [B,P,Q,O] in one of `LOWERINGS`."""
    return _apply(lowering, "forward", images, kernel, padding=padding, precision=precision)


def _forward(
    images: Array, kernel: Array, padding: Padding, lowering: str, precision: Precision
) -> tuple[Array, tuple[Array, Array]]:
    return convolve(images, kernel, padding, lowering, precision), (images, kernel)


def _backward(
    padding: Padding, lowering: str, precision: Precision, saved: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    images, kernel = saved
    how = {"padding": padding, "precision": precision}
    return (
        _apply(lowering, "images_gradient", dy, kernel, **how),
        _apply(lowering, "kernel_gradient", images, dy, size=kernel.shape[:2], **how),
    )


convolve.defvjp(_forward, _backward)
