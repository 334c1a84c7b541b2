"""Reads photographs as they are rated."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from blurjax.sharpness.rating import brightness
from blurjax.sharpness.reading import Unreadable, read_photographs


def read_as_rated(paths: Iterable[Path]) -> list[np.ndarray]:
    """Returns the brightness u8[H,W] of each file; one that cannot be read ends the script."""
    images = []
    for photograph in read_photographs(paths):
        if isinstance(photograph, Unreadable):
            raise SystemExit(f"{photograph.path} cannot be read: {photograph.reason}.")
        images.append(brightness(photograph.pixels))
    return images
