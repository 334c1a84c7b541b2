"""Images whose pixels are all equal: finds them, and leaves them out of train."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from blurjax.data.examples import Examples, blocks
from blurjax.data.messages import printable
from blurjax.runtime.errors import UserError


def content_groups(images: np.ndarray, positions: np.ndarray | None = None) -> np.ndarray:
    """Numbers images by content, through the SHA-256 of their pixels.

    Args:
      images: u8[N,H,W,C]; read block by block.
      positions: integers [n], of the images to number; None: all.

    Returns:
      i64[n], the same number for equal images; from 0, in order of first appearance.
    """
    number_of: dict[bytes, int] = {}
    parts = blocks(images, positions)
    digests = (hashlib.sha256(image.data).digest() for part in parts for image in part)
    return np.array([number_of.setdefault(d, len(number_of)) for d in digests], np.int64)


def count_distinct(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Counts the different values in each group.

    Args:
      groups: i64[N], from `content_groups`.
      values: integers [N], not negative.

    Returns:
      i64[groups.max() + 1].
    """
    radix = int(values.max(initial=0)) + 1
    return np.bincount(np.unique(groups * radix + values) // radix)


def drop_duplicates(
    examples: Examples, splits: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Leaves duplicates out of train; validation and test stay as they are.

    An image leaves train if an equal one is in validation or test, or has another label, or comes
    earlier in train.

    Args:
      examples: all images.
      splits: split -> positions i64, ascending; every image is in a split.

    Returns:
      The positions that stay, and a note of what was dropped, if anything was.

    Raises:
      UserError: a class would lose all of its training images.
    """
    groups, train = content_groups(examples.images), splits["train"]
    held_out = np.isin(groups[train], groups[np.r_[splits["validation"], splits["test"]]])
    conflicting = (count_distinct(groups, examples.labels) > 1)[groups[train]] & ~held_out
    repeated = np.ones(len(train), bool)
    repeated[np.unique(groups[train], return_index=True)[1]] = False
    repeated &= ~(held_out | conflicting)
    stays = ~(held_out | conflicting | repeated)
    if stays.all():
        return dict(splits), ()
    left = np.bincount(examples.labels[train[stays]], minlength=len(examples.class_names))
    if not left.all():
        name = printable(examples.class_names[int(np.argmin(left))])
        raise UserError(
            f"All training images of class {name} have duplicates and would be dropped; add other "
            "images, or keep duplicates with data.duplicates=keep."
        )
    reasons = {
        "with a copy in validation or test": held_out,
        "with a copy of another label": conflicting,
        "repeated in train": repeated,
    }
    counted = [f"{np.sum(those):,} {reason}" for reason, those in reasons.items() if those.any()]
    verb = "duplicate was" if np.sum(~stays) == 1 else "duplicates were"
    note = f"{np.sum(~stays):,} {verb} dropped from train: {', '.join(counted)}."
    return {**splits, "train": train[stays]}, (note,)
