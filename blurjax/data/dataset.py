"""What every source of images becomes: decoded pixels and labels, in three splits."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from blurjax.runtime.errors import UserError

SPLITS = ("train", "validation", "test")
_BLOCK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Split:
    """The images of one split."""

    images: np.ndarray
    """u8[N,H,W,C]; may be a read-only memory map."""
    labels: np.ndarray
    """i32[N], positions in the data set's class_names."""
    names: tuple[str, ...]
    """Path of each image within the data set, or its position there."""


@dataclass(frozen=True)
class Dataset:
    """Decoded images in three splits."""

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Split]
    """Exactly "train", "validation" and "test"."""
    fingerprint: str
    """SHA-256 of pixels, labels, class names and split membership, not of where they lie."""
    notes: tuple[str, ...] = ()
    """Sentences that a reader of results should know, such as that images were skipped."""
    dropped: int = 0
    """Duplicates that were left out of train."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        height, width, channels = self.splits["train"].images.shape[1:]
        return height, width, channels

    @property
    def class_counts(self) -> dict[str, np.ndarray]:
        """Images of each class, i64[classes], by split."""
        return {
            name: np.bincount(split.labels, minlength=len(self.class_names))
            for name, split in self.splits.items()
        }


@dataclass(frozen=True)
class Examples:
    """All images of a source, before those splits that it does not ship are taken off train."""

    images: np.ndarray
    """u8[N,H,W,C]; may be a read-only memory map."""
    labels: np.ndarray
    """i32[N]."""
    names: tuple[str, ...]
    class_names: tuple[str, ...]
    shipped: Mapping[str, np.ndarray]
    """Split -> positions i64, ascending, of its images; always has "train"."""
    pixels_sha256: str
    notes: tuple[str, ...] = ()


def pixels_sha256(images: np.ndarray) -> str:
    """SHA-256 of the shape and the values of images u8[N,H,W,C], read block by block."""
    digest = hashlib.sha256(repr(images.shape).encode())
    for block in blocks(images):
        digest.update(block.data)
    return digest.hexdigest()


def blocks(images: np.ndarray, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yields images u8[N,H,W,C], perhaps a memory map, in contiguous parts of a few MiB.

    Args:
      images: of which all are yielded, in order, or these:
      rows: i64[n], in any order.
    """
    size = max(1, _BLOCK_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images) if rows is None else len(rows), size):
        part = slice(start, start + size)
        yield np.ascontiguousarray(images[part if rows is None else rows[part]])


def fingerprint(examples: Examples, membership: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of pixels, labels, class names and which positions i64[n] lie in which split."""
    digest = hashlib.sha256(examples.pixels_sha256.encode())
    digest.update(json.dumps(examples.class_names).encode())
    digest.update(examples.labels.astype("<i4").tobytes())
    for split in SPLITS:
        digest.update(f"{split} {len(membership[split])}".encode())
        digest.update(membership[split].astype("<i8").tobytes())
    return digest.hexdigest()


def without_unused_classes(examples: Examples) -> Examples:
    """Drops classes that are declared but have no image at all, with a note."""
    used, labels = np.unique(examples.labels, return_inverse=True)
    unused = np.delete(examples.class_names, used).tolist()
    if not unused:
        return examples
    left_out = "1 class" if len(unused) == 1 else f"{len(unused)} classes"
    return replace(
        examples,
        labels=labels.astype(np.int32),
        class_names=tuple(examples.class_names[label] for label in used),
        notes=(*examples.notes, f"{left_out} without any image left out: {listed(unused)}."),
    )


def check_classes(
    place: str, class_names: Sequence[str], labels: Mapping[str, Sequence[int] | np.ndarray]
) -> None:
    """Raises UserError unless there are two classes or more, each in every split.

    Args:
      place: where the images are from, as a sentence can show it.
      class_names: of each label.
      labels: split -> integers, the label of each of its images.
    """
    if len(class_names) < 2:
        only = f"a single class, {shown(class_names[0])}" if class_names else "no classes"
        raise UserError(f"{place} has {only}; a classifier needs at least two classes.")
    for split, of_split in labels.items():
        counts = np.bincount(np.asarray(of_split, int), minlength=len(class_names))
        missing = [class_names[label] for label in np.flatnonzero(counts == 0).tolist()]
        if missing:
            classes = "class" if len(missing) == 1 else "classes"
            raise UserError(
                f"In {place}, {classes} {listed(missing)} {'has' if len(missing) == 1 else 'have'} "
                f"no image in the {split} split; every class needs images in every split: add "
                "some, or remove the class everywhere."
            )


def shown(name: object) -> str:
    """A name or path as a sentence can show it: escaped where it holds control characters."""
    text = str(name)
    return text if text.isprintable() else repr(text)


def text(name: str) -> str:
    """The name of a file as text that any file and page can hold: escaped where it is not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def user_path(text: str | Path) -> Path:
    """A path as a user writes it, with ~ for a home directory."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"The path {shown(text)} cannot be found: {error}") from None


@contextlib.contextmanager
def readable(place: Path) -> Iterator[None]:
    """Turns an OSError while a place is read into the sentence that a user can act on."""
    try:
        yield
    except OSError as error:
        where = shown(error.filename or place)
        raise UserError(
            f"{where} cannot be read ({error.strerror or error}); check the path and its permissions."
        ) from None


def listed(names: Sequence[str], most: int = 10) -> str:
    """The first names, each as `shown`, joined by commas, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more
