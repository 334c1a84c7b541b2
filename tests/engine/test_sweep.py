"""`sweep` has the contract of `jax.vmap`, whatever the number of trials, the devices and the grouping."""

from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blurjax.engine import DATA_AXIS, loop_steps, make_mesh, mapping, padded_length, sweep

COLLECTIVES = ("all-reduce", "all-gather", "collective-permute", "all-to-all", "reduce-scatter")


def mesh_of(devices):
    return make_mesh(devices, jax.devices())


def numbers(*shape):
    return jnp.arange(1, np.prod(shape) + 1, dtype=jnp.float32).reshape(shape)


class Pair(NamedTuple):
    own: object
    common: object


def combine(trial, shared, pair):
    return {"sum": trial + shared, "pair": Pair(trial * pair.own + pair.common, pair.common)}


def assert_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("jit", [jax.jit, lambda function: function], ids=["jit", "called"])
@pytest.mark.parametrize("trials_per_vmap", [None, 1, 2, 4])
@pytest.mark.parametrize("mesh", [None, 1, 2])
@pytest.mark.parametrize("trials", [1, 2, 3, 4, 5])
def test_equals_vmap_for_any_number_of_trials(trials, mesh, trials_per_vmap, jit):
    arguments = numbers(trials), jnp.float32(3), Pair(numbers(trials)[::-1], jnp.float32(5))
    in_axes = (0, None, Pair(0, None))
    mesh = mesh and mesh_of(mesh)
    swept = jit(sweep(combine, in_axes, mesh=mesh, trials_per_vmap=trials_per_vmap))
    assert_equal(swept(*arguments), jax.vmap(combine, in_axes)(*arguments))


@pytest.mark.parametrize("trials_per_vmap", [1, 2])
@pytest.mark.parametrize(
    ("in_axes", "out_axes"),
    [
        ((1,), 0),
        (1, 0),
        ([1], 0),
        (-1, 0),
        ((-2,), 0),
        (2, 0),
        (0, 1),
        (0, -1),
        (1, 2),
        (-1, -2),
        (({"a": 1, "b": None},), 0),
        (({"a": None, "b": 2},), (0, {"a": -1, "b": 1})),
        (({"a": -1, "b": None},), (1, {"a": 0, "b": None})),
        (({"a": 0, "b": 0},), (0, 2)),
    ],
)
@pytest.mark.parametrize("trials", [2, 3])
def test_axes_mean_what_they_mean_to_vmap(trials, in_axes, out_axes, trials_per_vmap):
    def function(tree):
        return tree["a"].sum(axis=0)[None] - tree["b"].max(), {"a": 2 * tree["a"], "b": tree["b"]}

    tree = {"a": numbers(trials, trials, trials), "b": -numbers(trials, trials, trials)}
    swept = sweep(function, in_axes, out_axes, trials_per_vmap=trials_per_vmap)
    assert_equal(swept(tree), jax.vmap(function, in_axes, out_axes)(tree))


def test_columns_are_trials_where_in_axes_says_so():
    table = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(sweep(jnp.sum, (1,))(table), [3, 5, 7])
    np.testing.assert_array_equal(sweep(jnp.sum, (0,))(table), [3, 12])


def test_keys_integers_and_trees_without_leaves_are_arguments_too():
    def function(key, count, nothing):
        assert nothing is None
        return jax.random.uniform(key, (2,)) + count, jax.random.split(key)

    arguments = jax.random.split(jax.random.key(0), 3), 7, None
    values, keys = sweep(function, (0, None, None))(*arguments)
    expected, expected_keys = jax.vmap(function, (0, None, None))(*arguments)
    np.testing.assert_array_equal(values, expected)
    assert (keys == expected_keys).all()


@pytest.mark.parametrize(
    ("in_axes", "out_axes", "error", "message"),
    [
        ((0, None), {"sum": None}, ValueError, "output was batched"),
        ((0, None), {"other": 0}, ValueError, "tree prefix"),
        ((0, None), {"sum": 5}, ValueError, "out of bounds"),
        ((0, 0), 0, ValueError, "inconsistent sizes.*\n.*argument first.*\n.*argument second"),
        ((0,), 0, ValueError, r"len\(in_axes\)=1, len\(args\)=2"),
        ((4, 0), 0, ValueError, "axis 4"),
        (({"a": 0}, None), 0, ValueError, "tree prefix"),
        (None, 0, ValueError, "at least one non-None"),
        ("first", 0, TypeError, "in_axes"),
    ],
)
def test_what_does_not_fit_is_refused_as_by_vmap(in_axes, out_axes, error, message):
    def function(first, second):
        return {"sum": first + second.sum()}

    for mapped in (jax.vmap, sweep):
        with pytest.raises(error, match=message):
            mapped(function, in_axes, out_axes)(numbers(2), numbers(3))


def test_meshes_and_groups_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="an axis 'trial', as make_mesh returns it"):
        sweep(jnp.sin, mesh=jax.make_mesh((2,), ("batch",)))
    with pytest.raises(ValueError, match="trials_per_vmap is 0"):
        sweep(jnp.sin, trials_per_vmap=0)
    with pytest.raises(ValueError, match=r"use jax\.vmap for the inner one"):
        sweep(sweep(jnp.sin))(numbers(2, 3))
    np.testing.assert_array_equal(sweep(jax.vmap(jnp.negative))(numbers(3, 2)), -numbers(3, 2))


def test_a_shared_index_keeps_its_branch_and_an_own_one_too_without_vmap():
    """Under vmap, every branch of a switch on a trial's own index would run."""

    def branch(index, x):
        return jax.grad(
            lambda x: jax.lax.switch(index, [jnp.square, lambda x: jnp.sqrt(x - x)], x)
        )(x)

    x = jnp.array([1.0, 2.0])
    own = jax.jit(sweep(branch, mesh=mesh_of(1), trials_per_vmap=1))
    np.testing.assert_array_equal(own(jnp.zeros(2, jnp.int32), x), [2.0, 4.0])
    assert "conditional" in own.lower(jnp.zeros(2, jnp.int32), x).compile().as_text()
    shared = jax.jit(sweep(branch, (None, 0), mesh=mesh_of(1), trials_per_vmap=2))
    np.testing.assert_array_equal(shared(jnp.int32(0), x), [2.0, 4.0])
    assert "conditional" in shared.lower(jnp.int32(0), x).compile().as_text()


def train(weights, images):
    def step(weights, _):
        gradient = jax.grad(lambda w: jnp.mean(jnp.tanh(images @ w) ** 2))(weights)
        return weights - 0.1 * gradient, gradient.sum()

    return jax.lax.scan(step, weights, length=5)


@pytest.mark.parametrize("trials_per_vmap", [1, 2])
@pytest.mark.parametrize("trials", [3, 4])
def test_a_trial_has_the_same_bits_alone_as_among_others(trials, trials_per_vmap, rng):
    weights = rng.normal(size=(trials, 6, 3)).astype(np.float32)
    images = rng.normal(size=(8, 6)).astype(np.float32)
    swept = sweep(train, (0, None), trials_per_vmap=trials_per_vmap)
    together = swept(weights, images)
    for i in range(trials):
        alone = swept(weights[i : i + 1], images)
        assert_equal(jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], together), alone)


@pytest.mark.parametrize("out_axes", [0, (0, {"trial": 0, "shared": None})])
def test_trials_do_not_communicate(out_axes):
    def function(x, shared):
        return x @ x.T, {"trial": x.sum() + shared, "shared": 2 * shared}

    swept = jax.jit(sweep(function, (0, None), out_axes, mesh=mesh_of(2), trials_per_vmap=1))
    compiled = swept.lower(jnp.ones((4, 3, 3)), jnp.float32(2)).compile().as_text()
    assert not [name for name in COLLECTIVES if name in compiled]


def test_nothing_is_padded_or_cut_where_the_trials_divide_evenly():
    def operations(trials):
        program = jax.make_jaxpr(sweep(jnp.sin, trials_per_vmap=2))(numbers(trials, 3))
        return {name for name in ("concatenate", "slice", "transpose") if name in str(program)}

    assert operations(4) == operations(8) == set()
    assert operations(3) == {"concatenate", "slice"}


def test_a_donated_state_is_reused():
    swept = jax.jit(sweep(lambda state: state + 1, mesh=mesh_of(2)), donate_argnums=0)
    state = swept(jnp.zeros((4, 3)))
    state, before = swept(state), state
    assert before.is_deleted()
    np.testing.assert_array_equal(state, np.full((4, 3), 2))
    assert "input_output_alias" in swept.lower(jnp.zeros((4, 3))).compile().as_text()


def test_one_trace_serves_many_calls_and_lengths():
    traces = []

    def step(state, batch):
        traces.append(1)
        return state + batch, state

    swept = sweep(loop_steps(step, lambda data, i: data[i], 4), (0, None, None, None))
    for start, length in [(0, 4), (1, 2), (3, 1)]:
        states, metrics = swept(numbers(3), numbers(5), start, length)
        np.testing.assert_array_equal(states, numbers(3) + numbers(5)[start : start + length].sum())
        np.testing.assert_array_equal(metrics[:, 0], numbers(3))
        np.testing.assert_array_equal(metrics[:, length:], np.zeros((3, 4 - length)))
        if start == 0:
            once = len(traces)
    assert len(traces) == once


@pytest.mark.parametrize("trials", [1, 2, 3])
def test_devices_of_a_second_axis_share_what_is_constrained_to_it(trials):
    mesh = make_mesh(1, jax.devices(), data_devices=2)
    assert dict(mesh.shape) == {"trial": 1, "data": 2}

    def mean(weight, batch):
        if DATA_AXIS in jax.sharding.get_abstract_mesh().axis_names:
            spec = jax.sharding.PartitionSpec(DATA_AXIS)
            batch = jax.lax.with_sharding_constraint(batch, spec)
        return jnp.tanh(weight * batch).mean()

    swept = jax.jit(sweep(mean, (0, None), mesh=mesh))
    arguments = numbers(trials), numbers(8, 2)
    assert "all-reduce" in swept.lower(*arguments).compile().as_text()
    alone = sweep(mean, (0, None), mesh=mesh_of(1))(*arguments)
    np.testing.assert_allclose(swept(*arguments), alone, rtol=1e-6)


def test_gradients_flow_through_a_sweep():
    def total(x):
        return sweep(lambda x: (x**3).sum())(x).sum()

    np.testing.assert_array_equal(jax.grad(total)(numbers(3, 2)), 3 * numbers(3, 2) ** 2)


def test_without_a_mesh_as_many_devices_work_as_there_are_trials():
    assert sweep(jnp.sin)(numbers(1)).sharding.num_devices == 1
    assert sweep(jnp.sin)(numbers(4)).sharding.num_devices == 2


def test_all_trials_of_a_device_are_side_by_side_on_accelerators():
    """The default for a mesh of accelerators, made up here."""

    def default(platform, trials):
        devices = np.array([SimpleNamespace(platform=platform)] * 2)
        mesh = SimpleNamespace(devices=devices, shape={"trial": 2})
        return mapping._default_trials_per_vmap(trials, mesh)  # pyright: ignore

    assert [default("tpu", n) for n in (1, 4, 5)] == [1, 2, 3]
    assert default("cpu", 4) == 1


def test_padding_fills_all_groups_of_all_devices():
    assert [padded_length(n, mesh_of(2), 2) for n in (1, 4, 5)] == [4, 4, 8]
    assert make_mesh(1, jax.devices()).size == 1
