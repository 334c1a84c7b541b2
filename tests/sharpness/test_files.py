"""Rating files and images that are given: the same photograph has the same rating however it comes."""

import numpy as np
import photographs
import pytest
from PIL import Image

import blurjax
from blurjax.runtime import UserError
from blurjax.sharpness import RATED_SIZE, RatedFile, Unreadable, rate, rate_files, rate_sharpness


def test_files_of_folders_are_rated_and_the_damaged_ones_named(tmp_path):
    sharp = photographs.save(photographs.part(0), tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff")
    blurry = photographs.save(photographs.blurred(photographs.part(0)), tmp_path / "x/c.png")
    results = [*rate_files([str(tmp_path)])]
    a, b, c = sorted(results, key=lambda result: result.path)
    assert isinstance(b, Unreadable)
    assert isinstance(a, RatedFile)
    assert (a.path, b.path, c.path) == (sharp, tmp_path / "b.jpg", blurry)
    assert a.rating.probability < 0.5 < c.rating.probability
    assert (a.size, a.rated_size, a.preview) == ((256, 256), (256, 256), b"")
    assert a.rating.sigma < c.rating.sigma


def test_the_size_of_the_file_and_of_what_was_rated(tmp_path):
    path = photographs.save(photographs.large(2048, 1024), tmp_path / "a.png")
    (file,) = rate_files([path])
    assert (file.size, file.rated_size) == ((2048, 1024), (RATED_SIZE, RATED_SIZE // 2))
    assert file.rating.regions.shape == (RATED_SIZE // 64, RATED_SIZE // 32)


def test_arrays_images_and_paths_have_the_same_rating(tmp_path):
    image = photographs.part(2)
    pixels = np.asarray(image)
    expected = rate(pixels).probability
    path = photographs.save(image, tmp_path / "a.png")
    for given in (image, pixels, path, str(path)):
        (rating,) = rate_sharpness(given)
        assert rating.probability == expected
    assert [r.probability for r in rate_sharpness([image, pixels, path])] == [expected] * 3
    assert blurjax.rate_sharpness is rate_sharpness


def test_several_images_as_one_array():
    sharp = np.asarray(photographs.part(0).convert("L"))
    blurry = np.asarray(photographs.blurred(photographs.part(0)).convert("L"))
    one, two = rate_sharpness(np.stack([sharp, blurry]))
    assert (one.probability, two.probability) == (rate(sharp).probability, rate(blurry).probability)
    assert one.probability < two.probability


def test_an_image_of_pillows_is_flattened_and_turned(tmp_path):
    image = photographs.part(0).convert("RGBA")
    image.putalpha(255)
    assert rate_sharpness(image)[0].probability == pytest.approx(
        rate(np.asarray(photographs.part(0))).probability, abs=1e-6
    )


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UserError, match="is a folder; rate its images with"):
        rate_sharpness(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"none")
    with pytest.raises(UserError, match=r"a\.jpg cannot be rated: it is no image of a known"):
        rate_sharpness(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="Images must be uint8"):
        rate_sharpness(np.zeros((64, 64, 3)))
    with pytest.raises(UserError, match="An image of Pillow's cannot be rated: its pixels are"):
        rate_sharpness(Image.new("F", (64, 64)))
    with pytest.raises(UserError, match="64x31 pixels is too small"):
        rate_sharpness(np.zeros((31, 64, 3), np.uint8))
