"""Image quality against hand-computed numbers, scikit-image, scipy and numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import skimage.metrics

from blurjax.views import image_quality


def images(rng, *shape):
    return rng.random(shape, np.float32)


def noisy(rng, clean, scale):
    noise = scale * rng.standard_normal(clean.shape)
    return np.clip(clean + noise, 0, 1).astype(np.float32)


# SSIM


def eight_bits(a):
    return np.round(a * 255).astype(np.float32) / np.float32(255)


def structural_similarity(a, b):
    """The oracle, in float64."""
    return [
        skimage.metrics.structural_similarity(
            x.astype(np.float64), y.astype(np.float64), channel_axis=-1, data_range=1
        )
        for x, y in zip(a, b, strict=True)
    ]


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 8, 3), (28, 28, 1), (17, 40, 3), (64, 9, 1)])
def test_ssim_agrees_with_scikit_image(rng, shape):
    a = eight_bits(images(rng, 4, *shape))
    b = eight_bits(noisy(rng, a, 0.2))
    np.testing.assert_allclose(image_quality.ssim(a, b), structural_similarity(a, b), atol=1e-6)


@pytest.mark.parametrize("contrast", [0.0, 1e-3, 1e-2])
@pytest.mark.parametrize("split", [False, True])
def test_ssim_of_flat_images_is_safe_in_float32(rng, contrast, split):
    """C2 is 9e-4: a difference of float32 squares near 1 would be wrong in the fourth digit."""
    base = np.full((4, 20, 20, 3), 0.93)
    if split:
        base[:, :, :10] = 0.07
    a, b = (eight_bits(noisy(rng, x, contrast)) for x in (base, 0.97 * base))
    np.testing.assert_allclose(image_quality.ssim(a, b), structural_similarity(a, b), atol=1e-6)


def test_ssim_of_two_flat_images_by_hand():
    # Variances are 0: only luminance is left, (2 * 0.2 * 0.8 + C1) / (0.04 + 0.64 + C1).
    a, b = jnp.full((9, 9, 1), 0.2), jnp.full((9, 9, 1), 0.8)
    assert image_quality.ssim(a, b) == pytest.approx(0.3201 / 0.6801, rel=1e-5)


def test_ssim_rounds_to_eight_bits(rng):
    a, b = images(rng, 16, 16, 3), images(rng, 16, 16, 3)
    assert image_quality.ssim(a, b) == image_quality.ssim(eight_bits(a), eight_bits(b))


def test_ssim_is_symmetric_and_one_for_equal_images(rng):
    a = images(rng, 16, 16, 3)
    b = noisy(rng, a, 0.3)
    assert image_quality.ssim(a, a) == pytest.approx(1.0, abs=1e-6)
    assert image_quality.ssim(a, b) == pytest.approx(float(image_quality.ssim(b, a)), abs=1e-6)
    turned = image_quality.ssim(a.swapaxes(0, 1)[::-1], b.swapaxes(0, 1)[::-1])
    assert turned == pytest.approx(float(image_quality.ssim(a, b)), abs=1e-6)


# Variance of the Laplacian


def test_laplacian_variance_agrees_with_scipy(rng):
    batch = images(rng, 5, 12, 15, 1)
    expected = [scipy.ndimage.laplace(x[..., 0].astype(np.float64), mode="mirror") for x in batch]
    np.testing.assert_allclose(
        image_quality.laplacian_variance(batch), np.var(expected, axis=(1, 2)), rtol=1e-5
    )


def test_laplacian_variance_by_hand():
    # One white pixel in 5x5: Laplacian -4 there, 1 at its four neighbours: mean 0, squares 20.
    image = jnp.zeros((5, 5, 1)).at[2, 2, 0].set(1.0)
    assert image_quality.laplacian_variance(image) == pytest.approx(20 / 25)


def test_colour_is_seen_as_rec_601_grey(rng):
    batch = images(rng, 3, 9, 9, 3)
    weights = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(image_quality.grey(batch), batch @ weights, rtol=1e-5)
    by_hand = (batch @ weights)[..., None].astype(np.float32)
    for measure in (image_quality.laplacian_variance, image_quality.radial_power_spectrum):
        np.testing.assert_allclose(measure(batch), measure(by_hand), rtol=1e-4, atol=1e-6)


def test_laplacian_variance_falls_with_blur_and_scales_with_contrast(rng):
    image = images(rng, 20, 20, 1)
    sharpness = [
        float(image_quality.laplacian_variance(blurred(image, sigma))) for sigma in (0, 0.5, 1, 2)
    ]
    assert sharpness == sorted(sharpness, reverse=True)
    dimmed = image_quality.laplacian_variance(0.5 * image + 0.25)
    assert dimmed == pytest.approx(sharpness[0] / 4, rel=1e-4)


# Power spectra


def power(image):
    """|FFT|^2 / (H*W) and the radius of every frequency, by numpy in float64."""
    grey = image[..., 0].astype(np.float64)
    height, width = grey.shape
    spectrum = np.abs(np.fft.fft2(grey - grey.mean())) ** 2 / grey.size
    rows, columns = np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij")
    return spectrum, np.rint(min(height, width) * np.hypot(rows, columns))


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (9, 9), (12, 20)])
def test_power_spectrum_agrees_with_numpy(rng, size):
    batch = images(rng, 3, *size, 1)
    spectra = image_quality.radial_power_spectrum(batch)
    for image, spectrum in zip(batch, spectra, strict=True):
        expected, radius = power(image)
        by_radius = [expected[radius == k].mean() for k in range(min(size) // 2 + 1)]
        np.testing.assert_allclose(spectrum, by_radius, rtol=1e-4, atol=1e-6)


def test_a_wave_has_all_its_variance_at_its_frequency():
    """Parseval: the mean of |FFT|^2 / (H*W) over all H*W frequencies is the variance."""
    wave = 0.5 + 0.25 * np.cos(2 * np.pi * 3 * np.arange(16) / 16)
    image = np.tile(wave, (16, 1)).astype(np.float32)[..., None]
    spectrum = np.asarray(image_quality.radial_power_spectrum(image))
    _, radius = power(image)
    counts = np.array([(radius == k).sum() for k in range(9)])
    shares = spectrum * counts / 256
    assert shares[3] == pytest.approx(0.25**2 / 2, rel=1e-5)
    np.testing.assert_allclose(np.delete(shares, 3), 0, atol=1e-8)


def test_noise_has_a_flat_spectrum_as_high_as_its_variance(rng):
    noise = 0.5 + 0.1 * rng.standard_normal((400, 16, 16, 1)).astype(np.float32)
    spectrum = image_quality.radial_power_spectrum(noise).mean(axis=0)
    assert spectrum[0] == pytest.approx(0, abs=1e-8)
    np.testing.assert_allclose(spectrum[1:], 0.01, rtol=0.1)


def test_brightness_does_not_show_in_the_spectrum(rng):
    image = 0.5 * images(rng, 16, 16, 1)
    np.testing.assert_allclose(
        image_quality.radial_power_spectrum(image + 0.5),
        image_quality.radial_power_spectrum(image),
        atol=1e-5,
    )


# Blur


def blurred(image, sigma):
    rows = image_quality.gaussian_blur_matrix(sigma, image.shape[0])
    columns = image_quality.gaussian_blur_matrix(sigma, image.shape[1])
    return jnp.einsum("ih,hwc,jw->ijc", rows, image, columns, precision="highest")


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5, 8.0, 20.0])
@pytest.mark.parametrize("size", [(8, 8), (12, 20)])
def test_the_blur_agrees_with_scipy(rng, sigma, size):
    image = images(rng, *size, 1)
    expected = scipy.ndimage.gaussian_filter(
        image.astype(np.float64), sigma, mode="reflect", truncate=8, axes=(0, 1)
    )
    np.testing.assert_allclose(blurred(image, sigma), expected, atol=1e-5)


def test_no_blur_is_the_identity_exactly():
    for sigma in (0.0, 1e-30, 0.01):
        matrix = jax.jit(image_quality.gaussian_blur_matrix, static_argnums=1)(sigma, 9)
        assert (matrix == jnp.eye(9)).all()


def test_a_blur_keeps_brightness():
    """Rows and, as tails fold back onto the pixels they left, columns sum to 1."""
    matrix = image_quality.gaussian_blur_matrix(3.0, 10)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(matrix.sum(axis=0), 1, rtol=1e-6)


def test_sigma_may_differ_between_trials():
    sigmas = jnp.array([0.0, 0.7, 3.0])
    together = jax.vmap(image_quality.gaussian_blur_matrix, in_axes=(0, None))(sigmas, 8)
    for sigma, matrix in zip(sigmas, together, strict=True):
        alone = image_quality.gaussian_blur_matrix(float(sigma), 8)
        np.testing.assert_allclose(matrix, alone, atol=1e-7)


# All of them are per image


@pytest.mark.parametrize(
    "measure",
    [
        image_quality.laplacian_variance,
        image_quality.radial_power_spectrum,
        lambda a: image_quality.ssim(a, a[..., ::-1, :]),
    ],
    ids=["laplacian_variance", "radial_power_spectrum", "ssim"],
)
def test_an_image_counts_alone_whatever_is_beside_it(rng, measure):
    batch = images(rng, 2, 3, 10, 12, 3)
    together = jax.jit(measure)(batch)
    mapped = jax.vmap(jax.vmap(measure))(batch)
    np.testing.assert_allclose(together, mapped, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(together[1, 2], measure(batch[1, 2]), rtol=1e-4, atol=1e-6)
