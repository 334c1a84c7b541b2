"""What views are made with: blurs of equal distortion, sizes, and what cannot be made."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.decomposition import PCA
from tiny import config, write_stripes

from blurjax.experiment.preparation import prepare
from blurjax.runtime.errors import UserError
from blurjax.views import fitting
from blurjax.views.fitting import (
    averaging,
    averaging_matrix,
    gaussian,
    principal_components,
    reduced_size,
    sigma_of_distortion,
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_stripes(tmp_path_factory.mktemp("data") / "stripes.npz")


def test_a_blur_of_a_given_distortion_is_found():
    images = np.random.default_rng(0).uniform(size=(50, 16, 16))

    def distortion(sigma):
        return np.square(ndimage.gaussian_filter(images, (0, sigma, sigma)) - images).mean()

    sigmas = np.geomspace(0.2, 16, 24)
    curve = np.array([distortion(sigma) for sigma in sigmas])
    found, reachable = sigma_of_distortion(
        sigmas, curve, np.array([distortion(0.7), distortion(1.9)])
    )
    np.testing.assert_allclose(found, [0.7, 1.9], rtol=0.02)
    assert reachable.all()


def test_a_distortion_that_no_blur_has_is_clamped_and_said():
    sigmas, curve = np.array([0.2, 0.4, 0.8, 1.6]), np.array([0.0, 0.01, 0.04, 0.05])
    found, reachable = sigma_of_distortion(sigmas, curve, np.array([0.0, 0.005, 0.02, 0.06]))
    np.testing.assert_allclose(found[[0, 1, 3]], [0.4, 0.4, 1.6], rtol=1e-6)
    assert 0.4 < found[2] < 0.8
    assert reachable.tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    ("shape", "values", "expected"),
    [
        ((8, 8, 1), 8, (2, 4)),
        ((64, 64, 3), 128, (6, 7)),
        ((64, 64, 3), 3, (1, 1)),
        ((32, 32, 3), 64, (3, 7)),
        ((8, 8, 1), 1000, (8, 8)),
    ],
)
def test_downsampling_keeps_no_more_values_than_the_code_has(shape, values, expected):
    assert reduced_size(shape, values) == expected


def test_matrices_are_of_the_height_and_the_width():
    shape = (8, 12, 3)
    rows, columns = averaging(shape, 20)
    height, width = reduced_size(shape, 20)
    np.testing.assert_array_equal(rows, averaging_matrix(8, height))
    np.testing.assert_array_equal(columns, averaging_matrix(12, width))
    blur = gaussian(0.8, shape)
    image = np.random.default_rng(0).uniform(size=(8, 12))
    expected = ndimage.gaussian_filter(image, 0.8, truncate=8)
    np.testing.assert_allclose(blur.rows @ image @ blur.columns.T, expected, rtol=1e-4)


def test_components_are_those_of_the_images_at_positions():
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1), np.uint8)
    positions, rng = np.array([1, 5, 8, 13, 21, 34]), np.random.default_rng(0)
    basis = principal_components(images, positions, 2, rng, seed=0)
    oracle = PCA(2, svd_solver="full").fit(images[positions].reshape(6, -1) / 255.0)
    np.testing.assert_allclose(basis.mean, oracle.mean_, rtol=1e-5)
    overlap = np.linalg.svd(basis.components @ oracle.components_.T)[1]
    np.testing.assert_allclose(overlap, 1, rtol=1e-3)
    assert len(principal_components(images, positions, 9, rng, seed=0).components) == 6


def test_components_of_more_images_than_are_fitted_are_close_to_all_of_theirs(monkeypatch):
    monkeypatch.setattr(fitting, "MOST_PCA_IMAGES", 500)
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(3, 64)) * [[60], [40], [20]]
    values = 128 + rng.normal(size=(2000, 3)) @ patterns + rng.normal(size=(2000, 64))
    images = values.clip(0, 255).astype(np.uint8).reshape(-1, 8, 8, 1)

    def fitted():
        return principal_components(images, np.arange(2000), 3, np.random.default_rng(0), seed=0)

    found, again = fitted(), fitted()
    np.testing.assert_array_equal(found.components, again.components)
    oracle = PCA(3, svd_solver="full").fit(images.reshape(-1, 64) / 255.0)
    overlap = np.linalg.svd(found.components @ oracle.components_.T)[1]
    assert overlap.min() > 0.99


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"autoencoder__bottleneck": 65, "views__test": ["pca"]}, "pca has at most 64 components"),
        ({"autoencoder__folds": 20, "data__train_examples": 10, "views__train": ["crossfit"],
          "autoencoder__bottleneck": 2}, "autoencoder.folds is 20"),
    ],
)  # fmt: skip
def test_views_that_cannot_be_made_are_refused_before_anything_is_trained(
    source, changes, sentence
):
    with pytest.raises(UserError, match=sentence):
        prepare(config(source, **changes))


def test_downsampling_needs_a_float_for_each_channel(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "colour.npz", image=images, label=np.arange(60) % 2)
    settings = config(
        f"npz:{tmp_path / 'colour.npz'}",
        autoencoder__bottleneck=2,
        views__test=["downsample"],
    )
    with pytest.raises(UserError, match="each of the 3 channels, but the bottleneck is 2"):
        prepare(settings)
