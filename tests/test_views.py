"""Views: pure functions of parameters, images and indices, in 8 bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blurjax.models.autoencoder import Autoencoder
from blurjax.steps import augment
from blurjax.views import VIEWS, ViewParameters, apply_view, eight_bit, view_index

MODEL = Autoencoder(image_shape=(8, 8, 1), max_bottleneck=4, width=4)
COUNT = 64
IMAGES = jnp.round(jax.random.uniform(jax.random.key(1), (COUNT, 8, 8, 1)) * 255) / 255
INDICES = jnp.arange(COUNT, dtype=jnp.int32)
PARAMS = MODEL.init(jax.random.key(0), IMAGES, 4)["params"]


def through(view, seed=0, images=IMAGES, indices=INDICES, bottleneck=4):
    parameters = ViewParameters(view_index(view), seed, bottleneck, PARAMS)
    return np.asarray(
        jax.jit(lambda p: apply_view(p, images, indices, autoencoder=MODEL))(parameters)
    )


def test_original_is_the_image_itself():
    np.testing.assert_array_equal(through("original"), IMAGES)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_returns_8_bit_values(view):
    levels = through(view) * 255
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)
    assert levels.min() >= 0
    assert levels.max() <= 255


def test_8_bit_images_stay_as_they_are_bitwise():
    values = jnp.arange(256, dtype=jnp.float32) / 255
    np.testing.assert_array_equal(eight_bit(values), values)
    np.testing.assert_array_equal(
        eight_bit(jnp.array([-0.1, 1.2, 0.5])), jnp.array([0, 1, 128 / 255])
    )


def test_reconstruction_is_the_rounded_output_of_the_autoencoder():
    painted = MODEL.apply({"params": PARAMS}, IMAGES, 4)
    np.testing.assert_allclose(through("reconstruction"), eight_bit(painted), atol=1.01 / 255)
    assert (through("reconstruction", bottleneck=1) != through("reconstruction")).any()


def test_mixed_is_half_and_half_by_seed_and_index_alone():
    mixed, painted = through("mixed"), through("reconstruction")
    is_painted = (mixed == painted).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(mixed[~is_painted], np.asarray(IMAGES)[~is_painted])
    assert 0.3 < is_painted.mean() < 0.7
    backwards = through("mixed", images=IMAGES[::-1], indices=INDICES[::-1])
    np.testing.assert_array_equal(backwards[::-1], mixed)
    assert (through("mixed", seed=1) != mixed).any()


def test_augmentation_mirrors_and_shifts_alike_in_every_view():
    once = augment(IMAGES, jnp.uint32(0), jnp.int32(5), flip=True, shift=0)
    mirrored = np.array([not np.array_equal(a, b) for a, b in zip(once, IMAGES, strict=True)])
    np.testing.assert_array_equal(
        np.asarray(once)[mirrored], np.asarray(IMAGES)[mirrored][:, :, ::-1]
    )
    assert 0.3 < mirrored.mean() < 0.7
    of_view = augment(1 - IMAGES, jnp.uint32(0), jnp.int32(5), flip=True, shift=0)
    np.testing.assert_array_equal(of_view, 1 - once)
    later = augment(IMAGES, jnp.uint32(0), jnp.int32(6), flip=True, shift=0)
    assert (np.asarray(later) != np.asarray(once)).any()


def test_shift_moves_by_whole_pixels_and_repeats_the_border():
    columns = jnp.broadcast_to(jnp.arange(8.0)[None, None, :, None], (COUNT, 8, 8, 1))
    shifted = np.asarray(augment(columns, jnp.uint32(0), jnp.int32(0), flip=False, shift=2))[
        :, 0, :, 0
    ]
    possible = {tuple(np.clip(np.arange(8) + offset, 0, 7)) for offset in range(-2, 3)}
    assert {tuple(row) for row in shifted} == possible
