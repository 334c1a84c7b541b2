"""A stand-in with the interface of the detector: a plain rule on the variance of the Laplacian."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from blurjax.runtime import UserError

Detector: TypeAlias = Any
RATED_SIZE = 768
"""Pixels: a larger image is reduced so that its longer side has this many; smaller ones are rated as they are."""
REGION = 32
NOTHING = "nothing to judge"


@dataclass(frozen=True)
class Rating:
    """How blurry an image is."""

    probability: float
    """That the image is blurry, in [0, 1]; the mean over the detectors of the ensemble."""
    interval: tuple[float, float]
    """Of that probability, over the ensemble."""
    sigma: float
    """Strength: the Gaussian blur, in pixels of the rated image, that would cost as much."""
    kind: str
    """sharp, gaussian, defocus, motion, codec, compression, enlarged, or nothing to judge."""
    regions: np.ndarray
    """f32[rows,columns], the probability that each region (32x32 pixels of the rated image) is blurry; NaN: nothing to
    judge there."""


def rate(image: np.ndarray, detector: Detector | None = None) -> Rating:
    """Rates an image u8[H,W,3] or u8[H,W] of at least 32x32 pixels.

    Raises:
      UserError: it is smaller.
    """
    if min(image.shape[:2]) < REGION:
        raise UserError(f"An image of {image.shape[1]}x{image.shape[0]} pixels is too small.")
    pixels = Image.fromarray(image).convert("L")
    scale = RATED_SIZE / max(pixels.size)
    if scale < 1:
        width, height = (round(scale * side) for side in pixels.size)
        pixels = pixels.resize((width, height), Image.Resampling.BICUBIC)
    grey = np.asarray(pixels).astype(np.float32)
    laplacian = (
        4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    )
    probability = _probability(laplacian)
    rows, columns = grey.shape[0] // REGION, grey.shape[1] // REGION
    regions = np.full((rows, columns), np.nan, np.float32)
    for row in range(rows):
        for column in range(columns):
            y, x = row * REGION, column * REGION
            block = laplacian[y : y + REGION - 2, x : x + REGION - 2]
            regions[row, column] = _probability(block) if block.std() else np.nan
    kind = "gaussian" if probability >= 0.5 else "sharp"
    if np.isnan(regions).all():
        probability, kind = 0.5, NOTHING
    return Rating(probability, (probability, probability), 4 * probability, kind, regions)


def rate_images(images: Sequence[np.ndarray], detector: Detector | None = None) -> list[Rating]:
    """Rates images, each as `rate` does."""
    return [rate(image, detector) for image in images]


def _probability(laplacian: np.ndarray) -> float:
    return float(1 / (1 + (laplacian.std() / 12) ** 2))
