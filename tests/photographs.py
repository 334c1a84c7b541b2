"""Photographs for tests: parts of the two that scikit-learn ships, sharp or blurred."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_images

# Left edges of parts of the photograph of a temple that are in focus and full of detail.
PLACES = (0, 160, 320)


@functools.cache
def temple() -> Image.Image:
    """A sharp photograph of 640x427 pixels."""
    return Image.fromarray(load_sample_images().images[0])


def part(number: int, size: int = 256, shift: int = 0) -> Image.Image:
    """A square part; the same from another place: turned by a quarter or mirrored for other numbers."""
    turns, place = divmod(number, len(PLACES))
    left = PLACES[place] + shift
    image = temple().crop((left, 427 - size, left + size, 427))
    return image.rotate(90 * turns) if turns else image


def blurred(image: Image.Image, sigma: float = 4) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(sigma))


def save(image: Image.Image, path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def large(width: int, height: int) -> Image.Image:
    """A sharp photograph enlarged without becoming soft: the temple, tiled, so that every pixel is its own."""
    tile = np.asarray(temple())
    times = (-(-height // tile.shape[0]), -(-width // tile.shape[1]), 1)
    return Image.fromarray(np.tile(tile, times)[:height, :width])
