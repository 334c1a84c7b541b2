"""Per-example losses; the caller reduces."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from blurjax.engine import Array
from blurjax.views.image_quality import SSIM_C1, SSIM_C2, WINDOW

MIXED_WEIGHT = 0.84
"""Of 1 - SSIM in `mixed_error`."""


def squared_error(reconstructions: Array, images: Array) -> Array:
    """Mean squared error of each image: f32[B,H,W,C] twice -> f32[B]."""
    return jnp.mean(jnp.square(reconstructions - images), axis=(1, 2, 3))


def absolute_error(reconstructions: Array, images: Array) -> Array:
    """Mean absolute error of each image: f32[B,H,W,C] twice -> f32[B]."""
    return jnp.mean(jnp.abs(reconstructions - images), axis=(1, 2, 3))


def dissimilarity(reconstructions: Array, images: Array) -> Array:
    """1 - SSIM of each image, in [0,2]: f32[B,H,W,C] twice -> f32[B].

    As `image_quality.ssim`, which rounds to 8 bits, but differentiable.
    """
    rows, columns = (_window_means(size) for size in images.shape[1:3])

    def mean(x: Array) -> Array:
        means = jnp.einsum("ih,bhwc->biwc", rows, x, precision="highest")
        return jnp.einsum("jw,biwc->bijc", columns, means, precision="highest")

    # Around the middle: differences of small squares, whose rounding is far below SSIM_C2.
    a, b = reconstructions - 0.5, images - 0.5
    mean_a, mean_b = mean(a), mean(b)
    sample = WINDOW**2 / (WINDOW**2 - 1)
    covariance = sample * (mean(a * b) - mean_a * mean_b)
    variances = sample * (mean(a * a + b * b) - mean_a**2 - mean_b**2)
    mean_a, mean_b = mean_a + 0.5, mean_b + 0.5
    luminance = (2 * mean_a * mean_b + SSIM_C1) / (mean_a**2 + mean_b**2 + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (variances + SSIM_C2)
    return 1.0 - jnp.mean(luminance * structure, axis=(1, 2, 3))


def _window_means(size: int) -> np.ndarray:
    """Returns f32[size-WINDOW+1,size], which averages every WINDOW neighbours along a side of an image."""
    first, pixels = np.arange(size - WINDOW + 1)[:, None], np.arange(size)[None]
    return ((first <= pixels) & (pixels < first + WINDOW)).astype(np.float32) / np.float32(WINDOW)


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


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """Returns N / (K N_k) of each class, f32[K]: all classes then count alike, and the mean over all labels is 1.

    Args:
      counts: i64[K], N_k, the images of each class.
    """
    return (counts.sum() / (len(counts) * np.maximum(counts, 1))).astype(np.float32)
