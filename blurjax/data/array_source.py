"""Sources whose images are arrays already: digits, npz files, and what Python callers hold."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from blurjax.config.settings import SPLITS, DataConfig
from blurjax.data import array_forms, image_files
from blurjax.data.examples import Examples, without_unused_classes
from blurjax.data.messages import join_names, printable, valid_utf8
from blurjax.runtime.errors import UserError
from blurjax.runtime.files import DAMAGED, expand_path


def load_digits(_: str, config: DataConfig) -> Examples:
    """Loads `digits`: 1,797 handwritten digits, 8x8 grey, from scikit-learn."""
    from sklearn import datasets

    images, labels = datasets.load_digits(return_X_y=True)
    scaled = np.round(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)  # 0..16 -> 0..255
    return examples_of_arrays(scaled, labels, name="digits", config=config)


def load_npz(path: str, config: DataConfig) -> Examples:
    """Loads `npz:FILE`, whose arrays have one of the usual names (`array_forms`).

    Beside images and labels, `split`, `class_names` and `name` are read.

    Raises:
      UserError: the file is missing or damaged, or an array is missing or not as
        `Dataset.from_arrays` describes it.
    """
    file = expand_path(path)
    place = printable(file)
    try:
        exists = file.exists()
    except OSError:  # such as a name too long
        exists = False
    if not exists:
        raise UserError(f"The file {place} does not exist; check data.source, which is npz:FILE.")
    if file.is_dir() or not zipfile.is_zipfile(file):
        raise UserError(f"{place} is not an .npz file; write one with numpy.savez_compressed.")
    arrays = _read_npz(file, place)
    found = array_forms.find_arrays(place, [*arrays])
    for x, y in found.values():
        if len(arrays[x]) != len(arrays[y]):
            raise UserError(
                f"{place} has {len(arrays[x])} images in {x}, but {len(arrays[y])} labels in {y}."
            )
    images, labels = (
        _joined(place, [arrays[n] for n in names]) for names in zip(*found.values(), strict=True)
    )
    split = arrays.get("split")
    if None not in found:
        counts = [len(arrays[name]) for name, _ in found.values()]
        split = np.repeat(np.array([*found]), counts)
    names = arrays.get("name", np.empty(0))
    examples = examples_of_arrays(
        images,
        labels,
        split,
        arrays.get("class_names"),
        names.tolist() if names.shape == images.shape[:1] else None,
        name=valid_utf8(file.stem),
        config=config,
        place=place,
    )
    if [*found.values()] == [("image", "label")]:
        return examples
    read = join_names([name for pair in found.values() for name in pair])
    return replace(examples, notes=(f"Arrays read: {read}.", *examples.notes))


def _read_npz(file: Path, place: str) -> dict[str, np.ndarray]:
    """Returns the arrays of a file that may be of use."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            found = array_forms.find_arrays(place, archive.files)
            known = {"split", "class_names", "name"} & {*archive.files}
            return {name: archive[name] for name in (*itertools.chain(*found.values()), *known)}
    except DAMAGED as error:
        if "allow_pickle" in str(error):
            raise UserError(
                f"{place} holds pickled objects, which are never loaded; "
                "save arrays of numbers or strings."
            ) from None
        raise UserError(f"{place} is damaged ({error}); save it again.") from None


def _joined(place: str, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the arrays of all splits as one."""
    first, *others = arrays
    for other in others:
        if other.shape[1:] != first.shape[1:] or other.dtype.kind != first.dtype.kind:
            raise UserError(
                f"The splits of {place} differ: one has an array of shape {first.shape} and type {first.dtype}, "
                f"another of shape {other.shape} and type {other.dtype}; but for their number, they must be alike."
            )
    return np.concatenate(arrays) if others else first


def examples_of_tf_data(
    data: Any, class_names: Sequence[str] | None, name: str, config: DataConfig
) -> Examples:
    """Reads one tf.data.Dataset, or one for each split, into memory; see `Dataset.from_tf_data`."""
    by_split = data if isinstance(data, Mapping) else {"train": data}
    images, labels, splits = [], [], []
    for split, dataset in by_split.items():
        if int(dataset.cardinality()) == -1:  # tf.data.INFINITE_CARDINALITY
            raise UserError(
                f"The {split} split of {printable(name)} never ends; leave out repeat()."
            )
        for example in dataset.as_numpy_iterator():
            if isinstance(example, dict):
                example = tuple(example[key] for key in ("image", "label") if key in example)
            if not isinstance(example, tuple) or len(example) != 2:
                raise UserError(
                    f"The {split} split of {printable(name)} must have (image, label) pairs, or "
                    'dicts with "image" and "label"; change it with map().'
                )
            image, label = example
            if np.ndim(image) not in (2, 3) or np.ndim(label):
                raise UserError(
                    f"The {split} split of {printable(name)} has an image of shape {np.shape(image)} "
                    f"and a label of shape {np.shape(label)}; images must be [H,W] or [H,W,C] and "
                    "labels single numbers or strings: call unbatch() or map()."
                )
            if config.image_size is not None:  # images of different sizes become equal here
                if image.dtype != np.uint8:  # one image alone does not show the range of all
                    raise UserError(
                        f"The images of {printable(name)} are {image.dtype}; where data.image_size is set, they must "
                        "be uint8 from 0 to 255: change them with map()."
                    )
                eight_bit, _ = array_forms.eight_bit_images(name, image[np.newaxis])
                images.append(_squares(name, eight_bit, config)[0])
            else:
                images.append(image)
            labels.append(label.decode() if isinstance(label, bytes) else label)
            splits.append(split)
    shapes = sorted({image.shape for image in images})
    if len(shapes) != 1:
        found = f"images of {shapes[0]} and {shapes[1]}" if shapes else "no images"
        raise UserError(
            f"{printable(name)} has {found}; images must all have one shape: set data.image_size "
            "and data.channels."
        )
    return examples_of_arrays(
        np.stack(images), labels, splits, class_names, name=name, config=config
    )


def examples_of_arrays(
    images: Any,
    labels: Any,
    splits: Any = None,
    class_names: Any = None,
    names: Sequence[str] | None = None,
    *,
    name: str,
    config: DataConfig,
    place: str | None = None,
) -> Examples:
    """Checks arrays, and resizes the images to the size and channels of the settings.

    Args:
      images: these and the following five, see `Dataset.from_arrays`.
      labels: N integers or strings, [N,1], or one-hot [N,K].
      splits: N strings, or None.
      class_names: strings, or None.
      names: N strings, or None.
      name: of the data set.
      config: image size and channels.
      place: where the arrays are from, for error messages; None: the name.

    Raises:
      UserError: an array has another shape, dtype or values than described there.
    """
    place = place or printable(name)
    images, read = array_forms.eight_bit_images(place, np.asarray(images))
    images = _squares(place, images, config)
    label, labels_read = array_forms.single_labels(place, np.asarray(labels))
    split = None if splits is None else np.asarray(splits)
    names = tuple(map(str, range(len(images)) if names is None else names))
    columns = {"label": label, "split": split, "names": np.empty(len(names))}
    for column, array in columns.items():
        if array is not None and array.shape != (len(images),):
            raise UserError(
                f"The array {column} of {place} has shape {array.shape}, but there are "
                f"{len(images)} images; it must have shape ({len(images)},)."
            )
    numbers, class_names, numbering = _number_labels(place, label, class_names)
    words = "; ".join(filter(None, (read, labels_read, numbering)))
    examples = Examples(
        name=name,
        images=images,
        labels=numbers.astype(np.int32),
        names=names,
        class_names=class_names,
        splits={} if split is None else _positions_by_split(place, split),
        notes=(f"Images and labels were read as {words}.",) if words else (),
    )
    return without_unused_classes(examples)


def _squares(place: str, images: np.ndarray, config: DataConfig) -> np.ndarray:
    """Returns images u8[N,H,W,C] as u8[N,size,size,channels]."""
    height, width, channels = images.shape[1:]
    if min(height, width) < image_files.SMALLEST:
        raise UserError(
            f"The images of {place} are {width}x{height} pixels; they "
            f"must have at least {image_files.SMALLEST} on each side."
        )
    size = config.image_size or min(height, width, image_files.LARGEST)
    return image_files.resize(images, size, config.channels or channels)


def _number_labels(
    place: str, labels: np.ndarray, class_names: Any
) -> tuple[np.ndarray, tuple[str, ...], str]:
    """Returns labels numbered from 0, class names, and in words how labels were renumbered."""
    if class_names is None:
        values, numbers = np.unique(labels, return_inverse=True)
        return numbers, tuple(str(value) for value in values), ""
    class_names = np.asarray(class_names)
    if class_names.dtype.kind != "U" or class_names.ndim != 1:
        raise UserError(f"The array class_names of {place} must be a list of strings.")
    names = tuple(class_names.tolist())
    number_of = {name: number for number, name in enumerate(names)}
    if len(number_of) < len(names):
        raise UserError(f"The array class_names of {place} names a class twice.")
    if labels.dtype.kind == "U":
        unknown = sorted(set(labels.tolist()) - set(names))
        if unknown:
            raise UserError(f"The label {printable(unknown[0])} in {place} is not in class_names.")
        return np.array([number_of[label] for label in labels.tolist()]), names, ""
    if labels.min() == 1 and labels.max() == len(names):
        return labels - 1, names, "labels numbered from 1"
    if labels.min() < 0 or labels.max() >= len(names):
        raise UserError(
            f"The labels of {place} run from {labels.min()} to {labels.max()}, but there are "
            f"{len(names)} class_names; labels must number them from 0."
        )
    return labels, names, ""


def _positions_by_split(place: str, splits: np.ndarray) -> dict[str, np.ndarray]:
    found = set(splits.tolist())
    unknown = sorted(str(name) for name in found - set(SPLITS))
    if unknown or "train" not in found:
        problem = f"has the value {printable(unknown[0])}" if unknown else "never says train"
        raise UserError(
            f"The array split of {place} {problem}; it must say train, validation or test "
            "for each image, and train for some."
        )
    return {name: np.flatnonzero(splits == name) for name in SPLITS if name in found}
