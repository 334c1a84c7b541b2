"""Views: pure functions of parameters, images and indices, in 8 bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import output
from scipy import ndimage
from sklearn.decomposition import PCA

from blurjax.config.registry import resolve
from blurjax.models.autoencoders import ConvAutoencoder
from blurjax.views import ViewSpec, register
from blurjax.views.fitting import averaging_matrix, principal_components
from blurjax.views.functions import (
    VIEWS,
    Autoencoders,
    CodeRange,
    Matrices,
    ViewParameters,
    apply_view,
    eight_bit,
    quantise,
    view_index,
)
from blurjax.views.image_quality import gaussian_blur_matrix, radial_power_spectrum

MODEL = ConvAutoencoder(image_shape=(8, 8, 1), max_bottleneck=4, width=4)
COUNT = 64
IMAGES = jnp.round(jax.random.uniform(jax.random.key(1), (COUNT, 8, 8, 1)) * 255) / 255
INDICES = jnp.arange(COUNT, dtype=jnp.int32)
FOLDS = 3
VARIABLES, *FOLD_VARIABLES = (
    MODEL.init(jax.random.key(seed), IMAGES, 4) for seed in range(FOLDS + 1)
)
FOLD_OF = np.arange(COUNT) % FOLDS
BLUR = Matrices(gaussian_blur_matrix(0.8, 8), gaussian_blur_matrix(0.8, 8))
BASIS = principal_components(
    np.asarray(IMAGES * 255, np.uint8), np.arange(COUNT), 6, np.random.default_rng(0), seed=0
)
CODEC_IMAGES = np.random.default_rng(3).integers(0, 256, (3, COUNT, 8, 8, 1), np.uint8)
PARAMETERS = ViewParameters(
    view=None,
    seed=0,
    bottleneck=4,
    autoencoders=Autoencoders(
        jax.tree.map(lambda *leaves: jnp.stack(leaves), VARIABLES, *FOLD_VARIABLES), MODEL
    ),
    fold_of=jnp.asarray(FOLD_OF),
    blur=BLUR,
    downsample=Matrices(averaging_matrix(8, 2), averaging_matrix(8, 4)),
    basis=BASIS,
    gain=jnp.array([1.0, 0.9, 0.5, 0.2, 0.0]),
    code_range=CodeRange(jnp.full(4, -1.0), jnp.full(4, 1.0)),
    codec_images=jnp.asarray(CODEC_IMAGES),
    codec_rows=jnp.array([2, 1]),
)


def through(view, images=IMAGES, indices=INDICES, in_use=None, **changes):
    parameters = PARAMETERS._replace(view=view_index(view), **changes)
    names = list(VIEWS) if in_use is None else in_use
    return np.asarray(jax.jit(lambda p: apply_view(p, images, indices, in_use=names))(parameters))


def reconstructed_by(variables, bottleneck=4):
    return np.asarray(eight_bit(output(MODEL, variables["params"], IMAGES, bottleneck)))


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
    np.testing.assert_allclose(
        through("reconstruction"), reconstructed_by(VARIABLES), atol=1.01 / 255
    )
    assert (through("reconstruction", bottleneck=1) != through("reconstruction")).any()


@pytest.mark.parametrize(("view", "shift"), [("crossfit", 0), ("infold", 1)])
def test_folds_reconstruct_what_they_did_not_see_and_what_they_saw(view, shift):
    """Fold autoencoder f was trained on every fold but f."""
    reconstructed = through(view)
    for image, fold in enumerate(FOLD_OF):
        expected = reconstructed_by(FOLD_VARIABLES[(fold + shift) % FOLDS])[image]
        np.testing.assert_allclose(reconstructed[image], expected, atol=1.01 / 255)


def test_a_quantised_code_has_256_evenly_spaced_values_in_its_range():
    code = jnp.array([[0.0, 0.4, 7.0], [1.0, 0.6, 7.0], [254.6, 300.0, 9.0], [255.0, -3.0, 7.0]])
    low, high = jnp.array([0.0, 0.0, 7.0]), jnp.array([255.0, 255.0, 7.0])
    expected = [[0, 0, 7], [1, 1, 7], [255, 255, 7], [255, 0, 7]]
    np.testing.assert_array_equal(quantise(code, CodeRange(low, high)), expected)
    code = jnp.linspace(-1.0, 3.0, 1000)[:, None]
    rounded = quantise(code, CodeRange(jnp.array([-1.0]), jnp.array([3.0])))
    assert len(np.unique(rounded)) == 256
    np.testing.assert_allclose(rounded, code, atol=4 / 255 / 2 + 1e-6)


def test_quantised_is_the_reconstruction_from_a_rounded_code():
    own = MODEL.bind(VARIABLES)
    code = quantise(own.encode(IMAGES, 3), PARAMETERS.code_range)
    expected = np.asarray(eight_bit(own.decode(code)))
    np.testing.assert_allclose(through("quantised", bottleneck=3), expected, atol=1.01 / 255)
    coarse = CodeRange(jnp.full(4, -100.0), jnp.full(4, 100.0))
    assert (through("quantised", code_range=coarse) != through("quantised")).mean() > 0.5


@pytest.mark.parametrize(("view", "row"), [("jpeg", 2), ("webp", 1)])
def test_compressed_images_are_looked_up_by_index(view, row):
    indices = jnp.array([5, 0, 63, 5])
    found = through(view, images=IMAGES[:4], indices=indices)
    np.testing.assert_allclose(found, CODEC_IMAGES[row][indices] / 255, rtol=1e-6)
    np.testing.assert_array_equal(np.round(found * 255), CODEC_IMAGES[row][indices])


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
    mixed, reconstructed = through("mixed"), through("reconstruction")
    is_reconstructed = (mixed == reconstructed).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(mixed[~is_reconstructed], np.asarray(IMAGES)[~is_reconstructed])
    assert 0.3 < is_reconstructed.mean() < 0.7
    backwards = through("mixed", images=IMAGES[::-1], indices=INDICES[::-1])
    np.testing.assert_array_equal(backwards[::-1], mixed)
    assert (through("mixed", seed=1) != mixed).any()


# The table


def test_every_row_of_the_table_names_a_function_that_exists():
    for spec in VIEWS.values():
        assert isinstance(spec.function, str)
        function = resolve(spec.function)
        assert callable(function)
        assert f"{function.__module__}:{function.__name__}" == spec.function


def darkened(parameters, images, indices):
    return eight_bit(
        images * (0.25 * parameters.bottleneck / 4) + indices[:, None, None, None] / 255
    )


DARK = ViewSpec("dark", darkened, "The image with a quarter of its light.", needs_code=True)


def test_a_view_of_ones_own_is_applied(registries):
    assert register(DARK) is DARK
    expected = eight_bit(IMAGES * 0.25 + INDICES[:, None, None, None] / 255)
    np.testing.assert_allclose(through("dark"), expected, atol=1.01 / 255)
    alone = through("dark", in_use=["dark"])
    np.testing.assert_array_equal(alone, through("dark"))
    assert (through("dark", bottleneck=2, in_use=["dark"]) != alone).any()
    np.testing.assert_array_equal(through("original", in_use=["dark", "original"]), IMAGES)


def test_views_of_the_table_stay_the_same_with_another_registered(registries):
    before = through("blur", in_use=["original", "blur"])
    register(DARK)
    np.testing.assert_array_equal(through("blur", in_use=["original", "blur", "dark"]), before)


def test_a_name_is_given_to_one_view(registries):
    register(DARK)
    register(DARK)
    for row in (ViewSpec("dark", darkened, "Other words."), ViewSpec("blur", darkened, "Mine.")):
        with pytest.raises(ValueError, match=f"there is another view named {row.name}"):
            register(row)
