"""Losses against values computed by hand and scikit-learn's weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from blurjax.train.losses import balanced_weights, cross_entropy

LOGITS = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]]))
LABELS = jnp.array([0, 2])


def test_smoothing_spreads_a_part_of_the_target_over_all_classes():
    assert cross_entropy(LOGITS, LABELS) == pytest.approx(-np.log([0.7, 0.5]), rel=1e-6)
    target = np.array([0.8, 0.1, 0.1])  # 0.3 of it is spread over three classes
    by_hand = [-target @ np.log([0.7, 0.2, 0.1]), -target @ np.log([0.5, 0.25, 0.25])]
    smoothed = cross_entropy(LOGITS, LABELS, smoothing=0.3)
    assert smoothed == pytest.approx(by_hand, rel=1e-6)


def test_smoothed_loss_is_least_at_the_smoothed_target():
    at_target = jnp.log(jnp.array([[0.8, 0.1, 0.1]]))
    gradient = jax.grad(lambda x: cross_entropy(x, LABELS[:1], smoothing=0.3).sum())(at_target)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_class_weights_multiply_the_losses_of_their_class():
    weights = jnp.array([2.0, 9.0, 0.5])
    weighted = cross_entropy(LOGITS, LABELS, class_weights=weights)
    assert weighted == pytest.approx(-np.log([0.7, 0.5]) * [2, 0.5], rel=1e-6)


def test_balanced_weights_are_those_of_scikit_learn_with_a_mean_of_one():
    labels = np.array([0] * 7 + [1] * 2 + [2] * 3)
    weights = balanced_weights(np.bincount(labels))
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert weights[labels].mean() == pytest.approx(1)
    np.testing.assert_allclose(weights * [7, 2, 3], 4, rtol=1e-6)
