"""The sweep engine: vmap's contract, whatever the devices, the grouping and the number of steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blurjax.engine.mapping import gather_batch, loop_steps, make_mesh, padded_length, sweep


def mesh_of(devices):
    return make_mesh(devices, jax.devices())


def function(trial, shared, pair):
    return {"sum": trial + shared, "product": trial * pair["own"] + pair["common"]}


IN_AXES = (0, None, {"own": 0, "common": None})


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("trials_per_vmap", [1, 2, 4])
def test_equals_vmap(devices, trials_per_vmap):
    arguments = (
        jnp.arange(8.0),
        jnp.float32(3.0),
        {"own": jnp.arange(8.0)[::-1], "common": jnp.float32(5.0)},
    )
    swept = jax.jit(sweep(function, mesh_of(devices), trials_per_vmap, IN_AXES))
    expected = jax.vmap(function, IN_AXES)(*arguments)
    jax.tree.map(np.testing.assert_array_equal, swept(*arguments), expected)


def test_a_shared_index_keeps_its_branch_and_an_own_one_too_without_vmap():
    """Under vmap, every branch of a switch on a trial's own index would run."""

    def branch(index, x):
        return jax.grad(
            lambda x: jax.lax.switch(index, [jnp.square, lambda x: jnp.sqrt(x - x)], x)
        )(x)

    own = jax.jit(sweep(branch, mesh_of(1), 1, (0, 0)))
    np.testing.assert_array_equal(own(jnp.zeros(2, jnp.int32), jnp.array([1.0, 2.0])), [2.0, 4.0])
    assert "conditional" in own.lower(jnp.zeros(2, jnp.int32), jnp.ones(2)).compile().as_text()


def test_trials_do_not_communicate():
    swept = jax.jit(sweep(lambda x: x @ x.T, mesh_of(2), 1, (0,)))
    compiled = swept.lower(jnp.ones((4, 3, 3))).compile().as_text()
    for collective in ("all-reduce", "all-gather", "collective-permute", "all-to-all"):
        assert collective not in compiled


def test_devices_beyond_the_trials_share_batches():
    mesh = make_mesh(1, jax.devices(), data_devices=2)
    assert dict(mesh.shape) == {"trial": 1, "data": 2}

    def mean_image(state, views, batch):
        return state + views * batch["image"].sum(), {"rows": batch["label"]}

    arguments = (jnp.zeros(2), jnp.float32(1), DATA, jnp.array([[0, 1], [2, 3], [4, 0]]), 0, 3)
    axes = (0, None, None, None, None, None)
    swept = jax.jit(sweep(loop_steps(mean_image, 3), mesh, 1, axes))
    alone = jax.jit(sweep(loop_steps(mean_image, 3), mesh_of(1), 1, axes))
    assert "all-reduce" in swept.lower(*arguments).compile().as_text()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        swept(*arguments),
        alone(*arguments),
    )


def test_padding_fills_all_groups_of_all_devices():
    assert [padded_length(n, mesh_of(2), 2) for n in (1, 4, 5)] == [4, 4, 8]
    assert make_mesh(1, jax.devices()).size == 1


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
    loop = jax.jit(loop_steps(step, 3))
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
    loop = loop_steps(counting_step, 3)
    half, _ = loop(jnp.int32(0), jnp.int32(1), DATA, positions, 0, 1)
    assert (
        loop(half, jnp.int32(1), DATA, positions, 1, 2)[0]
        == loop(jnp.int32(0), jnp.int32(1), DATA, positions, 0, 3)[0]
    )
