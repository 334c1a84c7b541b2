"""`loop_steps` equals a loop in Python over the same steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blurjax.engine import loop_steps

CAPACITY = 4
DATA = {"table": np.arange(30, dtype=np.float32).reshape(10, 3) / 7, "rows": np.arange(10)[::-1]}


def get_batch(data, i):
    return jnp.asarray(data["table"])[jnp.asarray(data["rows"])[i]]


def step(state, batch):
    new = {"sum": state["sum"] + batch, "count": state["count"] + 1}
    return new, {"mean": new["sum"].mean(), "parts": (batch, new["count"])}


def start_state():
    return {"sum": jnp.ones(3), "count": jnp.int32(0)}


@pytest.mark.parametrize("length", [0, 1, 3, 4])
@pytest.mark.parametrize("start", [0, 5])
@pytest.mark.parametrize("jit", [jax.jit, lambda function: function], ids=["jit", "called"])
def test_equals_a_python_loop(start, length, jit):
    state, metrics = jit(loop_steps(step, get_batch, CAPACITY))(start_state(), DATA, start, length)
    expected, rows = start_state(), []
    for i in range(start, start + length):
        expected, row = step(expected, get_batch(DATA, i))
        rows.append(row)
    zero = jax.tree.map(jnp.zeros_like, step(start_state(), get_batch(DATA, 0))[1])
    rows += [zero] * (CAPACITY - length)
    expected_metrics = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    for one, other in ((state, expected), (metrics, expected_metrics)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), one, other)
        assert jax.tree.map(jnp.dtype, one) == jax.tree.map(jnp.dtype, other)


def test_one_trace_serves_all_starts_and_lengths():
    traces = []

    def counted(state, batch):
        traces.append(1)
        return step(state, batch)

    run = jax.jit(loop_steps(counted, get_batch, CAPACITY))
    run(start_state(), DATA, 0, 4)
    once = len(traces)
    assert run(start_state(), DATA, 3, 2)[0]["count"] == 2
    assert run(start_state(), DATA, 9, 1)[0]["count"] == 1
    assert len(traces) == once


def test_a_loop_in_two_parts_equals_one():
    run = loop_steps(step, get_batch, CAPACITY)
    half, first = run(start_state(), DATA, 1, 1)
    parts, second = run(half, DATA, 2, 3)
    whole, metrics = run(start_state(), DATA, 1, 4)
    jax.tree.map(np.testing.assert_array_equal, parts, whole)
    joined = np.concatenate([first["mean"][:1], second["mean"][:3]])
    np.testing.assert_array_equal(joined, metrics["mean"])
