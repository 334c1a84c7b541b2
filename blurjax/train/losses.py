"""Per-example losses; the caller reduces."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
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
    structure = dissimilarity(reconstructions, images)
    return MIXED_WEIGHT * structure + (1.0 - MIXED_WEIGHT) * absolute_error(reconstructions, images)


RECONSTRUCTION_LOSSES = {
    "mse": squared_error,
    "l1": absolute_error,
    "ssim": dissimilarity,
    "mix": mixed_error,
}
"""By the name that autoencoder.loss has."""


def cross_entropy(
    logits: Array,
    labels: Array,
    *,
    smoothing: float = 0.0,
    class_weights: Array | None = None,
) -> Array:
    """Cross-entropy in nats: logits f32[B,K], labels i32[B] -> f32[B].

    Args:
      logits: of each class.
      labels: numbers of classes.
      smoothing: part of the target distribution that is spread evenly over all classes.
      class_weights: f32[K], what the losses of each class are multiplied by.
    """
    if smoothing:
        targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
        losses = optax.softmax_cross_entropy(logits, targets)
    else:
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses if class_weights is None else losses * class_weights[labels]


def balanced_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns N / (K N_k) of each class, f32[K]: all classes then count alike, and the mean over labels i32[N] is 1."""
    counts = np.bincount(labels, minlength=num_classes)
    return (len(labels) / (num_classes * np.maximum(counts, 1))).astype(np.float32)
