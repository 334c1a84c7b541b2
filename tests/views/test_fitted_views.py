"""What views are made with: blurs of equal distortion, sizes, and what cannot be made."""

import numpy as np
import pytest
from blurjax.experiment.fitting import principal_components, read_curve
from scipy import ndimage
from sklearn.decomposition import PCA
from tiny import config, write_stripes

from blurjax.experiment import run as experiment
from blurjax.experiment.fitted_views import reduced_size
from blurjax.runtime.errors import UserError


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_stripes(tmp_path_factory.mktemp("data") / "stripes.npz")


def test_a_blur_of_a_given_distortion_is_found():
    images = np.random.default_rng(0).uniform(size=(50, 16, 16))

    def distortion(sigma):
        return np.square(ndimage.gaussian_filter(images, (0, sigma, sigma)) - images).mean()

    sigmas = np.geomspace(0.2, 16, 24)
    curve = np.array([distortion(sigma) for sigma in sigmas])
    found, reachable = read_curve(sigmas, curve, np.array([distortion(0.7), distortion(1.9)]))
    np.testing.assert_allclose(found, [0.7, 1.9], rtol=0.02)
    assert reachable.all()


def test_a_distortion_that_no_blur_has_is_clamped_and_said():
    sigmas, curve = np.array([0.2, 0.4, 0.8, 1.6]), np.array([0.0, 0.01, 0.04, 0.05])
    found, reachable = read_curve(sigmas, curve, np.array([0.0, 0.005, 0.02, 0.06]))
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


def test_components_of_more_images_than_are_fitted_are_close_to_all_of_theirs(monkeypatch):
    from blurjax.experiment import fitting

    monkeypatch.setattr(fitting, "MOST_PCA_IMAGES", 500)
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(3, 64)) * [[60], [40], [20]]
    values = 128 + rng.normal(size=(2000, 3)) @ patterns + rng.normal(size=(2000, 64))
    images = values.clip(0, 255).astype(np.uint8).reshape(-1, 8, 8, 1)
    found = principal_components(images, 3, seed=0)
    again = principal_components(images, 3, seed=0)
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
        experiment.load(config(source, **changes))


def test_downsampling_needs_a_float_for_each_channel(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "colour.npz", image=images, label=np.arange(60) % 2)
    settings = config(
        f"npz:{tmp_path / 'colour.npz'}",
        autoencoder__bottleneck=2,
        views__test=["downsample"],
    )
    with pytest.raises(UserError, match="each of the 3 channels, but the bottleneck is 2"):
        experiment.load(settings)
