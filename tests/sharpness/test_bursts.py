"""Bursts: near-equal photographs are found together, others are not, however few there are."""

import numpy as np
import photographs
import pytest
from PIL import Image, ImageEnhance

from blurjax.sharpness import find_bursts, rate_files, sharpest


def thumbnail(image):
    return np.asarray(image.resize((16, 16), Image.Resampling.BOX))


def test_a_burst_is_found_among_two_photographs():
    pair = [thumbnail(photographs.part(0, shift=shift)) for shift in (0, 3)]
    assert find_bursts(pair) == [[0, 1]]


def test_a_long_burst_is_one_group_and_others_are_none():
    burst = [thumbnail(photographs.part(0, shift=shift)) for shift in range(12)]
    others = [thumbnail(photographs.part(number)) for number in range(1, 12)]
    images = [others[0], *burst, *others[1:]]
    assert find_bursts(images) == [[*range(1, 13)]]


def test_blur_and_brightness_do_not_separate():
    image = photographs.part(0)
    darker = ImageEnhance.Brightness(photographs.part(0, shift=2)).enhance(0.9)
    images = [image, photographs.blurred(image, 3), darker, photographs.part(1)]
    assert find_bursts([thumbnail(each) for each in images]) == [[0, 1, 2]]


def test_equal_copies_are_a_burst_and_nothing_is_none():
    one = thumbnail(photographs.part(0))
    assert find_bursts([one, thumbnail(photographs.part(1)), one]) == [[0, 2]]
    assert find_bursts([]) == find_bursts([one]) == []


def test_dark_photographs_are_told_apart():
    dark = [np.asarray(thumbnail(photographs.part(i)) // 12) for i in range(12)]
    assert find_bursts(dark) == []


def test_thumbnails_of_files_find_bursts(tmp_path):
    for number in range(3):
        for shift in (0, 2):
            photographs.save(
                photographs.part(number, shift=shift), tmp_path / f"{number}-{shift}.jpg"
            )
    files = [*rate_files([tmp_path])]
    assert find_bursts([file.thumbnail for file in files]) == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("blurry", [0, 1])
def test_the_sharpest_is_least_likely_to_be_blurry(tmp_path, blurry):
    for shift in range(2):
        image = photographs.part(0, shift=shift)
        image = photographs.blurred(image, 2) if shift == blurry else image
        photographs.save(image, tmp_path / f"{shift}.png")
    assert sharpest([file.rating for file in rate_files([tmp_path])]) == 1 - blurry


def test_a_frame_that_shows_nothing_is_not_the_sharpest(tmp_path):
    photographs.save(photographs.blurred(photographs.part(0), 3), tmp_path / "a.png")
    Image.new("RGB", (256, 256)).save(tmp_path / "b.png")
    assert sharpest([file.rating for file in rate_files([tmp_path])]) == 0


def test_thousands_of_near_equal_frames_are_one_burst(rng):
    """Every two of them are compared: 4.5 million pairs are not kept."""
    one = np.asarray(thumbnail(photographs.part(0)), np.int64)
    frames = [np.clip(one + rng.integers(-2, 3, one.shape), 0, 255) for _ in range(3000)]
    assert find_bursts([frame.astype(np.uint8) for frame in frames]) == [[*range(3000)]]
