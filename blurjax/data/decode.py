"""Image files and prepared TFDS data sets -> batches of decoded images, in order, on all cores."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from blurjax.data import pixels
from blurjax.data.dataset import listed, shown
from blurjax.data.folder import Listing
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


class Folder:
    """A folder of images.

    Attributes:
      place: what the names of images are relative to.
      class_names: of each label.
      size: how many images there are.
    """

    def __init__(self, listing: Listing):
        self.place, self.class_names = listing.root, listing.class_names
        self._splits = listing.splits
        self._files = [file for part in listing.splits.values() for file in part]
        self.size = len(self._files)

    def sample(self, count: int) -> Iterator[Path]:
        """Some image files, spread over all."""
        spread = np.unique(np.linspace(0, self.size - 1, count).astype(int))
        return (self.place / self._files[position].path for position in spread)

    def decode(self, split: str, size: int, channels: int) -> Iterator[Decoded]:
        """Decodes the images of a split in the order of the listing."""
        files = self._splits[split]
        columns = (
            [os.fsencode(self.place / file.path) for file in files],
            np.array([file.label for file in files]),
            [file.name for file in files],
        )
        dataset = import_tensorflow().data.Dataset.from_tensor_slices(columns)
        return _decode(dataset, _read_file, size, channels)


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
      splits: split -> what TFDS calls it.

    Attributes:
      place: what the names of images are relative to.
      class_names: of each label.
      size: how many images there are.

    Raises:
      UserError: it cannot be read, or is not of labelled images, or has no such split.
    """

    def __init__(self, name: str, directory: Path, splits: Mapping[str, str]):
        self._tfds = import_tensorflow("tensorflow_datasets")
        self._directory, self._splits = directory, splits
        self.place = Path(name)
        with self._readable(Exception):  # damaged files show as errors of every kind
            self._builder = self._tfds.builder_from_directory(directory)
        self._image, self._label = self._keys()
        self.class_names = tuple(self._builder.info.features[self._label].names)
        self.size = sum(self._count(split) for split in splits)

    def sample(self, count: int) -> Iterator[bytes]:
        """The contents of the first image files of train."""
        with self._readable(import_tensorflow().errors.OpError):
            for item, _, _ in self._read("train").take(count).as_numpy_iterator():
                yield item

    def decode(self, split: str, size: int, channels: int) -> Iterator[Decoded]:
        """Decodes a split in the order in which it lies on disk."""
        with self._readable(import_tensorflow().errors.OpError):
            yield from _decode(self._read(split), lambda content: content, size, channels)

    @contextlib.contextmanager
    def _readable(self, damage: type[Exception]) -> Iterator[None]:
        try:
            yield
        except damage as error:
            reason = " ".join(str(error).split()).rpartition("}} ")[2].partition(" [Op:")[0]
            raise UserError(
                f"{self.place} in {shown(self._directory)} cannot be read ({reason}); "
                "prepare it again."
            ) from None

    def _count(self, split: str) -> int:
        """How many images a split has; raises UserError, listing the splits there are, where it has none."""
        try:
            count = self._builder.info.splits[self._splits[split]].num_examples
        except Exception:  # TFDS raises several kinds for names and slices that it does not know
            count = 0
        if not count:
            known = ", ".join(sorted(self._builder.info.splits))
            or_none = "" if split == "train" else ", or to none to take a part of train"
            raise UserError(
                f"{self.place} has no images in a split {shown(self._splits[split])}; set "
                f"data.{split}_split to one of its splits ({known}){or_none}."
            )
        return count

    def _keys(self) -> tuple[str, str]:
        """Names of the image and the label feature."""
        info, feature = self._builder.info, self._tfds.features
        image, label, *_ = info.supervised_keys or ("image", "label")  # perhaps a weight, too
        known = info.features if hasattr(info.features, "keys") else {}
        is_image = image in known and isinstance(known[image], feature.Image)
        if not is_image or known[image].np_dtype not in (np.uint8, np.uint16):
            raise UserError(self._unsuitable("an 8-bit or 16-bit image", known))
        if label not in known or not isinstance(known[label], feature.ClassLabel):
            raise UserError(self._unsuitable("a class label", known))
        return image, label

    def _unsuitable(self, wanted: str, known: Any) -> str:
        return (
            f"{self.place} does not offer {wanted} for each example (its features are "
            f"{listed(list(known))}); choose one for image classification."
        )

    def _read(self, split: str) -> Any:
        """A tf.data.Dataset of (image file content, label, name), always in the same order."""
        decode, image, label = self._tfds.decode, self._image, self._label
        examples = self._builder.as_dataset(
            split=self._splits[split],
            shuffle_files=False,
            # Undecoded, so that Pillow decodes every image of every source.
            decoders=decode.PartialDecoding(
                {image: True, label: True}, decoders={image: decode.SkipDecoding()}
            ),
            read_config=self._tfds.ReadConfig(interleave_cycle_length=1, add_tfds_id=True),
        )
        return examples.map(lambda example: (example[image], example[label], example["tfds_id"]))


Source = Folder | PreparedDataset
