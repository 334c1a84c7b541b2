"""The detector that ships: what it says of photographs, and that the same photograph gets the same answer."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import ndimage
from sklearn.datasets import load_sample_image
from sklearn.metrics import roc_auc_score

from blurjax.runtime import UserError
from blurjax.sharpness import RATED_SIZE, Detector, rate, rate_images
from blurjax.sharpness.rating import NOTHING, SHIPPED

SAME = 0.02


@pytest.fixture(scope="module")
def china():
    """A sharp photograph, u8[427,640,3]."""
    return load_sample_image("china.jpg")


def blurred(image, sigma):
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def reduced(image, share):
    size = tuple(round(side * share) for side in image.shape[1::-1])
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def enlarged(image, scale):
    size = tuple(side * scale for side in image.shape[1::-1])
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def encoded(image, form, **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, **options)
    return np.asarray(Image.open(file))


def test_it_is_small_and_says_how_it_was_made():
    assert SHIPPED.stat().st_size < 500_000
    assert {"images", "examples", "steps", "seed"} <= Detector.load().facts.keys()


def test_a_sharp_photograph_and_what_blur_makes_of_it(china):
    sharp = rate(china)
    assert sharp.probability < 0.05
    assert sharp.kind == "sharp"
    soft = rate(blurred(china, 2))
    assert soft.probability > 0.95
    assert soft.sigma == pytest.approx(2, rel=0.5)
    assert soft.kind in ("gaussian", "defocus", "enlarged")
    for rating in (sharp, soft):
        assert 0 <= rating.interval[0] <= rating.interval[1] <= 1
        assert rating.interval[0] - 0.01 <= rating.probability <= rating.interval[1] + 0.01
        assert rating.regions.shape == (14, 20)


@pytest.mark.parametrize("sigma", [1.2, 4, 8, 14])
def test_weak_and_strong_blur_is_seen(china, sigma):
    assert rate(blurred(china, sigma)).probability > 0.9


@pytest.mark.parametrize("sigma", [0, 1, 2])
def test_the_same_photograph_gets_the_same_answer(china, sigma):
    image = blurred(china, sigma)
    found = rate(image).probability
    for same in (
        encoded(image, "PNG"),
        encoded(image, "JPEG", quality=95),
        np.rot90(image).copy(),
        image[::-1].copy(),
        np.asarray(Image.fromarray(image).convert("L")),
    ):
        assert rate(same).probability == pytest.approx(found, abs=SAME)


def test_an_enlarged_photograph_is_as_soft_as_it_is(china):
    small = reduced(china, 0.5)
    assert rate(small).probability < 0.05
    large = rate(enlarged(small, 2))
    assert large.probability > 0.9
    assert large.sigma > 1.5 * rate(small).sigma


def test_a_large_photograph_is_rated_at_a_stated_size(china):
    large = enlarged(china, 6)  # 3840 x 2562: at 768 pixels it is sharp again
    assert max(large.shape) > 4 * RATED_SIZE
    assert rate(large).probability < 0.2
    assert rate(large).regions.shape == (16, 24)


def test_a_sharp_subject_before_a_blurred_background_is_sharp(china):
    image = enlarged(blurred(china, 4), 1).copy()
    image[150:310, 250:440] = china[150:310, 250:440]
    found = rate(image)
    assert found.probability < 0.5
    inside, outside = found.regions[6:9, 9:13], found.regions[:, :6]
    assert np.nanmean(inside) < 0.3 < 0.7 < np.nanmean(outside)


def test_nothing_to_judge():
    for image in (np.zeros((64, 64), np.uint8), np.full((100, 40, 3), 200, np.uint8)):
        found = rate(image)
        assert found.kind == NOTHING
        assert np.isnan(found.regions).all()
        assert (found.probability, found.interval, found.sigma) == (0.5, (0, 1), 0)


def test_noise_fog_and_night_are_no_blur(china, rng):
    night = china / 6 + rng.normal(0, 4, china.shape)
    fog = 0.3 * china + 150
    for image in (night, fog):
        assert rate(np.clip(image, 0, 255).astype(np.uint8)).probability < 0.3


def test_many_are_rated_as_each_alone(china):
    images = [china, china[:100, :64], blurred(china, 3)[:32, :32]]
    for together, image in zip(rate_images(images), images, strict=True):
        alone = rate(image)
        assert together.probability == pytest.approx(alone.probability, abs=1e-5)
        assert together.regions == pytest.approx(alone.regions, abs=1e-5, nan_ok=True)


def test_a_detector_that_is_saved_says_the_same(tmp_path, china):
    shipped = Detector.load()
    shipped.save(tmp_path / "copy.safetensors")
    assert (tmp_path / "copy.safetensors").read_bytes() == SHIPPED.read_bytes()
    again = Detector.load(tmp_path / "copy.safetensors")
    assert again.facts == shipped.facts
    assert rate(china, again).probability == rate(china).probability


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((31, 200, 3), np.uint8), "200x31 pixels is too small"),
        (np.zeros((60, 1600, 3), np.uint8), r"1600x60 pixels \(768x29 when it is rated\) is too"),
        (np.zeros((64, 64, 3), np.float32), r"float32 \[64, 64, 3\]"),
        (np.zeros((64, 64, 4), np.uint8), r"uint8 \[64, 64, 4\]"),
    ],
)
def test_what_cannot_be_rated_is_said(image, says):
    with pytest.raises(UserError, match=says):
        rate(image)


def test_no_images_have_no_ratings():
    assert rate_images([]) == []


@pytest.mark.parametrize("content", [None, b"none", b"\x02\0\0\0\0\0\0\0{}"])
def test_what_is_no_detector_is_said(tmp_path, content):
    path = tmp_path / "a.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="is no detector"):
        Detector.load(path)


def test_photographs_never_trained_on(photographs, tmp_path):
    """Half of them blurred with SciPy's Gaussian or a disc, sigma 1 to 4: another program than learned from."""
    import tarfile

    images = []
    with tarfile.open(photographs / "scenes.tar") as tar:
        members = [m for m in tar if m.name.startswith("test/") and m.name.endswith(".jpg")]
        for member in members[::8]:
            images.append(np.asarray(Image.open(tar.extractfile(member)).convert("L")))
    rng = np.random.default_rng(0)
    labels = np.arange(len(images)) % 2 == 1
    y, x = np.mgrid[-8:9, -8:9]
    for i in np.flatnonzero(labels):
        sigma = rng.uniform(1, 4)
        if i % 4 == 1:
            made = ndimage.gaussian_filter(np.float32(images[i]), sigma)
        else:
            disc = np.hypot(x, y) <= 2 * sigma
            made = ndimage.convolve(np.float32(images[i]), disc / disc.sum())
        images[i] = made.round().astype(np.uint8)
    probabilities = np.array([rating.probability for rating in rate_images(images)])
    assert len(images) > 200
    assert roc_auc_score(labels, probabilities) > 0.99
    assert ((probabilities >= 0.5) == labels).mean() > 0.95
