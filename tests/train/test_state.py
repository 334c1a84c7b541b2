"""One update: against optax written out, averaged, and frozen for good where something is not finite."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from networks import Normalized

from blurjax.config.settings import ClassifierConfig
from blurjax.engine.random import key
from blurjax.train import state as train_state
from blurjax.train.optimizers import make_optimizer, register_optimizer
from blurjax.train.state import Best, Hyperparameters, better_of, first_state

MODEL, EXAMPLE = nn.Dense(2), jnp.ones((1, 3))
STEPS = 10


@pytest.fixture(autouse=True)
def _plain_gradient(registries):
    """An optimizer whose direction is the gradient."""
    register_optimizer("one", optax.identity)


def start(seed=0, learning_rate=0.1, weight_decay=0.0, model=MODEL, averaged=False, **settings):
    optimizer = make_optimizer(ClassifierConfig(**settings), STEPS)
    rates = np.float32(learning_rate), np.float32(weight_decay)
    hyperparameters = Hyperparameters(np.uint32(seed), *rates, np.int32(0), np.int32(0))
    variables = dict(model.init(key(seed, "test"), EXAMPLE))
    return first_state(
        hyperparameters, variables, optimizer=optimizer, averaged=averaged
    ), optimizer


def update(state, loss, grads, optimizer, model_state=None, average_decay=0.0):
    return train_state.update(
        state,
        jnp.float32(loss),
        grads,
        state.model_state if model_state is None else model_state,
        optimizer=optimizer,
        average_decay=average_decay,
    )


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
        state = update(state, 1.0, grads, optimizer)
        updates, opt_state = reference.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), state.params, params)
    assert state.step == 4


def test_the_triangular_schedule_rises_and_falls_linearly():
    state, optimizer = start(
        optimizer="one", schedule="triangular", warmup_fraction=0.2, gradient_clip=None
    )
    rates = []
    for _ in range(STEPS):
        after = update(state, 1.0, gradients(state), optimizer)
        rates.append(float(state.params["bias"][0] - after.params["bias"][0]))
        state = after
    expected = [0.0, 0.5, *(1 - np.arange(8) / 8)]  # two steps up, eight down
    np.testing.assert_allclose(rates, 0.1 * np.array(expected), atol=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "triangular"])
def test_a_warm_up_that_rounds_to_all_steps_leaves_one_to_fall_in(schedule):
    settings = {"schedule": schedule, "warmup_fraction": 0.99, "gradient_clip": None}
    state, optimizer = start(optimizer="one", **settings)
    for _ in range(STEPS):
        before, state = state, update(state, 1.0, gradients(state), optimizer)
    moved = float(before.params["bias"][0] - state.params["bias"][0])
    assert moved == pytest.approx(0.1)  # the peak, at the last step


@pytest.mark.parametrize(("limit", "norm"), [(1.0, 1.0), (None, 300.0)])
def test_gradients_are_clipped_unless_there_is_no_limit(limit, norm):
    state, optimizer = start(optimizer="one", gradient_clip=limit, warmup_fraction=0.0)
    grads = jax.tree.map(jnp.zeros_like, state.params) | {"bias": jnp.array([180.0, 240.0])}
    after = update(state, 1.0, grads, optimizer)
    moved = np.linalg.norm(after.params["bias"] - state.params["bias"])
    assert moved == pytest.approx(0.1 * norm, rel=1e-5)


SHAPES = {"convolution": (3, 3, 2, 5), "dense": (5, 2), "bias": (5,)}


def arrays(stream):
    return {n: jax.random.normal(key(stream, n), shape) for n, shape in SHAPES.items()}


@partial(jax.jit, static_argnames="steps")
def with_muon(rate, stream, steps):
    """Parameters after a few steps with gradients of their own."""
    optimizer = make_optimizer(ClassifierConfig(optimizer="muon", warmup_fraction=0.0), STEPS)
    decay, rest = jnp.float32(0), jnp.int32(0)
    transformation = optimizer(Hyperparameters(stream, rate, decay, rest, rest))
    params = arrays(stream)

    def step(number, carried):
        params, opt_state = carried
        updates, opt_state = transformation.update(arrays(number), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return jax.lax.fori_loop(0, steps, step, (params, transformation.init(params)))[0]


def test_muon_equals_optax_on_kernels_as_matrices_of_output_columns():
    def flat(tree):
        return tree | {"convolution": tree["convolution"].reshape(18, 5)}

    schedule = optax.cosine_decay_schedule(0.1, STEPS)
    reference = optax.chain(
        optax.clip_by_global_norm(1.0), optax.contrib.muon(schedule, consistent_rms=0.2)
    )

    def step(number, carried):
        params, opt_state = carried
        updates, opt_state = reference.update(flat(arrays(number)), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    start = flat(arrays(0))
    expected, _ = jax.jit(partial(jax.lax.fori_loop, 0, 3, step))((start, reference.init(start)))
    found = flat(with_muon(jnp.float32(0.1), 0, 3))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), found, expected)


def test_muon_moves_a_kernel_by_a_nearly_orthogonal_matrix_of_adams_size():
    moved = with_muon(jnp.float32(0.1), 0, 1)["convolution"] - arrays(0)["convolution"]
    singular = np.linalg.svd(np.asarray(moved).reshape(18, 5), compute_uv=False)
    relative = singular / (0.1 * 0.2 * np.sqrt(18))
    assert (relative > 0.6).all()
    assert (relative < 1.3).all()
    assert np.sqrt(np.mean(np.square(moved))) == pytest.approx(0.1 * 0.2, rel=0.2)


@pytest.mark.slow
def test_muon_side_by_side_is_muon_alone():
    rates, streams = jnp.array([0.1, 0.02]), jnp.array([0, 1])
    swept = jax.vmap(partial(with_muon, steps=3))(rates, streams)
    for row in range(2):
        jax.tree.map(
            lambda a, b, row=row: np.testing.assert_allclose(a[row], b, rtol=1e-4, atol=1e-5),
            swept,
            with_muon(rates[row], streams[row], 3),
        )


def test_an_optimizer_of_ones_own_gives_the_direction(registries):
    register_optimizer("sign", lambda: optax.stateless(lambda g, _: jax.tree.map(jnp.sign, g)))
    state, optimizer = start(optimizer="sign", warmup_fraction=0.0)
    after = update(state, 1.0, gradients(state, -3.0), optimizer)
    np.testing.assert_allclose(after.params["kernel"], state.params["kernel"] + 0.1, rtol=1e-6)
    with pytest.raises(ValueError, match="there is another optimizer named sign"):
        register_optimizer("sign", optax.scale_by_adam)


def test_weight_decay_shrinks_kernels_and_spares_biases():
    state, optimizer = start(weight_decay=0.5, warmup_fraction=0.0)
    after = update(state, 1.0, gradients(state, 0.0), optimizer)
    np.testing.assert_allclose(
        after.params["kernel"], state.params["kernel"] * (1 - 0.1 * 0.5), rtol=1e-6
    )
    np.testing.assert_array_equal(after.params["bias"], state.params["bias"])


def test_equal_seeds_give_equal_parameters_and_others_do_not():
    np.testing.assert_array_equal(start(1)[0].params["kernel"], start(1)[0].params["kernel"])
    assert (start(1)[0].params["kernel"] != start(2)[0].params["kernel"]).all()


def test_a_model_without_further_variables_has_an_empty_state():
    state, _ = start()
    assert state.model_state == {}
    assert state.average is None
    assert state.variables == {"params": state.params}


def test_the_average_of_the_weights_is_what_evaluation_uses():
    state, optimizer = start(averaged=True, optimizer="sgd", warmup_fraction=0.0)
    seen, shares = [], 0.25 * 0.75 ** np.arange(4)[::-1]
    for _ in range(4):
        state = update(state, 1.0, gradients(state), optimizer, average_decay=0.75)
        seen.append(np.asarray(state.params["kernel"], np.float64))
    expected = np.average(seen, axis=0, weights=shares)  # of which the first parameters are no part
    np.testing.assert_allclose(state.variables["params"]["kernel"], expected, rtol=1e-5)
    assert (np.abs(state.params["kernel"] - expected) > 1e-3).all()


def test_batch_statistics_are_averaged_with_the_weights():
    state, optimizer = start(model=Normalized(2), averaged=True, warmup_fraction=0.0)
    for value in (1.0, 3.0):
        moved = jax.tree.map(lambda leaf, x=value: jnp.full_like(leaf, x), state.model_state)
        state = update(state, 1.0, gradients(state), optimizer, moved, average_decay=0.5)
    mean = state.variables["batch_stats"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(mean, (0.25 * 1 + 0.5 * 3) / 0.75, rtol=1e-6)
    np.testing.assert_array_equal(state.model_state["batch_stats"]["BatchNorm_0"]["mean"], 3)


def test_an_average_of_one_step_is_that_step():
    state, optimizer = start(averaged=True, warmup_fraction=0.0)
    state = update(state, 1.0, gradients(state), optimizer, average_decay=0.9999)
    kernel = state.variables["params"]["kernel"]
    np.testing.assert_allclose(kernel, state.params["kernel"], rtol=1e-5)


def test_the_best_variables_are_the_first_with_the_highest_accuracy_of_each_trial():
    best = Best({"kernel": jnp.zeros((2, 3))}, jnp.full(2, -1.0))
    for epoch, accuracy in enumerate([[0.5, 0.0], [0.7, 0.2], [0.7, 0.1], [0.6, 0.9]], 1):
        best = better_of(best, {"kernel": jnp.full((2, 3), epoch)}, jnp.array(accuracy))
    np.testing.assert_array_equal(best.variables["kernel"], np.array([[2.0] * 3, [4.0] * 3]))
    np.testing.assert_allclose(best.accuracy, [0.7, 0.9])


@pytest.mark.parametrize(
    ("loss", "scale", "learning_rate"),
    [(np.nan, 1.0, 0.1), (np.inf, 1.0, 0.1), (1.0, np.nan, 0.1), (1.0, -1.0, np.float32(3e38))],
    ids=["loss is nan", "loss is infinite", "gradient is nan", "update overflows"],
)
def test_a_trial_that_is_not_finite_is_frozen_for_good(loss, scale, learning_rate):
    state, optimizer = start(learning_rate=learning_rate, warmup_fraction=0.0)
    fine = update(state, 1.0, gradients(state, 0.0), optimizer)
    huge = jax.tree.map(lambda p: p + 3e38, fine.params) if learning_rate > 1 else fine.params
    fine = fine._replace(params=huge)
    failed = update(fine, loss, gradients(fine, scale), optimizer)
    later = update(failed, 1.0, gradients(fine), optimizer)
    assert fine.failed_step == -1
    assert (failed.failed_step, later.failed_step) == (1, 1)
    assert (failed.step, later.step) == (2, 3)
    jax.tree.map(np.testing.assert_array_equal, later.params, fine.params)
    jax.tree.map(np.testing.assert_array_equal, later.opt_state, fine.opt_state)


@pytest.mark.parametrize("value", [0.5, np.nan], ids=["loss is nan", "statistics are nan too"])
def test_everything_that_a_frozen_trial_carries_stays(value):
    state, optimizer = start(model=Normalized(2), averaged=True, warmup_fraction=0.0)
    ones, moved = (
        jax.tree.map(lambda leaf, x=x: jnp.full_like(leaf, x), state.model_state)
        for x in (1.0, value)
    )
    fine = update(state, 1.0, gradients(state), optimizer, ones, average_decay=0.5)
    jax.tree.map(np.testing.assert_array_equal, fine.model_state, ones)
    failed = update(fine, np.nan, gradients(state), optimizer, moved, average_decay=0.5)
    later = update(failed, 1.0, gradients(state), optimizer, ones, average_decay=0.5)
    for name in ("params", "model_state", "opt_state", "average", "variables"):
        jax.tree.map(np.testing.assert_array_equal, getattr(later, name), getattr(fine, name))
    assert (later.failed_step, later.step) == (1, 3)


def test_statistics_that_are_not_finite_freeze_a_trial():
    state, optimizer = start(model=Normalized(2), warmup_fraction=0.0)
    broken = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.inf), state.model_state)
    failed = update(state, 1.0, gradients(state), optimizer, broken)
    assert failed.failed_step == 0
    jax.tree.map(np.testing.assert_array_equal, failed.model_state, state.model_state)


class Counting(nn.Module):
    """Counts its calls in training."""

    @nn.compact
    def __call__(self, x, *, train=False):
        calls = self.variable("counts", "calls", lambda: jnp.int32(0))
        calls.value += train
        return nn.Dense(2)(x)


def test_whole_numbers_have_no_average():
    state, optimizer = start(model=Counting(), averaged=True)
    for calls in range(1, 11):
        counted = {"counts": {"calls": jnp.int32(calls)}}
        state = update(state, 1.0, gradients(state), optimizer, counted, average_decay=0.9)
    assert state.variables["counts"]["calls"] == 10
