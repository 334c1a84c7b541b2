"""Leaves blurry images out of train, as data.drop_blurry asks for."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np

from blurjax.config.settings import DataConfig
from blurjax.data import Dataset, cache, drop_blurry
from blurjax.runtime import UserError
from blurjax.sharpness import NOTHING, SMALLEST, rate_images
from blurjax.sharpness.rating import SHIPPED, VERSION

BATCH = 256
_log = logging.getLogger("blurjax")


def leave_out_blurry(dataset: Dataset, config: DataConfig) -> Dataset:
    """Returns the data set without the training images that are rated as blurry; once for each data set.

    They are rated as classifiers would see them: cut out and resized. Images of validation and test stay.

    Raises:
      UserError: the images are too small to be rated, or a class would lose all of them, or the data set was made with
        another data.drop_blurry.
    """
    if dataset.drop_blurry == config.drop_blurry:
        return dataset
    if dataset.drop_blurry is not None:
        raise UserError(
            f"The data set was made with data.drop_blurry={dataset.drop_blurry:g}; load it again, or set that."
        )
    height, width, _ = dataset.image_shape
    if min(height, width) < SMALLEST:
        raise UserError(
            f"data.drop_blurry needs images of at least {SMALLEST}x{SMALLEST} pixels, and these have {height}x{width}; "
            "raise data.image_size, or leave data.drop_blurry out."
        )
    return drop_blurry(dataset, _rated(dataset, config), config)


def _rated(dataset: Dataset, config: DataConfig) -> np.ndarray:
    """Returns f32[n], the probability that each training image is blurry, from the cache where it is there."""
    train = dataset.splits["train"]
    detector = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    name = cache.key(what="blurry", images=dataset.fingerprint, detector=detector, version=VERSION)

    def build(directory: Path) -> None:
        _log.info(
            "Rating the sharpness of %s training images; this happens once.", f"{len(train):,}"
        )
        np.save(directory / "probabilities.npy", _probabilities(dataset, train))

    return np.load(
        cache.entry(cache.directory(config.cache_dir), name, build) / "probabilities.npy"
    )


def _probabilities(dataset: Dataset, positions: np.ndarray) -> np.ndarray:
    probabilities = []
    for first in range(0, len(positions), BATCH):
        images = dataset.images[positions[first : first + BATCH]]
        ratings = rate_images(images)
        probabilities += [0 if r.kind == NOTHING else r.probability for r in ratings]
    return np.array(probabilities, np.float32)
