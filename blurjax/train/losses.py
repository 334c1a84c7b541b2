"""Per-example losses; the caller reduces."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from blurjax.engine.types import Array


def squared_error(reconstructions: Array, images: Array) -> Array:
    """Mean squared error of each image: f32[B,H,W,C] twice -> f32[B]."""
    return jnp.mean(jnp.square(reconstructions - images), axis=(1, 2, 3))


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
