"""Random codes: their divergence, their mean, and what its weight does."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import images, init, output
from sklearn.datasets import load_digits

from blurjax.models import VariationalAutoencoder
from blurjax.models.autoencoders import ConvAutoencoder, MlpAutoencoder
from blurjax.train import losses, steps

MODEL = VariationalAutoencoder(ConvAutoencoder((8, 8, 1), 6, width=2), 6)


@pytest.fixture(scope="module")
def params():
    """As after some training: the variances depend on the code."""
    params = init(MODEL, images(), 6)
    kernel = 0.5 * jax.random.normal(jax.random.key(1), (6, 6))
    return params | {"log_variance": {**params["log_variance"], "kernel": kernel}}


def test_images_and_codes_are_those_of_the_mean(params):
    inner = params["model"]
    for method in (None, "encode"):
        ours = output(MODEL, params, images(), 4, method=method)
        np.testing.assert_array_equal(ours, output(MODEL.model, inner, images(), 4, method=method))


def test_a_sample_lies_around_the_mean_and_its_divergence_is_that_of_the_two_normals(params):
    noise = jax.random.normal(jax.random.key(2), (3, 6))
    reconstructions, divergence = output(MODEL, params, images(), 4, noise, method="sample")
    mean = np.asarray(output(MODEL, params, images(), 4, method="encode"))
    layer = params["log_variance"]
    variance = np.exp(mean @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]))
    in_use = np.arange(6) < 4
    code = mean + np.where(in_use, np.sqrt(variance) * np.asarray(noise), 0)
    decoded = output(MODEL, params, jnp.asarray(code), method="decode")
    np.testing.assert_allclose(reconstructions, decoded, atol=1e-5)
    # By sampling: the mean of log q(z) - log p(z), z from q.
    drawn = np.random.default_rng(0).standard_normal((200_000, 1, 6))
    z = mean + np.sqrt(variance) * drawn
    ratio = -0.5 * (drawn**2 + np.log(variance)) + 0.5 * z**2
    np.testing.assert_allclose(divergence, ratio[..., in_use].sum(-1).mean(0), rtol=0.02)


def trained(beta: float):
    """Returns the mean squared error of digits and their mean divergence after some training."""
    digits = jnp.asarray(load_digits().images[:200, :, :, None] / 16, jnp.float32)
    model = VariationalAutoencoder(MlpAutoencoder((8, 8, 1), 8, (64,)), 8)
    variables = model.init(jax.random.key(0), digits, 8)
    optimizer = optax.adam(0.01)

    def loss(variables, noise):
        reconstructions, divergence = model.apply(variables, digits, 8, noise, method="sample")
        return jnp.mean(losses.squared_error(reconstructions, digits) + beta * divergence / 64)

    @jax.jit
    def step(carry, key):
        variables, state = carry
        gradient = jax.grad(loss)(variables, jax.random.normal(key, (200, 8)))
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(variables, updates), state), None

    keys = jax.random.split(jax.random.key(1), 300)
    (variables, _), _ = jax.lax.scan(step, (variables, optimizer.init(variables)), keys)
    noise = jnp.zeros((200, 8))
    reconstructions, divergence = model.apply(variables, digits, 8, noise, method="sample")
    return float(losses.squared_error(reconstructions, digits).mean()), float(divergence.mean())


def test_a_larger_weight_leaves_less_in_the_code():
    """As far as to nothing: then the reconstruction is the mean image."""
    (error, divergence), (mixed, less), (blank, nothing) = map(trained, (1e-3, 0.1, 10.0))
    digits = load_digits().images[:200] / 16
    assert error < mixed < blank
    assert blank == pytest.approx(np.var(digits, axis=0).mean(), rel=0.02)
    assert divergence > 2 * less > 20 * nothing


@pytest.mark.slow
def test_a_step_depends_on_seed_and_step_and_not_on_microbatches(params):
    def loss(step=3, seed=7, microbatches=1, beta=0.5):
        values = SimpleNamespace(seed=jnp.uint32(seed), bottleneck=jnp.int32(4))
        state: Any = SimpleNamespace(
            params=params, model_state={}, hyperparameters=values, step=jnp.int32(step)
        )
        train = partial(steps.autoencoder_train_step, model=MODEL, microbatches=microbatches)
        batch = {"image": images(count=6), "mask": jnp.ones(6, bool)}
        update = lambda state, loss, gradient, model_state: state  # noqa: E731
        return float(train(state, None, batch, update=update, beta=beta)[1]["loss"])

    assert loss() == loss() != loss(step=4)
    assert loss() != loss(seed=8)
    assert loss() == pytest.approx(loss(microbatches=3), rel=1e-5)
    assert loss(beta=0.0) < loss()
