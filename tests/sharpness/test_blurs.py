"""Blurs against what they are defined by, Pillow, SciPy and scikit-image."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from detector import blurs
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_sample_image

from blurjax.sharpness.network import KINDS


@pytest.fixture(scope="module")
def image():
    """A photograph, u8[128,128] of brightness."""
    picture = Image.fromarray(load_sample_image("china.jpg")).convert("L")
    return np.asarray(
        picture.crop((100, 100, 484, 484)).resize((128, 128), Image.Resampling.LANCZOS)
    )


def moments(kernel):
    """The covariance of a point spread function about its mean."""
    at = np.stack(np.mgrid[-blurs.MARGIN : blurs.MARGIN + 1, -blurs.MARGIN : blurs.MARGIN + 1])
    mean = (kernel * at).sum((1, 2))
    centred = at - mean[:, None, None]
    return np.einsum("yx,iyx,jyx->ij", kernel, centred, centred)


@pytest.mark.parametrize("disc", [False, True])
@pytest.mark.parametrize("sigma", [1.0, 2.5, 9.0])
def test_a_lens_spreads_points_as_far_as_it_says(disc, sigma):
    kernel = np.asarray(blurs.spread(sigma, disc=disc))
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert moments(kernel) == pytest.approx(sigma**2 * np.eye(2), abs=0.2 * sigma)


@pytest.mark.parametrize("sigma", [1.0, 2.5, 9.0])
def test_cameras_move_in_all_directions_as_far_as_they_say(sigma):
    keys = jax.random.split(jax.random.key(0), 60)
    kernels = np.asarray(jax.vmap(blurs.shake, (None, 0))(sigma, keys))
    assert kernels.sum((1, 2)) == pytest.approx(np.ones(60), abs=1e-5)
    covariances = np.stack([moments(kernel) for kernel in kernels])
    spreads = np.sqrt(np.trace(covariances, axis1=1, axis2=2) / 2)
    assert spreads == pytest.approx(np.full(60, sigma), rel=0.15)
    variances, axes = np.linalg.eigh(covariances)
    straight = variances[:, 0] < 0.3
    assert straight.mean() > 0.2
    angles = np.arctan2(axes[:, 0, 1], axes[:, 1, 1]) % np.pi
    assert (np.histogram(angles, 4, (0, np.pi))[0] > 5).all()


def test_convolution_is_that_of_scipy(image):
    kernel = np.asarray(blurs.shake(3.0, jax.random.key(1)))
    found = blurs.convolve(jnp.float32(image), kernel)
    assert found == pytest.approx(
        ndimage.convolve(np.float64(image), kernel, mode="reflect"), abs=1e-2
    )


@pytest.mark.parametrize("quality", [5, 20, 60, 95])
def test_compression_is_that_of_jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    found = np.round(255 * np.asarray(blurs.compress(jnp.float32(image) / 255, float(quality))))
    assert np.abs(found - np.asarray(Image.open(file))).mean() < 0.5  # JPEG computes with integers


def test_an_encoder_keeps_low_frequencies_alone():
    at = np.pi * (np.arange(64, dtype=np.float32) + 0.5) / 64
    slow, fast = (np.tile(np.cos(frequency * at), (64, 1)) for frequency in (8, 32))
    assert blurs.encode(slow + fast, 1.5) == pytest.approx(slow, abs=1e-5)
    assert blurs.encode(slow + fast, 0.4) == pytest.approx(slow + fast, abs=1e-5)


def test_reducing_is_that_of_pillow(image):
    found = np.asarray(blurs.resize(jnp.float32(image), 0.5))[:64, :64]
    pillow = Image.fromarray(image.astype(np.float32)).resize((64, 64), Image.Resampling.BICUBIC)
    assert found[4:-4, 4:-4] == pytest.approx(np.asarray(pillow)[4:-4, 4:-4], abs=0.05)


def test_resizing_continues_an_image_by_its_mirror_image(image):
    found = np.asarray(blurs.resize(jnp.float32(image), 0.4))
    size = 128 * 2 // 5
    assert found[2 * size - 9 : 2 * size - 1].mean() == pytest.approx(found[1:10].mean(), rel=0.1)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
def test_a_gaussian_is_as_strong_as_it_is(image, sigma):
    blurred = ndimage.gaussian_filter(np.float32(image) / 255, sigma, mode="reflect", truncate=6)
    assert blurs.strength(jnp.float32(image) / 255, blurred) == pytest.approx(
        sigma, rel=0.02, abs=0.02
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", range(1, len(KINDS)), ids=KINDS[1:])
def test_blurs_are_about_as_strong_as_asked_for(image, kind):
    strengths = [
        float(blurs.blur(jnp.float32(image) / 255, kind, sigma, jax.random.key(0))[1])
        for sigma in (0.7, 1.4, 2.8, 5.0)
    ]
    assert strengths == sorted(strengths)
    asked = np.array([0.7, 1.4, 2.8, 5.0])
    assert np.abs(np.log(strengths / asked)).max() < np.log(2.2)


def test_what_is_sharp_stays_as_it_is(image):
    given = jnp.float32(image) / 255
    found, strength = blurs.blur(given, 0, 2.0, jax.random.key(0))
    assert np.array_equal(found, given)
    assert strength == 0
