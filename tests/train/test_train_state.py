"""One update: against optax written out, and frozen for good where something is not finite."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from blurjax.config.settings import ClassifierConfig
from blurjax.engine.types import Trial
from blurjax.train.state import apply_gradients, init, make_optimizer

MODEL = nn.Dense(2)
STEPS = 10


def start(seed=0, learning_rate=0.1, weight_decay=0.0, **settings):
    optimizer = make_optimizer(ClassifierConfig(**settings), STEPS)
    trial = Trial(np.uint32(seed), np.float32(learning_rate), np.float32(weight_decay), 0)
    return init(
        trial, model=MODEL, example=(jnp.ones((1, 3)),), stream="test", optimizer=optimizer
    ), optimizer


def gradients(state, scale=1.0):
    return jax.tree.map(lambda p: scale * jnp.ones_like(p), state.params)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_updates_equal_optax_with_the_schedule_written_out(name):
    state, optimizer = start(optimizer=name, gradient_clip=0.5, warmup_fraction=0.2)
    schedule = optax.warmup_cosine_decay_schedule(0.0, 0.1, 2, STEPS)
    rule = (
        optax.adam(schedule)
        if name == "adamw"
        else optax.sgd(schedule, momentum=0.9, nesterov=True)
    )
    reference = optax.chain(optax.clip_by_global_norm(0.5), rule)
    params, opt_state = state.params, reference.init(state.params)
    for _ in range(4):
        grads = gradients(state)
        state = apply_gradients(state, jnp.float32(1.0), grads, optimizer)
        updates, opt_state = reference.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), state.params, params)
    assert state.step == 4


def test_weight_decay_shrinks_kernels_and_spares_biases():
    state, optimizer = start(weight_decay=0.5, warmup_fraction=0.0)
    after = apply_gradients(state, jnp.float32(1.0), gradients(state, 0.0), optimizer)
    np.testing.assert_allclose(
        after.params["kernel"], state.params["kernel"] * (1 - 0.1 * 0.5), rtol=1e-6
    )
    np.testing.assert_array_equal(after.params["bias"], state.params["bias"])


def test_equal_seeds_give_equal_parameters_and_others_do_not():
    np.testing.assert_array_equal(start(1)[0].params["kernel"], start(1)[0].params["kernel"])
    assert (start(1)[0].params["kernel"] != start(2)[0].params["kernel"]).all()


@pytest.mark.parametrize(
    ("loss", "scale", "learning_rate"),
    [(np.nan, 1.0, 0.1), (np.inf, 1.0, 0.1), (1.0, np.nan, 0.1), (1.0, -1.0, np.float32(3e38))],
    ids=["loss is nan", "loss is infinite", "gradient is nan", "update overflows"],
)
def test_a_trial_that_is_not_finite_is_frozen_for_good(loss, scale, learning_rate):
    state, optimizer = start(learning_rate=learning_rate, warmup_fraction=0.0)
    fine = apply_gradients(state, jnp.float32(1.0), gradients(state, 0.0), optimizer)
    huge = jax.tree.map(lambda p: p + 3e38, fine.params) if learning_rate > 1 else fine.params
    fine = fine._replace(params=huge)
    failed = apply_gradients(fine, jnp.float32(loss), gradients(fine, scale), optimizer)
    later = apply_gradients(failed, jnp.float32(1.0), gradients(fine), optimizer)
    assert fine.failed_step == -1
    assert (failed.failed_step, later.failed_step) == (1, 1)
    assert (failed.step, later.step) == (2, 3)
    jax.tree.map(np.testing.assert_array_equal, later.params, fine.params)
    jax.tree.map(np.testing.assert_array_equal, later.opt_state, fine.opt_state)
