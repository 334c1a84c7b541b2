"""Images whose pixels are all equal: finds them, and leaves them out of train."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from blurjax.data.dataset import Examples, blocks, shown
from blurjax.runtime.errors import UserError


def content_groups(*parts: np.ndarray) -> np.ndarray:
    """Numbers images by content, through the SHA-256 of their pixels.

    Args:
      parts: u8[n,H,W,C] each, all of one H, W and C; read block by block.

    Returns:
      i64[sum of n], the same number for equal images; from 0, in order of first appearance.
    """
    number_of: dict[bytes, int] = {}
    digests = (
        hashlib.sha256(image.data).digest()
        for images in parts
        for block in blocks(images)
        for image in block
    )
    return np.array([number_of.setdefault(d, len(number_of)) for d in digests], np.int64)


def count_distinct(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """How many different values each group has.

    Args:
      groups: i64[N], from `content_groups`.
      values: integers [N], not negative.

    Returns:
      i64[number of groups].
    """
    radix = int(values.max(initial=0)) + 1
    return np.bincount(np.unique(groups * radix + values) // radix)


def without_duplicates(
    examples: Examples, rows: Mapping[str, np.ndarray]
) -> tuple[Examples, dict[str, np.ndarray]]:
    """Leaves duplicates out of train, with a note; validation and test stay as they are.

    An image leaves train if an equal one is in validation or test, or has another label, or comes
    earlier in train.

    Args:
      examples: all images.
      rows: split -> positions i64, ascending; every image is in a split.

    Returns:
      The examples, with the note, and the rows that stay.

    Raises:
      UserError: a class would lose all of its training images.
    """
    groups, train = content_groups(examples.images), rows["train"]
    is_held_out = np.isin(groups[train], groups[np.r_[rows["validation"], rows["test"]]])
    is_conflicting = (count_distinct(groups, examples.labels) > 1)[groups[train]]
    is_repeat = np.ones(len(train), bool)
    is_repeat[np.unique(groups[train], return_index=True)[1]] = False
    stays = ~(is_held_out | is_conflicting | is_repeat)
    if stays.all():
        return examples, dict(rows)
    _check_classes(examples, train, stays)
    reasons = {
        "with a copy in validation or test": is_held_out,
        "with a copy of another label": is_conflicting & ~is_held_out,
        "repeated in train": is_repeat & ~is_conflicting & ~is_held_out,
    }
    counted = [f"{np.sum(those):,} {reason}" for reason, those in reasons.items() if those.any()]
    duplicates = "duplicate was" if np.sum(~stays) == 1 else "duplicates were"
    note = f"{np.sum(~stays):,} {duplicates} dropped from train: {', '.join(counted)}."
    return replace(examples, notes=(*examples.notes, note)), {**rows, "train": train[stays]}


def _check_classes(examples: Examples, train: np.ndarray, stays: np.ndarray) -> None:
    left = np.bincount(examples.labels[train[stays]], minlength=len(examples.class_names))
    if not left.all():
        name = shown(examples.class_names[int(np.argmin(left))])
        raise UserError(
            f"All training images of class {name} have duplicates and would be dropped; add other "
            "images, or keep duplicates with data.duplicates=keep."
        )
