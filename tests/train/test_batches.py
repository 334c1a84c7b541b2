"""Batches of images gathered on the device, and the loops over them."""

import jax
import jax.numpy as jnp
import numpy as np

from blurjax.engine import make_mesh, sum_over_devices, sweep
from blurjax.train.batches import evaluation_loop, gather_batch, training_loop

DATA = jax.tree.map(
    jnp.asarray,
    {
        "image": np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2, 1),
        "label": np.arange(5, dtype=np.int32),
        "index": np.arange(5, dtype=np.int32) + 100,
    },
)


def test_gather_scales_to_one_and_masks_padding():
    batch = gather_batch(DATA, jnp.array([[0, 0], [4, -1]]), 1)
    np.testing.assert_array_equal(
        batch["image"][0, :, :, 0], np.float32([[16, 17], [18, 19]]) / np.float32(255)
    )
    np.testing.assert_array_equal(batch["mask"], [True, False])
    assert batch["index"][0] == 104


def counting_step(state, weight, batch):
    total = state + weight * batch["label"].sum()
    return total, {"label": batch["label"], "total": total}


def test_loop_takes_the_steps_asked_for_and_one_trace_serves_all_lengths():
    traces = []

    def step(*arguments):
        traces.append(1)
        return counting_step(*arguments)

    positions = jnp.array([[0, 1], [2, 3], [4, 0], [1, 1]])
    loop = jax.jit(training_loop(step, 3))
    state, metrics = loop(jnp.int32(0), jnp.int32(10), DATA, positions, 1, 2)
    assert state == 10 * (2 + 3 + 4 + 0)
    np.testing.assert_array_equal(metrics["label"], [[2, 3], [4, 0], [0, 0]])
    np.testing.assert_array_equal(metrics["total"], [50, 90, 0])
    count = len(traces)
    assert loop(jnp.int32(0), jnp.int32(1), DATA, positions, 0, 3)[0] == 10
    assert loop(jnp.int32(0), jnp.int32(1), DATA, positions, 3, 1)[0] == 2
    assert len(traces) == count


def test_a_loop_in_two_parts_equals_one():
    positions = jnp.array([[0, 1], [2, 3], [4, 0]])
    loop = training_loop(counting_step, 3)
    half, _ = loop(jnp.int32(0), jnp.int32(1), DATA, positions, 0, 1)
    assert (
        loop(half, jnp.int32(1), DATA, positions, 1, 2)[0]
        == loop(jnp.int32(0), jnp.int32(1), DATA, positions, 0, 3)[0]
    )


def test_an_evaluation_returns_what_its_step_says_of_every_batch():
    def eval_step(params, views, batch):
        return {"score": params * batch["label"] + views}

    loop = evaluation_loop(eval_step, 3)
    scores = loop(jnp.int32(2), jnp.int32(1), DATA, jnp.array([[0, 1], [2, 3]]), 0, 2)["score"]
    np.testing.assert_array_equal(scores, [[1, 3], [5, 7], [0, 0]])


def test_devices_beyond_the_trials_share_batches():
    mesh = make_mesh(1, jax.devices(), data_devices=2)

    def sum_images(state, views, batch):
        total = sum_over_devices(batch["image"].sum())
        return state + views * total, {"total": total}

    def rows_of(params, views, batch):
        return {"rows": batch["label"] + 0 * params.astype(jnp.int32) * views}

    arguments = (jnp.zeros(2), jnp.int32(1), DATA, jnp.array([[0, 1], [2, 3], [4, 0]]), 0, 3)
    axes = (0, None, None, None, None, None)
    for loop, shares in (
        (training_loop(sum_images, 3), True),
        (evaluation_loop(rows_of, 3), False),
    ):
        swept = jax.jit(sweep(loop, axes, mesh=mesh))
        alone = jax.jit(sweep(loop, axes, mesh=make_mesh(1, jax.devices())))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
            swept(*arguments),
            alone(*arguments),
        )
        assert ("all-to-all" in swept.lower(*arguments).compile().as_text()) == shares
