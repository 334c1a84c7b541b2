"""Data sets of which only the size is known, to plan with before the images are there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from blurjax.config.settings import Config, DataConfig
from blurjax.data import Dataset


class Size(NamedTuple):
    """The published size of a data set."""

    train: int
    """Images of the train split, from which validation is taken."""
    test: int
    classes: int
    pixels: int
    """Height and width."""
    channels: int


SIZES = {
    "tfds:mnist": Size(60_000, 10_000, 10, 28, 1),
    "tfds:fashion_mnist": Size(60_000, 10_000, 10, 28, 1),
    "tfds:cifar10": Size(50_000, 10_000, 10, 32, 3),
    "tfds:cifar100": Size(50_000, 10_000, 100, 32, 3),
    "tfds:svhn_cropped": Size(73_257, 26_032, 10, 32, 3),
    # As Kaggle ships Intel's natural scenes; images have 150 pixels a side.
    "folder:data/scenes": Size(14_034, 3_000, 6, 150, 3),
}
"""By data.source."""
SPLITTING = ("train_split", "validation_split", "test_split")


def known_size(config: Config) -> Size | None:
    """Returns the published size of the data that settings name; None where it is not known, or splits are changed."""
    default = DataConfig()
    if any(getattr(config.data, name) != getattr(default, name) for name in SPLITTING):
        return None
    return SIZES.get(config.data.source)


def stand_in(config: Config, size: Size) -> Dataset:
    """Makes a data set of black images that take no memory, with the splits that the settings make of such data."""
    data = config.data
    validation = round(data.validation_fraction * size.train)
    train = min(size.train - validation, data.train_examples or size.train)
    counts = {"train": train, "validation": validation, "test": size.test}
    count, pixels = sum(counts.values()), data.image_size or size.pixels
    shape = (count, pixels, pixels, data.channels or size.channels)
    ends = np.cumsum([*counts.values()])
    positions = np.split(np.arange(count, dtype=np.int32), ends[:-1])
    return Dataset(
        name=data.source.split(":")[-1].split("/")[-1],
        class_names=tuple(map(str, range(size.classes))),
        images=np.broadcast_to(np.uint8(0), shape),
        labels=np.arange(count, dtype=np.int32) % size.classes,
        names=(),
        splits=dict(zip(counts, positions, strict=True)),
        fingerprint="",
        drop_blurry=data.drop_blurry,  # which of them would go is not known
        source=data.source,
    )
