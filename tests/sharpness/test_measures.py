"""Measures of sharpness against scipy, scikit-image, numpy and hand-computed numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import skimage.data
import skimage.measure
from detector import measures
from detector.measures import MEASURES

SIZES = [(16, 16), (17, 30), (101, 64)]


@functools.cache
def photograph():
    """A photograph of 512x512 that scikit-image brings along, f64 in [0,1]."""
    return skimage.data.camera() / 255


def images(rng, *size):
    """Noise and a part of a photograph, f32[2,H,W]."""
    height, width = size
    part = photograph()[60 : 60 + height, 200 : 200 + width]
    return np.stack([rng.random(size), part]).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
def test_laplacian_variance_agrees_with_scipy(rng, size):
    for image in images(rng, *size):
        expected = scipy.ndimage.laplace(image.astype(np.float64), mode="mirror").var()
        assert measures.laplacian_variance(image) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_tenengrad_agrees_with_scipy(rng, size):
    for image in images(rng, *size):
        exact = image.astype(np.float64)
        gradients = [scipy.ndimage.sobel(exact, axis, mode="mirror") for axis in (0, 1)]
        expected = np.square(gradients).sum(axis=0).mean()
        assert measures.tenengrad(image) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_brenner_agrees_with_numpy(rng, size):
    for image in images(rng, *size):
        exact = image.astype(np.float64)
        squares = [np.square(x[2:] - x[:-2]).mean() for x in (exact, exact.T)]
        assert measures.brenner(image) == pytest.approx(np.mean(squares), rel=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_high_frequency_share_agrees_with_numpy(rng, size):
    rows, columns = (np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in size)
    window = np.outer(rows, columns)
    radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in size), indexing="ij"))
    for image in images(rng, *size):
        centred = image - np.average(image.astype(np.float64), weights=window)
        power = np.abs(np.fft.fft2(window * centred)) ** 2
        expected = power[radius >= 0.25].sum() / power.sum()
        assert measures.high_frequency_share(image) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_perceptual_sharpness_agrees_with_scikit_image(rng, size):
    for image in images(rng, *size):
        expected = 1 - skimage.measure.blur_effect(image.astype(np.float64))
        assert measures.perceptual_sharpness(image) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 1.0, 4.0])
def test_perceptual_sharpness_of_a_photograph_agrees_with_scikit_image(sigma):
    image = scipy.ndimage.gaussian_filter(photograph(), sigma)
    expected = 1 - skimage.measure.blur_effect(image)
    actual = measures.perceptual_sharpness(image.astype(np.float32))
    assert actual == pytest.approx(expected, abs=1e-5)


def test_one_bright_pixel_by_hand():
    image = jnp.zeros((20, 20)).at[9, 8].set(1.0)
    # The Laplacian is -4 there and 1 at four neighbours; both of Sobel's kernels have squares 12;
    # each row and column of 18 differences has two of 1.
    assert measures.laplacian_variance(image) == pytest.approx(20 / 400)
    assert measures.tenengrad(image) == pytest.approx(24 / 400)
    assert measures.brenner(image) == pytest.approx(2 / 360)
    # Blurred again, no gradient is left beside the pixel: they are six pixels away.
    assert measures.perceptual_sharpness(image) == pytest.approx(1)


def test_stripes_by_hand():
    """Stripes of one pixel have all their power at Nyquist, and none of the differences over two pixels."""
    image = np.tile(np.arange(32) % 2, (32, 1)).astype(np.float32)
    assert measures.high_frequency_share(image) == pytest.approx(1, abs=1e-5)
    assert measures.brenner(image) == 0
    assert measures.laplacian_variance(image) == pytest.approx(4)


def test_a_slow_wave_has_no_high_frequencies():
    wave = 0.5 + 0.4 * np.cos(2 * np.pi * 3 * np.arange(64) / 64)
    image = np.tile(wave, (64, 1)).astype(np.float32)
    assert measures.high_frequency_share(image) == pytest.approx(0, abs=1e-6)


def test_the_share_of_noise_is_that_of_the_area_of_frequencies(rng):
    """The square of frequencies has the area 1, the disc of low ones pi / 16."""
    noise = rng.random((200, 64, 64), np.float32)
    assert measures.high_frequency_share(noise).mean() == pytest.approx(1 - np.pi / 16, abs=5e-3)


def test_the_largest_values_are_as_stated():
    """All 2^9 neighbourhoods: a measure that is convex in pixels is largest where they are 0 or 1."""
    pixels = (np.arange(512)[:, None] >> np.arange(9)) % 2
    corners = pixels.reshape(-1, 3, 3)
    smooth, slope = np.array([1, 2, 1]), np.array([-1, 0, 1])
    x, y = (np.einsum("nij,i,j->n", corners, *k) for k in ((smooth, slope), (slope, smooth)))
    assert (x**2 + y**2).max() == 20
    checkers = (np.indices((16, 16)).sum(axis=0) % 2).astype(np.float32)
    assert measures.laplacian_variance(checkers) == 16
    halves = (np.indices((16, 16)).sum(axis=0) // 2 % 2).astype(np.float32)
    assert measures.brenner(halves) == 1


@pytest.mark.parametrize("name", MEASURES)
class TestEveryMeasure:
    def test_the_larger_the_sharper(self, name):
        part = photograph()[:300, :200]
        blurred = [scipy.ndimage.gaussian_filter(part, sigma) for sigma in (0, 0.5, 1, 1.5, 2)]
        values = [float(MEASURES[name](image.astype(np.float32))) for image in blurred]
        assert values == sorted(values, reverse=True)
        assert values[0] > 1.5 * values[-1] > 0

    @pytest.mark.parametrize("level", [0.0, 0.1, 1.0])
    def test_an_image_without_contrast_has_0(self, name, level):
        assert MEASURES[name](jnp.full((23, 40), level)) == pytest.approx(0, abs=1e-12)

    def test_turned_and_mirrored_images_have_the_same(self, name, rng):
        # That one leaves out a row and a column more at two of the borders, as scikit-image does.
        tolerance = 0.02 if name == "perceptual_sharpness" else 1e-4
        for image in images(rng, 33, 48):
            value = float(MEASURES[name](image))
            assert MEASURES[name](image.T) == pytest.approx(value, rel=1e-4)
            for mirrored in (image[::-1], image[:, ::-1]):
                assert MEASURES[name](mirrored) == pytest.approx(value, rel=tolerance)

    def test_brightness_does_not_count(self, name, rng):
        for image in images(rng, 32, 40):
            dim = 0.5 * image
            assert MEASURES[name](dim + 0.5) == pytest.approx(float(MEASURES[name](dim)), rel=1e-3)

    def test_an_image_counts_alone_whatever_is_beside_it(self, name, rng):
        batch = rng.random((2, 3, 24, 19), np.float32)
        measure = MEASURES[name]
        together = jax.jit(measure)(batch)
        np.testing.assert_allclose(together, jax.vmap(jax.vmap(measure))(batch), rtol=1e-4)
        np.testing.assert_allclose(together[1, 2], measure(batch[1, 2]), rtol=1e-4)
