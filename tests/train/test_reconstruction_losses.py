"""Losses that autoencoders are trained with, and the noise that they are to remove."""

import json
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import config, write_stripes

from blurjax import run_experiment
from blurjax.engine.random import key
from blurjax.models import apply
from blurjax.models.autoencoders import ConvAutoencoder
from blurjax.runtime.files import read_npz
from blurjax.train.augmentation import Augmentation
from blurjax.train.losses import RECONSTRUCTION_LOSSES
from blurjax.train.steps import autoencoder_train_step
from blurjax.views.image_quality import ssim

IMAGES = jax.random.uniform(jax.random.key(0), (6, 8, 8, 3))
OTHERS = jax.random.uniform(jax.random.key(1), (6, 8, 8, 3))
MODEL = ConvAutoencoder((8, 8, 3), max_bottleneck=4, width=4)


def test_losses_by_hand():
    dark, half = jnp.zeros((1, 8, 8, 1)), jnp.full((1, 8, 8, 1), 0.5)
    # Without structure, SSIM is its luminance term, (2 ab + C1) / (a^2 + b^2 + C1), C1 = 0.0001.
    structure = 1 - 1e-4 / 0.2501
    expected = {"mse": 0.25, "l1": 0.5, "ssim": structure, "mix": 0.84 * structure + 0.16 * 0.5}
    for name, value in expected.items():
        loss = RECONSTRUCTION_LOSSES[name](half, dark)
        np.testing.assert_allclose(loss, [value], rtol=1e-5, err_msg=name)


def test_dissimilarity_is_that_of_the_measured_ssim():
    first, second = (jnp.round(images * 255) / 255 for images in (IMAGES, OTHERS))
    for weight in (0.0, 0.1, 0.9):
        mixed = jnp.round((weight * second + (1 - weight) * first) * 255) / 255
        ours = RECONSTRUCTION_LOSSES["ssim"](mixed, first)
        np.testing.assert_allclose(ours, 1 - ssim(mixed, first), atol=1e-5)


def test_mix_is_of_ssim_and_l1():
    mix, structure, l1 = (
        np.asarray(RECONSTRUCTION_LOSSES[name](OTHERS, IMAGES)) for name in ("mix", "ssim", "l1")
    )
    np.testing.assert_allclose(mix, 0.84 * structure + 0.16 * l1, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECONSTRUCTION_LOSSES)
def test_gradients_are_right_and_finite_where_images_are_equal(name):
    def loss(images, to=IMAGES):
        return RECONSTRUCTION_LOSSES[name](images, to).sum()

    gradient = jax.grad(loss)(OTHERS)
    direction = 0.01 * gradient / jnp.linalg.norm(gradient)
    slope = (loss(OTHERS + direction) - loss(OTHERS - direction)) / 0.02
    assert slope == pytest.approx(float(jnp.linalg.norm(gradient)), rel=0.01)
    for images in (IMAGES, jnp.full((1, 8, 8, 1), 0.3), jnp.zeros((1, 8, 8, 1))):
        value, gradient = jax.value_and_grad(partial(loss, to=images))(images)
        assert abs(value) < 1e-5
        assert jnp.abs(gradient).max() < 0.02  # false where it is not a number


def losses_of_steps(positions, *, seed=7, microbatches=1, **recipe):
    """The loss of a step at each position, of untrained parameters."""
    seen = []

    def update(state, loss, grads, model_state):
        seen.append(float(loss))
        return state

    params = MODEL.init(jax.random.key(2), IMAGES, 4)["params"]
    values = SimpleNamespace(seed=jnp.uint32(seed), bottleneck=jnp.int32(4))
    state: Any = SimpleNamespace(params=params, model_state={}, hyperparameters=values)
    step = partial(
        autoencoder_train_step, model=MODEL, update=update, microbatches=microbatches, **recipe
    )
    for position in positions:
        state.step = jnp.int32(position)
        batch = {"image": IMAGES, "mask": jnp.ones(6, bool), "index": jnp.arange(6)}
        step(state, None, batch)
    return seen, state.params


@pytest.mark.slow
def test_noise_is_added_to_what_is_given_and_not_to_what_is_wanted():
    (loss,), params = losses_of_steps([3], loss="l1", denoising=0.5)
    noisy = IMAGES + 0.5 * jax.random.normal(key(7, "denoising", 3), IMAGES.shape)
    output, _ = apply(MODEL, {"params": params}, noisy, 4)
    assert loss == pytest.approx(float(jnp.abs(output - IMAGES).mean()), rel=1e-5)


def test_noise_depends_on_seed_and_step_and_not_on_microbatches():
    first, again, later = losses_of_steps([3, 3, 4], denoising=0.5)[0]
    assert first == again != later
    assert losses_of_steps([3], denoising=0.5, seed=8)[0] != [first]
    assert losses_of_steps([3], denoising=0.5, microbatches=3)[0] == pytest.approx(
        [first], rel=1e-5
    )
    assert losses_of_steps([3])[0] == losses_of_steps([4])[0]


def test_flips_and_shifts_change_the_images_and_what_is_wanted_alike():
    augmentation = Augmentation(flip="random", shift=2, stream="of autoencoders")
    drawn = augmentation.draw(jnp.uint32(7), jnp.int32(3), jnp.arange(6), 8)
    augmented = augmentation.apply(IMAGES, drawn)
    (loss,), params = losses_of_steps([3], augmentation=augmentation)
    output, _ = apply(MODEL, {"params": params}, augmented, 4)
    assert loss == pytest.approx(float(jnp.mean((output - augmented) ** 2)), rel=1e-5)
    assert loss != losses_of_steps([3])[0][0]


@pytest.mark.slow
def test_a_trial_alone_equals_one_of_a_sweep_and_curves_show_the_mean_squared_error(tmp_path):
    source = write_stripes(tmp_path / "stripes.npz")
    settings = partial(
        config,
        source,
        autoencoder__loss="mix",
        autoencoder__denoising=0.1,
        autoencoder__flip=True,
        autoencoder__shift=1,
        autoencoder__variational=0.001,
        views__train=["reconstruction"],
        views__test=["reconstruction"],
    )
    both = run_experiment(settings(sweep__num_seeds=2), tmp_path / "both")
    alone = run_experiment(settings(sweep__first_seed=1, sweep__num_seeds=1), tmp_path / "alone")
    ours, theirs = (
        run["points"][0]["loss"]["reconstruction"]["reconstruction"]["per_trial"]
        for run in (both, alone)
    )
    assert ours[1:] == theirs
    lines = [
        json.loads(line) for line in (tmp_path / "both" / "metrics.jsonl").read_text().splitlines()
    ]
    last = [line for line in lines if line["stage"] == "autoencoder"][-1]
    path = tmp_path / "both" / "predictions" / "quality-reconstruction-validation.npz"
    rounded = read_npz(path)["mse"].mean(axis=1)
    np.testing.assert_allclose(last["validation"]["loss"], rounded, rtol=0.01)
    assert min(last["loss"]) > 2 * max(last["validation"]["loss"])
