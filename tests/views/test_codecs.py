"""Codecs: what Pillow decodes, byte for byte, and the quality of a given distortion."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from blurjax.views import codecs
from blurjax.views.codecs import matching_quality, pattern, round_trip


@pytest.fixture(scope="module")
def photographs_like():
    """600 images of smooth noise, more than a thread is handed at a time."""
    noise = np.random.default_rng(0).normal(size=(600, 16, 16, 3))
    smooth = ndimage.gaussian_filter(noise, (0, 1.5, 1.5, 0))
    return (127 + 60 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_what_pillow_decodes_of_what_it_encodes(photographs_like, codec, channels):
    images = photographs_like[..., :channels]
    decoded, sizes = round_trip(images, codec, 30)
    options = {"optimize": True} if codec == "jpeg" else {}
    for i in (0, 255, 256, 599):
        file = io.BytesIO()
        Image.fromarray(images[i].squeeze()).save(file, format=codec, quality=30, **options)
        opened = Image.open(io.BytesIO(file.getvalue()))
        assert opened.format == codec.upper()
        expected = np.asarray(opened if channels == 3 else opened.convert("L"))
        np.testing.assert_array_equal(decoded[i].squeeze(), expected)
        assert sizes[i] == len(file.getvalue())
    assert 0 < np.square(decoded.astype(float) - images).mean() < 1000


def test_better_qualities_take_more_bytes_and_distort_less(photographs_like):
    for codec in ("jpeg", "webp"):
        worse, better = (round_trip(photographs_like[:50], codec, q) for q in (20, 80))
        errors = [
            np.square(d.astype(float) - photographs_like[:50]).mean() for d, _ in (worse, better)
        ]
        assert errors[0] > 2 * errors[1]
        assert worse[1].mean() < better[1].mean()


def test_the_quality_of_a_distortion_is_the_nearest_in_decibels():
    asked_for = []

    def distortion(quality):  # a decibel per quality
        asked_for.append(quality)
        return 10 ** (-quality / 10)

    assert matching_quality(distortion, 10**-3.74) == (37, True)
    assert len({*asked_for}) <= 9
    assert matching_quality(distortion, 10**-3.76) == (38, True)
    assert matching_quality(distortion, 10**-0.1) == (1, True)
    assert matching_quality(distortion, 10**-10.0) == (100, True)


def test_a_distortion_that_no_quality_has_is_clamped_and_said():
    def distortion(quality):
        return 2.0 - quality / 100

    assert matching_quality(distortion, 3.0) == (1, False)
    assert matching_quality(distortion, 0.5) == (100, False)


def test_a_distortion_of_nothing_is_found():
    def distortion(quality):
        return max(0.0, 0.9 - quality / 100)

    quality, reachable = matching_quality(distortion, 0.0)
    assert reachable
    assert quality == 90


def test_the_pattern_of_a_codec_shows_other_options(monkeypatch):
    before = pattern("jpeg", (16, 16, 3))
    assert pattern("jpeg", (16, 16, 3)) == before
    monkeypatch.setitem(codecs.OPTIONS, "jpeg", {"subsampling": 0})
    assert pattern("jpeg", (16, 16, 3)) != before
