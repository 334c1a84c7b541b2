"""How a convolution's value and its two gradients are computed, and what vmap makes of them.

A convolution is three contractions of the same three arrays; each is a function of its own, so that each can take
the way that is fast for it and carry its own batching rule. `docs/engine.md` has the measurements behind the choices.
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
from blurjax.models import contractions, winograd
from blurjax.models.contractions import Padding, Precision


def lowering_for(platform: str) -> str:
    """Returns the way to lower convolutions that suits a platform such as "gpu": "cpu" or "accelerator"."""
    return "cpu" if platform == "cpu" else "accelerator"


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
    "hybrid": Lowering(
        contractions.padded_forward,
        contractions.cached_images_gradient,
        contractions.cached_kernel_gradient,
        is_looped=True,
    ),
    "winograd": Lowering(
        winograd.forward, winograd.images_gradient, winograd.kernel_gradient, is_looped=True
    ),
    "patches": Lowering(
        contractions.patch_forward,
        contractions.patch_images_gradient,
        contractions.patch_kernel_gradient,
        is_looped=False,
    ),
    "accelerator": Lowering(
        contractions.lax_forward,
        contractions.lax_images_gradient,
        contractions.lax_kernel_gradient,
        is_looped=False,
    ),
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
