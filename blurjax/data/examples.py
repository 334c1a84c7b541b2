"""The record that every source of images returns, before it is split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from blurjax.data.messages import join_names, printable
from blurjax.runtime.errors import UserError

_BLOCK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Examples:
    """All images of a source: decoded, of one size, in the order of the source."""

    name: str
    """Of the data set, as results show it."""
    images: np.ndarray
    """u8[N,H,W,C], C 1 or 3; may be a read-only memory map."""
    labels: np.ndarray
    """i32[N], positions in class_names."""
    names: tuple[str, ...]
    """Path of each image within the data set, or its position there."""
    class_names: tuple[str, ...]
    splits: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Split -> ascending positions i64 of its images, for the splits that the source ships; has
    "train" unless it is empty, which means that all images are in train."""
    pixels_sha256: str | None = None
    """`pixels_sha256` of images; None where it is not known yet."""
    notes: tuple[str, ...] = ()
    """Sentences that a reader of results should know, such as that images were skipped."""


def blocks(images: np.ndarray, positions: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yields images u8[N,H,W,C], perhaps a memory map, in contiguous parts of a few MiB.

    Args:
      images: all are yielded, in order, unless there are
      positions: integers [n], of the images to yield, in this order.
    """
    for part in block_slices(images, None if positions is None else len(positions)):
        yield np.ascontiguousarray(images[part if positions is None else positions[part]])


def block_slices(images: np.ndarray, count: int | None = None) -> Iterator[slice]:
    """Yields slices of a few MiB each, of all images or of so many."""
    size = max(1, _BLOCK_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images) if count is None else count, size):
        yield slice(start, start + size)


def pixels_sha256(images: np.ndarray) -> str:
    """SHA-256 of the shape and the values of images u8[N,H,W,C], read block by block."""
    digest = hashlib.sha256(repr(images.shape).encode())
    for block in blocks(images):
        digest.update(block.data)
    return digest.hexdigest()


def without_unused_classes(examples: Examples) -> Examples:
    """Drops classes that are declared but have no image at all, with a note."""
    used, labels = np.unique(examples.labels, return_inverse=True)
    unused = np.delete(examples.class_names, used).tolist()
    if not unused:
        return examples
    dropped = "1 class" if len(unused) == 1 else f"{len(unused)} classes"
    return replace(
        examples,
        labels=labels.astype(np.int32),
        class_names=tuple(examples.class_names[label] for label in used),
        notes=(*examples.notes, f"{dropped} without any image left out: {join_names(unused)}."),
    )


def check_classes(
    place: str, class_names: Sequence[str], labels: Mapping[str, Sequence[int] | np.ndarray]
) -> None:
    """Raises UserError unless there are at least two classes, each with an image in every split.

    Args:
      place: where the images are from, for the message.
      class_names: name of each label.
      labels: split -> integers, the label of each of its images.
    """
    if len(class_names) < 2:
        only = f"a single class, {printable(class_names[0])}" if class_names else "no classes"
        raise UserError(f"{place} has {only}; a classifier needs at least two classes.")
    for split, split_labels in labels.items():
        counts = np.bincount(np.asarray(split_labels, int), minlength=len(class_names))
        missing = [class_names[label] for label in np.flatnonzero(counts == 0).tolist()]
        if missing:
            subject, verb = ("class", "has") if len(missing) == 1 else ("classes", "have")
            raise UserError(
                f"In {place}, {subject} {join_names(missing)} {verb} no image in the {split} split; "
                "every class needs images in every split: add some, or remove the class everywhere."
            )
