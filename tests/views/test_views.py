"""Views: pure functions of parameters, images and indices, in 8 bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blurjax.experiment.fitting import principal_components
from blurjax.models.autoencoder import Autoencoder
from scipy import ndimage
from sklearn.decomposition import PCA

from blurjax.experiment.fitted_views import averaging_matrix
from blurjax.train.steps import augment, draw_augmentation
from blurjax.views.functions import (
    VIEWS,
    Matrices,
    ViewParameters,
    apply_view,
    eight_bit,
    view_index,
)
from blurjax.views.image_quality import gaussian_blur_matrix, radial_power_spectrum

MODEL = Autoencoder(image_shape=(8, 8, 1), max_bottleneck=4, width=4)
COUNT = 64
IMAGES = jnp.round(jax.random.uniform(jax.random.key(1), (COUNT, 8, 8, 1)) * 255) / 255
INDICES = jnp.arange(COUNT, dtype=jnp.int32)
FOLDS = 3
PARAMS, *FOLD_PARAMS = (
    MODEL.init(jax.random.key(seed), IMAGES, 4)["params"] for seed in range(FOLDS + 1)
)
FOLD_OF = np.arange(COUNT) % FOLDS
BLUR = Matrices(gaussian_blur_matrix(0.8, 8), gaussian_blur_matrix(0.8, 8))
BASIS = principal_components(np.asarray(IMAGES * 255, np.uint8), count=6, seed=0)
PARAMETERS = ViewParameters(
    view=None,
    seed=0,
    bottleneck=4,
    autoencoders=jax.tree.map(lambda *leaves: jnp.stack(leaves), PARAMS, *FOLD_PARAMS),
    fold_of=jnp.asarray(FOLD_OF),
    blur=BLUR,
    downsample=Matrices(averaging_matrix(8, 2), averaging_matrix(8, 4)),
    basis=BASIS,
    gain=jnp.array([1.0, 0.9, 0.5, 0.2, 0.0]),
)


def through(view, images=IMAGES, indices=INDICES, **changes):
    parameters = PARAMETERS._replace(view=view_index(view), **changes)
    return np.asarray(
        jax.jit(lambda p: apply_view(p, images, indices, in_use=list(VIEWS), autoencoder=MODEL))(
            parameters
        )
    )


def painted_by(params, bottleneck=4):
    return np.asarray(eight_bit(MODEL.apply({"params": params}, IMAGES, bottleneck)))


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


def test_identity_equals_original_bitwise():
    np.testing.assert_array_equal(through("identity"), through("original"))


def test_reconstruction_is_the_rounded_output_of_the_autoencoder():
    np.testing.assert_allclose(through("reconstruction"), painted_by(PARAMS), atol=1.01 / 255)
    assert (through("reconstruction", bottleneck=1) != through("reconstruction")).any()


@pytest.mark.parametrize(("view", "shift"), [("crossfit", 0), ("infold", 1)])
def test_folds_paint_what_they_did_not_see_and_what_they_saw(view, shift):
    """Fold autoencoder f was trained on every fold but f."""
    painted = through(view)
    for image, fold in enumerate(FOLD_OF):
        expected = painted_by(FOLD_PARAMS[(fold + shift) % FOLDS])[image]
        np.testing.assert_allclose(painted[image], expected, atol=1.01 / 255)


def test_blur_is_scipys_gaussian():
    expected = ndimage.gaussian_filter(np.asarray(IMAGES), (0, 0.8, 0.8, 0), truncate=8)
    np.testing.assert_allclose(through("blur"), eight_bit(expected), atol=1.01 / 255)


@pytest.mark.parametrize("bottleneck", [1, 4, 6])
def test_pca_is_scikit_learns_projection(bottleneck):
    flat = np.asarray(IMAGES, np.float64).reshape(COUNT, -1)
    oracle = PCA(bottleneck, svd_solver="full").fit(flat)
    expected = oracle.inverse_transform(oracle.transform(flat)).reshape(IMAGES.shape)
    found = through("pca", bottleneck=bottleneck)
    np.testing.assert_allclose(found, eight_bit(expected), atol=1.01 / 255)


def test_downsampling_averages_and_interpolates():
    row = averaging_matrix(8, 2) @ np.array([0, 0, 0, 0, 1, 1, 1, 1.0])
    np.testing.assert_allclose(row, [0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1])
    for fewer in (1, 3, 5, 8):
        np.testing.assert_allclose(averaging_matrix(8, fewer).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(averaging_matrix(8, 8), np.eye(8))
    means = through("downsample").mean(axis=(1, 2, 3))
    np.testing.assert_allclose(means, IMAGES.mean(axis=(1, 2, 3)), atol=0.02)


def test_spectrum_multiplies_the_power_at_each_radius():
    quiet = 0.5 + (IMAGES - 0.5) / 4  # so that nothing is clipped
    before, after = (
        np.asarray(radial_power_spectrum(images)).mean(axis=0)
        for images in (quiet, through("spectrum", images=quiet))
    )
    np.testing.assert_allclose(after[1:4] / before[1:4], [0.81, 0.25, 0.04], atol=0.01)
    assert after[4] < 1e-3 * before[4]
    np.testing.assert_allclose(
        through("spectrum", images=quiet).mean(axis=(1, 2, 3)),
        quiet.mean(axis=(1, 2, 3)),
        atol=1 / 255,
    )


def test_mixed_is_half_and_half_by_seed_and_index_alone():
    mixed, painted = through("mixed"), through("reconstruction")
    is_painted = (mixed == painted).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(mixed[~is_painted], np.asarray(IMAGES)[~is_painted])
    assert 0.3 < is_painted.mean() < 0.7
    backwards = through("mixed", images=IMAGES[::-1], indices=INDICES[::-1])
    np.testing.assert_array_equal(backwards[::-1], mixed)
    assert (through("mixed", seed=1) != mixed).any()


def augmented(images, step, *, flip=False, shift=0):
    drawn = draw_augmentation(jnp.uint32(0), jnp.int32(step), len(images), flip=flip, shift=shift)
    return augment(images, drawn, shift)


def test_augmentation_mirrors_and_shifts_alike_in_every_view():
    once = augmented(IMAGES, 5, flip=True)
    mirrored = np.array([not np.array_equal(a, b) for a, b in zip(once, IMAGES, strict=True)])
    np.testing.assert_array_equal(
        np.asarray(once)[mirrored], np.asarray(IMAGES)[mirrored][:, :, ::-1]
    )
    assert 0.3 < mirrored.mean() < 0.7
    of_view = augmented(1 - IMAGES, 5, flip=True)
    np.testing.assert_array_equal(of_view, 1 - once)
    later = augmented(IMAGES, 6, flip=True)
    assert (np.asarray(later) != np.asarray(once)).any()


def test_shift_moves_by_whole_pixels_and_repeats_the_border():
    columns = jnp.broadcast_to(jnp.arange(8.0)[None, None, :, None], (COUNT, 8, 8, 1))
    shifted = np.asarray(augmented(columns, 0, shift=2))[:, 0, :, 0]
    possible = {tuple(np.clip(np.arange(8) + offset, 0, 7)) for offset in range(-2, 3)}
    assert {tuple(row) for row in shifted} == possible
