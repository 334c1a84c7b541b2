"""Views of images without a run: what is done is what the names say."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.decomposition import PCA

from blurjax.views import ViewSpec, apply, register
from blurjax.views.codecs import round_trip

RNG = np.random.default_rng(0)
SMOOTH = gaussian_filter(RNG.uniform(0, 255, (40, 16, 12, 3)), (0, 2, 2, 0)) * 3 - 250
IMAGES = SMOOTH.clip(0, 255).astype(np.uint8)


def test_blur_is_a_gaussian_filter():
    blurred = apply("blur", IMAGES, sigma=1.5)
    assert blurred.dtype == np.uint8
    expected = gaussian_filter(IMAGES.astype(float), (0, 1.5, 1.5, 0), mode="reflect", truncate=8)
    inner = np.abs(blurred - expected)[:, 5:-5, 5:-5]
    assert inner.max() <= 1


def test_an_image_of_one_average_is_flat():
    averaged = apply("downsample", IMAGES, values=3)
    means = IMAGES.mean(axis=(1, 2), keepdims=True)
    assert np.abs(averaged - means).max() <= 0.51
    assert (apply("downsample", IMAGES, values=IMAGES[0].size) == IMAGES).all()


def test_pca_projects_on_components_of_other_images():
    fitted = PCA(5).fit(IMAGES[:20].reshape(20, -1) / 255)
    expected = fitted.inverse_transform(fitted.transform(IMAGES[20:].reshape(20, -1) / 255))
    projected = apply("pca", IMAGES[20:], values=5, fitted_to=IMAGES[:20])
    assert np.abs(projected.reshape(20, -1) - 255 * expected.clip(0, 1)).max() <= 1


def test_codecs_and_views_that_need_nothing():
    np.testing.assert_array_equal(
        apply("jpeg", IMAGES, quality=10), round_trip(IMAGES, "jpeg", 10)[0]
    )
    np.testing.assert_array_equal(apply("original", IMAGES), IMAGES)


@pytest.mark.usefixtures("registries")
def test_a_view_of_ones_own():
    register(
        ViewSpec("mirror", lambda parameters, images, indices: images[:, :, ::-1], "Mirrored.")
    )
    np.testing.assert_array_equal(apply("mirror", IMAGES), IMAGES[:, :, ::-1])


@pytest.mark.parametrize(
    ("view", "arguments", "message"),
    [
        ("blurr", {}, "no view 'blurr'; views are original"),
        ("reconstruction", {}, "reconstruction is made by an autoencoder; use load_run"),
        ("crossfit", {"sigma": 1}, "crossfit is made by an autoencoder"),
        ("blur", {}, "blur takes sigma; given: none"),
        ("blur", {"sigma": 1, "values": 3}, "blur takes sigma; given: sigma, values"),
        ("original", {"quality": 3}, "original takes no further argument; given: quality"),
        ("pca", {"values": 3}, "pca takes fitted_to and values; given: values"),
        ("blur", {"sigma": 0.0}, "sigma must be"),
        ("blur", {"sigma": np.nan}, "sigma must be"),
        ("jpeg", {"quality": 101}, "quality must be from 1 to 100, and not 101"),
        ("downsample", {"values": 2}, "values must be from 3 to 576, and not 2"),
        ("pca", {"values": 41, "fitted_to": IMAGES}, "values must be from 1 to 40"),
        ("pca", {"values": 4, "fitted_to": IMAGES[:, :8]}, r"fitted_to must be u8\[M,16,12,3\]"),
    ],
)
def test_what_does_not_fit_is_refused(view, arguments, message):
    with pytest.raises(ValueError, match=message):
        apply(view, IMAGES, **arguments)


def test_images_of_another_kind_are_refused():
    with pytest.raises(ValueError, match=r"u8\[N,H,W,C\], and not float64 of shape"):
        apply("blur", IMAGES / 255, sigma=1)
