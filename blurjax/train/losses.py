"""Per-example losses; the caller reduces."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from blurjax.engine.types import Array
from blurjax.views import image_quality

MIXED_WEIGHT = 0.84
"""Of 1 - SSIM in `mixed_error`."""


def squared_error(reconstructions: Array, images: Array) -> Array:
    """Mean squared error of each image: f32[B,H,W,C] twice -> f32[B]."""
    return jnp.mean(jnp.square(reconstructions - images), axis=(1, 2, 3))


def absolute_error(reconstructions: Array, images: Array) -> Array:
    """Mean absolute error of each image: f32[B,H,W,C] twice -> f32[B]; its gradient is 0 where they are equal."""
    return jnp.mean(jnp.abs(reconstructions - images), axis=(1, 2, 3))


def dissimilarity(reconstructions: Array, images: Array) -> Array:
    """1 - SSIM of each image, in [0,2]: f32[B,H,W,C] twice -> f32[B]; see `image_quality.ssim`."""
    return 1.0 - image_quality.ssim(reconstructions, images)


def mixed_error(reconstructions: Array, images: Array) -> Array:
    """Weighted sum of dissimilarity and absolute error of each image: f32[B,H,W,C] twice -> f32[B].

    Zhao et al. 2017, "Loss Functions for Image Restoration With Neural Networks", equation 14 and its weight of 0.84;
    here with SSIM at one scale, since small images have no five, and the absolute error not weighted by a Gaussian.
    """
    structure, difference = (
        dissimilarity(reconstructions, images),
        absolute_error(reconstructions, images),
    )
    return MIXED_WEIGHT * structure + (1.0 - MIXED_WEIGHT) * difference


RECONSTRUCTION_LOSSES = {
    "mse": squared_error,
    "l1": absolute_error,
    "ssim": dissimilarity,
    "mix": mixed_error,
}
"""By the name that autoencoder.loss has."""


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Cross-entropy in nats: logits f32[B,K], labels i32[B] -> f32[B]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
