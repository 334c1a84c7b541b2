"""Image files and prepared TFDS data sets -> batches of decoded images, in order, on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from blurjax.data import pixels
from blurjax.data.dataset import listed, shown
from blurjax.data.pipeline import import_tensorflow
from blurjax.errors import UserError

BATCH = 128


class Decoded(NamedTuple):
    """Consecutive images of a split."""

    images: np.ndarray
    """u8[b,H,W,C]; zeros where there is a problem."""
    problems: list[str]
    """Why an image cannot be used, or an empty string."""
    labels: np.ndarray
    """i64[b]."""
    names: list[str]


def decode_files(
    paths: Sequence[bytes], labels: np.ndarray, names: Sequence[str], size: int, channels: int
) -> Iterator[Decoded]:
    """Decodes image files in the order given.

    Args:
      paths: of the files, as the file system has them.
      labels: i64[N].
      names: what to call each image.
      size: height and width.
      channels: 1 or 3.
    """
    tf = import_tensorflow()
    files = tf.data.Dataset.from_tensor_slices((list(paths), labels, list(names)))
    return _decode(files, _read_file, size, channels)


def _read_file(path: bytes) -> bytes:
    try:
        return Path(os.fsdecode(path)).read_bytes()
    except OSError as error:
        raise pixels.BadImageError(error.strerror or str(error)) from None


def _decode(
    dataset: Any, read: Callable[[bytes], bytes], size: int, channels: int
) -> Iterator[Decoded]:
    """Maps a tf.data.Dataset of (path or content, label, name) to decoded batches."""
    tf = import_tensorflow()
    shape = (size, size, channels)

    def decode_one(item: bytes) -> tuple[np.ndarray, bytes]:
        try:
            return pixels.decode(read(item), size, channels), b""
        except pixels.BadImageError as error:
            return np.zeros(shape, np.uint8), str(error).encode(errors="backslashreplace")

    @tf.autograph.experimental.do_not_convert
    def decode(item: Any, label: Any, name: Any) -> Any:
        image, problem = tf.numpy_function(decode_one, [item], (tf.uint8, tf.string))
        return tf.ensure_shape(image, shape), tf.ensure_shape(problem, ()), label, name

    decoded = dataset.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    for images, problems, labels, names in decoded.batch(BATCH).prefetch(2).as_numpy_iterator():
        yield Decoded(images, [p.decode() for p in problems], labels, [n.decode() for n in names])


class PreparedDataset:
    """A TFDS data set that lies prepared on disk. The network is never touched.

    Args:
      name: for error messages.
      directory: the directory of one version.

    Raises:
      UserError: it cannot be read, or is not of labelled images.
    """

    def __init__(self, name: str, directory: Path):
        self._tfds = import_tensorflow("tensorflow_datasets")
        self._name = name
        try:
            self._builder = self._tfds.builder_from_directory(directory)
        except Exception as error:  # damaged files show as errors of every kind
            reason = " ".join(str(error).split())
            raise UserError(
                f"{name} in {shown(directory)} cannot be read ({reason}); prepare it again."
            ) from None
        self._image, self._label = self._keys()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each label."""
        return tuple(self._builder.info.features[self._label].names)

    def sample(self, split: str, count: int) -> Iterator[bytes]:
        """The contents of the first image files of a split."""
        return (item for item, _, _ in self._read(split).take(count).as_numpy_iterator())

    def decode(self, split: str, size: int, channels: int) -> Iterator[Decoded]:
        """Decodes a split in the order in which it lies on disk."""
        return _decode(self._read(split), lambda content: content, size, channels)

    def check_split(self, split: str, setting: str) -> None:
        """Raises UserError, listing the splits there are, unless this is one."""
        try:
            count = self._builder.info.splits[split].num_examples
        except Exception:  # TFDS raises several kinds for names and slices that it does not know
            count = 0
        if not count:
            known = ", ".join(sorted(self._builder.info.splits))
            or_none = "" if setting == "train_split" else ", or to none to take a part of train"
            raise UserError(
                f"{self._name} has no images in a split {shown(split)}; set data.{setting} to "
                f"one of its splits ({known}){or_none}."
            )

    def _keys(self) -> tuple[str, str]:
        """Names of the image and the label feature."""
        info, feature = self._builder.info, self._tfds.features
        image, label = info.supervised_keys or ("image", "label")
        known = info.features if hasattr(info.features, "keys") else {}
        is_image = image in known and isinstance(known[image], feature.Image)
        if not is_image or known[image].np_dtype not in (np.uint8, np.uint16):
            raise UserError(self._unsuitable("an 8-bit or 16-bit image", known))
        if label not in known or not isinstance(known[label], feature.ClassLabel):
            raise UserError(self._unsuitable("a class label", known))
        return image, label

    def _unsuitable(self, wanted: str, known: Any) -> str:
        return (
            f"{self._name} does not offer {wanted} for each example (its features are "
            f"{listed([shown(name) for name in known])}); choose one for image classification."
        )

    def _read(self, split: str) -> Any:
        """A tf.data.Dataset of (image file content, label, name), always in the same order."""
        decode, image, label = self._tfds.decode, self._image, self._label
        examples = self._builder.as_dataset(
            split=split,
            shuffle_files=False,
            # Undecoded, so that Pillow decodes every image of every source.
            decoders=decode.PartialDecoding(
                {image: True, label: True}, decoders={image: decode.SkipDecoding()}
            ),
            read_config=self._tfds.ReadConfig(interleave_cycle_length=1, add_tfds_id=True),
        )
        return examples.map(lambda example: (example[image], example[label], example["tfds_id"]))
