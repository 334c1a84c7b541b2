"""Data sets that are arrays already: scikit-learn's digits and .npz files; without TensorFlow."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from blurjax.config.sections import DataConfig
from blurjax.data import pixels
from blurjax.data.dataset import SPLITS, Examples, listed, pixels_sha256, shown, text, user_path
from blurjax.runtime.errors import UserError
from blurjax.runtime.run_directory import DAMAGED


def load_digits(rest: str, config: DataConfig) -> tuple[str, Examples]:
    """Name and images of `digits`: 1,797 handwritten ones, 8x8 grey, from scikit-learn."""
    from sklearn import datasets

    if rest:
        raise UserError(
            f"The data source digits takes nothing after a colon, but got {shown(rest)}."
        )
    images, labels = datasets.load_digits(return_X_y=True)
    scaled = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)  # 0..16 -> 0..255
    digits = tuple(str(digit) for digit in range(10))
    everything = {"train": np.arange(len(labels))}
    return "digits", _examples(scaled, labels, digits, everything, config)


def load_npz(path: str, config: DataConfig) -> tuple[str, Examples]:
    """Name and images of `npz:FILE`.

    The file holds `image` u8[N,H,W,C] or u8[N,H,W], `label` integers or strings [N], and
    optionally `split` strings [N] (train, validation, test) and `class_names` strings, which
    integer labels number.

    Raises:
      UserError: it is missing or damaged, or an array is missing or not what it should be.
    """
    file = user_path(path)
    arrays = _read(file)
    images = _images(file, arrays["image"])
    for name in ("label", "split"):
        if name in arrays and arrays[name].shape != (len(images),):
            raise UserError(
                f"The array {name} of {shown(file)} has shape {arrays[name].shape}, but there are "
                f"{len(images)} images; it must have shape ({len(images)},)."
            )
    labels, class_names = _labels(file, arrays["label"], arrays.get("class_names"))
    shipped = (
        _shipped(file, arrays["split"]) if "split" in arrays else {"train": np.arange(len(images))}
    )
    return text(file.stem), _examples(images, labels, class_names, shipped, config)


def _examples(
    images: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    shipped: dict[str, np.ndarray],
    config: DataConfig,
) -> Examples:
    size = config.image_size or min(*images.shape[1:3], pixels.LARGEST)
    images = pixels.resize(images, size, config.channels or images.shape[3])
    return Examples(
        images=images,
        labels=labels.astype(np.int32),
        names=tuple(str(position) for position in range(len(images))),
        class_names=class_names,
        shipped=shipped,
        pixels_sha256=pixels_sha256(images),
    )


def _read(file: Path) -> dict[str, np.ndarray]:
    if not _exists(file):
        raise UserError(
            f"The file {shown(file)} does not exist; check data.source, which is npz:FILE."
        )
    if file.is_dir() or not zipfile.is_zipfile(file):
        raise UserError(
            f"{shown(file)} is not an .npz file; write one with numpy.savez_compressed."
        )
    try:
        with np.load(file, allow_pickle=False) as archive:
            missing = [name for name in ("image", "label") if name not in archive]
            if missing:
                found = f"it has {listed(sorted(archive))}" if archive.files else "it is empty"
                raise UserError(
                    f"{shown(file)} has no array {' and no array '.join(missing)} ({found})."
                )
            known = ("image", "label", "split", "class_names")
            return {name: archive[name] for name in known if name in archive}
    except DAMAGED as error:
        if "allow_pickle" in str(error):
            raise UserError(
                f"{shown(file)} holds pickled objects, which are never loaded; "
                "save arrays of numbers or strings."
            ) from None
        raise UserError(f"{shown(file)} is damaged ({error}); save it again.") from None


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # such as a name too long
        return False


def _images(file: Path, images: np.ndarray) -> np.ndarray:
    if images.dtype != np.uint8:
        raise UserError(
            f"The array image of {shown(file)} is {images.dtype} and must be uint8; "
            "save values 0 to 255."
        )
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or not len(images):
        raise UserError(
            f"The array image of {shown(file)} has shape {images.shape}; it must "
            "be [N,H,W] or [N,H,W,C] with 1 or 3 channels."
        )
    if min(images.shape[1:3]) < pixels.SMALLEST:
        raise UserError(
            f"The images of {shown(file)} are {images.shape[2]}x{images.shape[1]} pixels; they "
            f"must have at least {pixels.SMALLEST} on each side."
        )
    return images


def _labels(
    file: Path, labels: np.ndarray, class_names: np.ndarray | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels numbered from 0, and class names."""
    if labels.dtype.kind not in "iuU":
        raise UserError(
            f"The array label of {shown(file)} is {labels.dtype}; it must hold integers or strings."
        )
    if class_names is None:
        values, numbers = np.unique(labels, return_inverse=True)
        return numbers, tuple(str(value) for value in values)
    if class_names.dtype.kind != "U" or class_names.ndim != 1:
        raise UserError(f"The array class_names of {shown(file)} must be a list of strings.")
    names = tuple(class_names.tolist())
    number_of = {name: number for number, name in enumerate(names)}
    if len(number_of) < len(names):
        raise UserError(f"The array class_names of {shown(file)} names a class twice.")
    if labels.dtype.kind == "U":
        unknown = sorted(set(labels.tolist()) - set(names))
        if unknown:
            raise UserError(
                f"The label {shown(unknown[0])} in {shown(file)} is not in class_names."
            )
        return np.array([number_of[label] for label in labels.tolist()]), names
    if labels.min() < 0 or labels.max() >= len(names):
        raise UserError(
            f"The labels of {shown(file)} run from {labels.min()} to {labels.max()}, but there are "
            f"{len(names)} class_names; labels must number them from 0."
        )
    return labels, names


def _shipped(file: Path, splits: np.ndarray) -> dict[str, np.ndarray]:
    found = set(splits.tolist())
    strangers = sorted(str(name) for name in found - set(SPLITS))
    if strangers or "train" not in found:
        problem = f"has the value {shown(strangers[0])}" if strangers else "never says train"
        raise UserError(
            f"The array split of {shown(file)} {problem}; it must say train, validation or test "
            "for each image, and train for some."
        )
    return {name: np.flatnonzero(splits == name) for name in SPLITS if name in found}
