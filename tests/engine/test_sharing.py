"""Devices that share the batches of a trial: the same sums, whoever computes which pieces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blurjax.engine import (
    devices_sharing,
    make_mesh,
    own_part,
    share_batches,
    sum_of_pieces,
    sum_over_devices,
    sweep,
)

TRIALS, BATCH = 3, 24
ROWS = np.random.default_rng(0).standard_normal((BATCH, 5)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).standard_normal((TRIALS, 5)).astype(np.float32)


def shared(function, data_devices, in_axes=(None, 0), out_axes=None):
    """A sweep over trials in which a number of devices share the second argument's rows."""
    mesh = make_mesh(1, jax.devices(), data_devices)
    return sweep(share_batches(function, in_axes, out_axes), (0, None), mesh=mesh)


def gradient(pieces):
    """Of a mean over the rows, in a number of pieces in all; also the number of rows seen."""

    def of_part(weight, rows):
        own = rows.reshape(pieces // devices_sharing(), -1, 5)

        def of_piece(piece):
            gradient = jax.grad(lambda w: jnp.tanh(piece @ w).sum() / BATCH)(weight)
            return gradient, jnp.int32(len(piece))

        total, seen = sum_of_pieces(of_piece, own)
        return sum_over_devices(total), sum_over_devices(seen)

    return of_part


@pytest.mark.parametrize("pieces", [2, 4, 6, 8])
def test_the_sum_has_the_same_bits_on_one_device_and_on_two(pieces):
    alone, seen = shared(gradient(pieces), 1)(WEIGHTS, ROWS)
    both, seen_by_both = shared(gradient(pieces), 2)(WEIGHTS, ROWS)
    np.testing.assert_array_equal(both, alone)
    at_once = jax.grad(lambda w: jnp.tanh(jnp.einsum("bi,ti->bt", ROWS, w)).sum() / BATCH)(WEIGHTS)
    np.testing.assert_allclose(alone, at_once, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(seen, [BATCH] * TRIALS)
    np.testing.assert_array_equal(seen_by_both, seen)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 8])
def test_pieces_are_summed_in_pairs_as_far_as_they_can_be_halved(count):
    def added(values):
        if len(values) % 2 or len(values) == 2:
            return sum(values, np.float32(0))
        half = len(values) // 2
        return added(values[:half]) + added(values[half:])

    values = ROWS.ravel()[:count]
    total, seen = sum_of_pieces(lambda value: (value, jnp.int32(1)), values)
    assert seen == count
    assert total == added(values)


def test_each_device_has_its_own_rows():
    def own(weight, rows):
        everything = own_part(jnp.arange(BATCH))
        assert len(everything) == len(rows) == BATCH // devices_sharing()
        return rows[:, 0] + 10 * everything + 0 * weight[0]

    expected = np.tile(ROWS[:, 0] + 10 * np.arange(BATCH), (TRIALS, 1)).astype(np.float32)
    for data_devices in (1, 2):
        found = shared(own, data_devices, out_axes=0)(WEIGHTS, ROWS)
        np.testing.assert_array_equal(found, expected)


def test_a_pytree_is_summed_leaf_by_leaf():
    def leaves(weight, rows):
        tree = {"a": rows[:3, :3] * weight[0], "b": rows.sum()}  # 10 numbers in all
        return sum_over_devices(tree)

    found = shared(leaves, 2)(WEIGHTS, ROWS)
    halves = ROWS.reshape(2, -1, 5)
    np.testing.assert_allclose(found["b"], [ROWS.sum()] * TRIALS, rtol=1e-5)
    expected = (halves[0, :3, :3] + halves[1, :3, :3]) * WEIGHTS[:, :1, None]
    np.testing.assert_allclose(found["a"], expected, rtol=1e-5)


def test_outside_of_a_sweep_nothing_is_shared():
    assert devices_sharing() == 1
    np.testing.assert_array_equal(own_part(ROWS), ROWS)
    assert sum_over_devices({"a": 3}) == {"a": 3}
