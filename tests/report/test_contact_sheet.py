"""The contact sheet: colours of regions, and where the map lies over the photograph."""

import io

import numpy as np
import pytest
from PIL import Image

from blurjax.report.contact_sheet import Preview, heat_map


def drawn(regions, rated_size):
    found = heat_map(Preview(b"", np.array(regions, np.float32), rated_size))
    with Image.open(io.BytesIO(found.png)) as image:
        return np.asarray(image), found


def test_blurry_is_orange_sharp_is_blue_and_the_rest_is_clear():
    pixels, _ = drawn([[1, 0, 0.75], [0.5, np.nan, 0.25]], (96, 64))
    assert pixels.shape == (2, 3, 4)
    orange, blue = [213, 94, 0], [0, 114, 178]
    assert pixels[0].tolist() == [[*orange, 150], [*blue, 150], [*orange, 75]]
    assert pixels[1, 2].tolist() == [*blue, 75]
    assert pixels[1, :2, 3].tolist() == [0, 0]


def test_the_map_ends_where_its_regions_end():
    _, fits = drawn(np.zeros((2, 3)), (96, 64))
    assert (fits.width, fits.height) == (100, 100)
    _, ends_before = drawn(np.zeros((2, 3)), (100, 80))
    assert (ends_before.width, ends_before.height) == (96, 80)
    _, reaches_over = drawn(np.zeros((3, 4)), (100, 80))
    assert (reaches_over.width, reaches_over.height) == pytest.approx((128, 120))
