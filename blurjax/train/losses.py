"""Per-example losses; the caller reduces."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from blurjax.engine.types import Array


def squared_error(reconstructions: Array, images: Array) -> Array:
    """Mean squared error of each image: f32[B,H,W,C] twice -> f32[B]."""
    return jnp.mean(jnp.square(reconstructions - images), axis=(1, 2, 3))


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Cross-entropy in nats: logits f32[B,K], labels i32[B] -> f32[B]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
