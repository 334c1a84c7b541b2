"""The contact sheet: the colours of regions."""

import io

import numpy as np
from PIL import Image

from blurjax.report.contact_sheet import heat_map


def test_blurry_is_orange_sharp_is_blue_and_the_rest_is_clear():
    regions = np.array([[1, 0, 0.75], [0.5, np.nan, 0.25]], np.float32)
    with Image.open(io.BytesIO(heat_map(regions))) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (2, 3, 4)
    orange, blue = [213, 94, 0], [0, 114, 178]
    assert pixels[0].tolist() == [[*orange, 150], [*blue, 150], [*orange, 75]]
    assert pixels[1, 2].tolist() == [*blue, 75]
    assert pixels[1, :2, 3].tolist() == [0, 0]
