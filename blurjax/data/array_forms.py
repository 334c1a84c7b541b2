"""Arrays of images and labels in the forms that people keep them in, made those of a data set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import numpy as np

from blurjax.config.settings import SPLITS
from blurjax.data.examples import block_slices
from blurjax.data.messages import join_names
from blurjax.data.split_folders import split_words
from blurjax.runtime.errors import UserError

KINDS = {
    "image": ("image", "images", "x", "data"),
    "label": ("label", "labels", "y", "target", "targets"),
}
"""What arrays are called, whatever the case; beside these, a word may name a split, as in x_train or val_images."""


class Named(NamedTuple):
    """The arrays of a file that are images or labels."""

    kind: str
    """A key of KINDS."""
    split: str | None
    """None: the array is of all splits."""
    name: str


def find_arrays(place: str, names: Collection[str]) -> dict[str | None, tuple[str, str]]:
    """Finds the images and labels of each split among the arrays of a file.

    Args:
      place: for messages.
      names: of all arrays.

    Returns:
      split -> names of the images and labels; a single entry None where the arrays are of all splits.

    Raises:
      UserError: images or labels are missing, there are several, or none are of the train split.
    """
    found: dict[str | None, dict[str, str]] = {}
    for kind, split, name in _named(names):
        other = found.setdefault(split, {}).setdefault(kind, name)
        if other != name:
            raise UserError(
                f"{place} has two arrays that may be the {kind}s, {other} and {name}; leave one out."
            )
    if None in found and len(found) > 1:
        of_one = next(split for split in found if split is not None)
        both = join_names([next(iter(found[split].values())) for split in (None, of_one)])
        raise UserError(
            f"{place} has arrays of all splits and of single ones, such as {both}; leave one kind out."
        )
    present = f"it has {join_names(sorted(names))}" if names else "it is empty"
    for split, of_split in (found or {None: {}}).items():
        missing = [kind for kind in KINDS if kind not in of_split]
        if missing:
            whose = "" if split is None else f" for the {split} split"
            raise UserError(
                f"{place} has no array {' and no array '.join(missing)}{whose} ({present}); arrays are called image "
                "and label, or such as x_train, y_train and train_images, train_labels."
            )
    if None not in found and "train" not in found:
        raise UserError(f"{place} has no arrays of the train split ({present}).")
    order = [None, *SPLITS]
    return {
        split: (found[split]["image"], found[split]["label"]) for split in order if split in found
    }


def _named(names: Collection[str]) -> Iterator[Named]:
    """Yields what arrays are by their names; where there are image and label, no other name counts."""
    exact = [Named(kind, None, kind) for kind in KINDS if kind in names]
    if len(exact) == len(KINDS):
        yield from exact
        return
    for name in names:
        splits, words = split_words(name)
        kinds = [kind for kind, known in KINDS.items() if "_".join(words) in known]
        if len(splits) <= 1 and kinds:
            yield Named(kinds[0], splits[0] if splits else None, name)


def eight_bit_images(place: str, images: np.ndarray) -> tuple[np.ndarray, str]:
    """Returns images as u8[N,H,W,C], C 1 or 3, and in words how they were read ("" where they were so already).

    Raises:
      UserError: of the shape or the values, which it names.
    """
    ordered, order = _channels_last(place, images)
    eight_bit, depth = _eight_bit(place, ordered)
    alpha = ""
    if eight_bit.shape[-1] == 4:
        alpha = "transparency laid over white"
        opaque = np.empty((*eight_bit.shape[:-1], 3), np.uint8)
        for part in block_slices(eight_bit):
            colour, share = eight_bit[part, ..., :3], eight_bit[part, ..., 3:].astype(np.uint16)
            opaque[part] = (colour * share + 255 * (255 - share) + 127) // 255
        eight_bit = opaque
    return eight_bit, ", ".join(filter(None, (order, depth, alpha)))


def _channels_last(place: str, images: np.ndarray) -> tuple[np.ndarray, str]:
    if images.ndim == 3 and len(images):
        return images[..., np.newaxis], ""
    if images.ndim == 4 and len(images):
        first, last = images.shape[1] in (1, 3, 4), images.shape[3] in (1, 3, 4)
        if first and last:
            raise UserError(
                f"The images of {place} have shape {images.shape}, which is [N,H,W,C] of {images.shape[2]}x"
                f"{images.shape[1]} pixels or [N,C,H,W] of {images.shape[3]}x{images.shape[2]}: too small either way."
            )
        if last:
            return images, ""
        if first:
            return np.ascontiguousarray(np.moveaxis(images, 1, -1)), "[N,C,H,W]"
    raise UserError(
        f"The images of {place} have shape {images.shape}; they must be [N,H,W], [N,H,W,C] or [N,C,H,W] with 1, 3 or 4 "
        "channels."
    )


def _eight_bit(place: str, images: np.ndarray) -> tuple[np.ndarray, str]:
    kind = images.dtype.kind
    if images.dtype == np.uint8 and images.max() != 1:
        return images, ""
    if kind not in "iuf":
        raise UserError(
            f"The images of {place} are {images.dtype}; they must be numbers, uint8 from 0 to 255."
        )
    least, most = images.min(), images.max()
    convert, words = None, ""
    if kind == "f":
        if least >= 0 and most <= 1:
            convert, words = (
                (lambda block: block * np.float64(255)),
                "floats from 0 to 1, times 255",
            )
        elif least >= 0 and most <= 255:
            convert, words = (lambda block: block), "floats from 0 to 255"
    elif least >= 0 and 1 < most <= 255:
        convert, words = (lambda block: block), f"{images.dtype} from 0 to 255"
    elif images.dtype == np.uint16 and most >= 2**12:
        convert, words = (lambda block: block / 257), "16 bits, scaled to 8"
    if convert is None:
        raise UserError(_no_eight_bits(place, images, f"go from {least:.4g} to {most:.4g}"))
    return _converted(place, images, convert, exact=images.dtype != np.uint16), words


def _converted(
    place: str, images: np.ndarray, convert: Callable[[np.ndarray], np.ndarray], *, exact: bool
) -> np.ndarray:
    """Returns u8, converted block by block; where it is to be exact, values between two levels are refused."""
    tolerance = 0.2 if images.dtype == np.float16 else 0.01
    result = np.empty(images.shape, np.uint8)
    for part in block_slices(images):
        values = convert(images[part])
        result[part] = rounded = np.round(values)
        if exact and np.abs(values - rounded).max() > tolerance:
            raise UserError(_no_eight_bits(place, images, "lie between the 256 levels"))
    return result


def _no_eight_bits(place: str, images: np.ndarray, values: str) -> str:
    return (
        f"The images of {place} are {images.dtype} whose values {values}, which are no 8 bits; scale them so that "
        "black is 0 and white 255, and save numpy.round(images).astype(numpy.uint8)."
    )


def single_labels(place: str, labels: np.ndarray) -> tuple[np.ndarray, str]:
    """Returns labels as integers or strings [N], and in words how they were read ("" where they were so already).

    Raises:
      UserError: an image has no label or several, or labels are neither integers nor strings.
    """
    words = ""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    elif labels.ndim == 2:
        zeros_and_ones = labels.dtype.kind in "iufb" and ((labels == 0) | (labels == 1)).all()
        if not (zeros_and_ones and (labels.sum(axis=1) == 1).all()):
            raise UserError(
                f"The labels of {place} have shape {labels.shape} and are not one-hot; each image must have one label."
            )
        labels, words = labels.argmax(axis=1), "labels one-hot"
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8")
    if labels.dtype.kind == "b":
        labels = labels.astype(np.int32)
    if labels.dtype.kind == "f" and len(labels) and (labels == np.round(labels)).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iuU":
        raise UserError(
            f"The labels of {place} are {labels.dtype}; they must be integers or strings."
        )
    return labels, words
