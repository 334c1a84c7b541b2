"""The data set of an experiment: one array of decoded images, and which of them are in which split."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from blurjax.config.settings import SPLITS, DataConfig
from blurjax.data import array_source
from blurjax.data.duplicates import drop_duplicates
from blurjax.data.examples import Examples, check_classes, pixels_sha256
from blurjax.data.messages import printable
from blurjax.data.splits import split_positions, subset_of_train
from blurjax.runtime.errors import UserError

COPY_BYTES = 2**30
"""Scattered images of a memory map are copied into memory up to this size, or data.resident_limit."""
ARRAYS = "arrays"
"""What stands for data.source where images were given in Python."""


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Decoded images, labels, and the positions of three splits.

    Images in memory are ordered train, validation, test. A memory map keeps the order of its file,
    where some images may be in no split.
    """

    name: str
    class_names: tuple[str, ...]
    images: np.ndarray
    """u8[N,H,W,C], C 1 or 3; may be a read-only memory map."""
    labels: np.ndarray
    """i32[N], positions in class_names."""
    names: tuple[str, ...]
    """Path of each image within the source, or its position there."""
    splits: Mapping[str, np.ndarray]
    """Positions i32 of the images of "train", "validation" and "test", ascending."""
    fingerprint: str
    """SHA-256 of pixels, labels, class names and split membership; no path or name is in it."""
    notes: tuple[str, ...] = ()
    """Sentences that a reader of results should know, such as that images were skipped."""
    dropped: int = 0
    """How many duplicates were left out of train."""
    blurry: int = 0
    """How many blurry images were left out of train."""
    drop_blurry: float | None = None
    """The data.drop_blurry that was applied."""
    source: str = ARRAYS
    """The data.source that it was loaded from."""

    @classmethod
    def from_arrays(
        cls,
        images: np.ndarray,
        labels: Sequence[int] | Sequence[str] | np.ndarray,
        *,
        splits: Sequence[str] | np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        name: str = "arrays",
        config: DataConfig | None = None,
    ) -> Dataset:
        """Makes a data set of arrays, exactly as `npz:FILE` does of the arrays of a file.

        Args:
          images: [N,H,W], [N,H,W,C] or [N,C,H,W], C 1, 3 or 4, at least 8x8 pixels; uint8, or other numbers that
            hold 8 bits: from 0 to 255, or floats from 0 to 1. uint16 is scaled.
          labels: N integers or strings, [N,1], or one-hot [N,K].
          splits: "train", "validation" or "test" for each image; a split that never occurs is taken
            from train. None: all are train.
          class_names: what integer labels number from 0; None: the labels themselves, sorted.
          names: of the images; None: their positions.
          name: of the data set.
          config: image size, channels, fractions, seed, subsets and duplicates. None: the defaults.

        Raises:
          UserError: an array does not have the shape, dtype or values described here, or a class
            has too few images.
        """
        config = config or DataConfig()
        examples = array_source.examples_of_arrays(
            images, labels, splits, class_names, names, name=name, config=config
        )
        return make_dataset(examples, config)

    @classmethod
    def from_tf_data(
        cls,
        data: Any,
        *,
        class_names: Sequence[str] | None = None,
        name: str = "tf_data",
        config: DataConfig | None = None,
    ) -> Dataset:
        """Makes a data set of a tf.data.Dataset, which is read once and held in memory.

        Args:
          data: a finite tf.data.Dataset of single (image, label) pairs, or of dicts with "image" and
            "label"; or one for each of the splits, {"train": ..., "test": ...}. Images are
            u8[H,W,C] or u8[H,W], of different sizes only where config.image_size is set.
          class_names: what integer labels number from 0; None: the labels themselves, sorted.
          name: of the data set.
          config: as for `from_arrays`.

        Raises:
          UserError: the elements are not as described here; see also `from_arrays`.
        """
        config = config or DataConfig()
        return make_dataset(
            array_source.examples_of_tf_data(data, class_names, name, config), config
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    @property
    def class_counts(self) -> dict[str, np.ndarray]:
        """Images of each class, i64[classes], by split."""
        return {
            split: np.bincount(self.labels[positions], minlength=len(self.class_names))
            for split, positions in self.splits.items()
        }

    def fits(self, limit: float) -> bool:
        """Returns whether the decoded images take at most so many GiB."""
        return self.images.nbytes <= limit * 2**30

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(self.splits[split]):,} {split}" for split in SPLITS)
        shape = "x".join(map(str, self.image_shape))
        return f"<Dataset {self.name!r}: {sizes} images, {shape}, {len(self.class_names)} classes>"


def make_dataset(examples: Examples, config: DataConfig) -> Dataset:
    """Splits the images of a source, and leaves out what the settings leave out.

    Raises:
      UserError: a class has too few images, or train fewer than data.train_examples.
    """
    shipped = examples.splits or {"train": np.arange(len(examples.labels))}
    labels = {split: examples.labels[rows] for split, rows in shipped.items()}
    check_classes(printable(examples.name), examples.class_names, labels)
    splits = split_positions(examples.labels, shipped, examples.class_names, config)
    notes, before = examples.notes, len(splits["train"])
    if config.duplicates == "drop":
        splits, note = drop_duplicates(examples, splits)
        notes += note
    dropped = before - len(splits["train"])
    splits = subset_of_train(splits, examples.labels, config)
    fingerprint = _fingerprint(examples, splits)

    dataset = Dataset(
        name=examples.name,
        class_names=examples.class_names,
        images=examples.images,
        labels=examples.labels,
        names=examples.names,
        splits={split: splits[split].astype(np.int32) for split in SPLITS},
        fingerprint=fingerprint,
        notes=notes,
        dropped=dropped,
    )
    return _without_gaps(dataset, config)


def drop_blurry(dataset: Dataset, probabilities: np.ndarray, config: DataConfig) -> Dataset:
    """Leaves out of train what is blurry with a probability of at least data.drop_blurry.

    Args:
      dataset: with all training images.
      probabilities: f32[n], that each training image is blurry.
      config: of the data.

    Raises:
      UserError: a class would lose all of its training images.
    """
    least, train = config.drop_blurry, dataset.splits["train"]
    assert least is not None
    stays = probabilities < least
    count = int(np.sum(~stays))
    left = np.bincount(dataset.labels[train[stays]], minlength=len(dataset.class_names))
    lost = (left == 0) & (dataset.class_counts["train"] > 0)
    if lost.any():
        name = printable(dataset.class_names[int(np.argmax(lost))])
        raise UserError(
            f"All training images of class {name} are blurry with a probability of at least {least:g}; raise "
            "data.drop_blurry, or add sharp images."
        )
    if not count:
        return dataclasses.replace(dataset, drop_blurry=least)
    verb = "image was" if count == 1 else "images were"
    note = f"{count:,} {verb} dropped from train as blurry (data.drop_blurry={least:g})."
    digest = hashlib.sha256(dataset.fingerprint.encode())
    digest.update(train[~stays].astype("<i8").tobytes())
    dataset = dataclasses.replace(
        dataset,
        splits={**dataset.splits, "train": train[stays]},
        fingerprint=digest.hexdigest(),
        notes=(*dataset.notes, note),
        blurry=count,
        drop_blurry=least,
    )
    return _without_gaps(dataset, config)


def _without_gaps(dataset: Dataset, config: DataConfig) -> Dataset:
    """Leaves out the images that are in no split, and orders the others by split, but in a large memory map."""
    images, splits = dataset.images, dataset.splits
    labels, names = dataset.labels, dataset.names
    in_use = np.concatenate([splits[split] for split in SPLITS])
    copied = len(in_use) * images[:1].nbytes <= max(COPY_BYTES, config.resident_limit * 2**30)
    if isinstance(images, np.memmap) and not copied:
        return dataset
    if not np.array_equal(in_use, np.arange(len(images))):
        images, labels = images[in_use], labels[in_use]
        names = tuple(names[position] for position in in_use)
    ends = np.cumsum([len(splits[split]) for split in SPLITS])
    positions = np.split(np.arange(ends[-1], dtype=np.int32), ends[:-1])
    ordered = dict(zip(SPLITS, positions, strict=True))
    return dataclasses.replace(dataset, images=images, labels=labels, names=names, splits=ordered)


def _fingerprint(examples: Examples, splits: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256((examples.pixels_sha256 or pixels_sha256(examples.images)).encode())
    digest.update(json.dumps(examples.class_names).encode())
    digest.update(examples.labels.astype("<i4").tobytes())
    for split in SPLITS:
        digest.update(f"{split} {len(splits[split])}".encode())
        digest.update(splits[split].astype("<i8").tobytes())
    return digest.hexdigest()
