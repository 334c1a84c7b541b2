"""Batch normalisation of parts of a batch: by hand, however the batch is cut, and in evaluation."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blurjax.models import apply
from blurjax.models.normalization import GhostBatchNorm, ghost_batch

CHANNELS = jnp.arange(6.0)[None, None, None]
IMAGES = 3 * jax.random.normal(jax.random.key(0), (64, 5, 4, 6)) + CHANNELS
NORM = GhostBatchNorm()
VARIABLES = NORM.init(jax.random.key(1), IMAGES, train=False)


@pytest.mark.parametrize(
    ("images", "together"),
    [(256, 32), (32, 32), (100, 25), (20, 20), (8, 8), (37, 37), (61, 61), (74, 37), (1, 1)],
)
def test_parts_have_about_32_images_whatever_the_size_of_the_batch(images, together):
    assert ghost_batch(images) == together


def test_pieces_of_a_batch_that_cut_no_part_are_parted_alike():
    for batch in range(1, 400):
        together = ghost_batch(batch)
        pieces = [n for n in range(together, batch + 1, together) if batch % n == 0]
        assert {ghost_batch(piece) for piece in pieces} == {together}


def test_each_part_is_normalised_by_its_own_statistics():
    params = {"scale": jnp.arange(1.0, 7.0), "bias": -jnp.arange(6.0)}
    output, state = apply(NORM, VARIABLES | {"params": params}, IMAGES, train=True)
    for part in (slice(0, 32), slice(32, 64)):
        own = np.asarray(IMAGES[part])
        expected = (own - own.mean((0, 1, 2))) / own.std((0, 1, 2))
        expected = expected * np.arange(1, 7) - np.arange(6)
        np.testing.assert_allclose(output[part], expected, rtol=1e-4, atol=1e-4)
    parts = np.asarray(IMAGES).reshape(2, 32, 5, 4, 6)
    statistics = state["batch_stats"]
    mean, variance = parts.mean((1, 2, 3)).mean(0), parts.var((1, 2, 3)).mean(0)
    np.testing.assert_allclose(statistics["mean"], 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * variance, rtol=1e-4)


def test_it_is_flaxs_where_a_batch_is_one_part():
    theirs = nn.BatchNorm(use_running_average=False, momentum=0.9)
    expected = theirs.apply(VARIABLES, IMAGES[:16], mutable=["batch_stats"])
    found = apply(NORM, VARIABLES, IMAGES[:16], train=True)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), found, expected)


def test_evaluation_takes_the_average_of_the_statistics():
    statistics = {"mean": jnp.arange(6.0), "var": jnp.arange(1.0, 7.0)}
    variables = VARIABLES | {"batch_stats": statistics}
    output, state = apply(NORM, variables, IMAGES)
    expected = (np.asarray(IMAGES) - np.arange(6)) / np.sqrt(np.arange(1, 7))
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, state["batch_stats"], statistics)


def test_bfloat16_keeps_the_statistics_in_float32():
    """Of values whose mean is a hundred deviations."""
    shifted = (IMAGES / 3 + 100).astype(jnp.bfloat16)
    norm = GhostBatchNorm(jnp.bfloat16)
    output, state = apply(norm, VARIABLES, shifted, train=True)
    assert output.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype("float32")}
    variance = (state["batch_stats"]["var"] - 0.9) / 0.1
    expected = np.asarray(shifted, np.float64).var((0, 1, 2))
    np.testing.assert_allclose(variance, expected, rtol=0.05)
