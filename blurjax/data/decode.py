"""Image files and prepared TFDS data sets -> batches of decoded images, in order, on all cores."""

from __future__ import annotations

import collections
import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from blurjax.data import pixels
from blurjax.data.dataset import listed, shown
from blurjax.data.folder import Listing
from blurjax.data.pipeline import import_tensorflow
from blurjax.runtime.errors import UserError

BATCH = 128
T = TypeVar("T")


class Decoded(NamedTuple):
    """Consecutive images of a split."""

    images: np.ndarray
    """u8[b,H,W,C]; zeros where there is a problem."""
    problems: Sequence[str]
    """Why an image cannot be used, or an empty string."""
    labels: np.ndarray
    """i64[b]."""
    names: Sequence[str]


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
        files = ((self.place / file.path, file.label, file.name) for file in self._splits[split])
        return _decode(files, _read_file, size, channels)


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise pixels.BadImageError(error.strerror or str(error)) from None


def _decode(
    examples: Iterable[tuple[T, int, str]], read: Callable[[T], bytes], size: int, channels: int
) -> Iterator[Decoded]:
    """Decodes (what `read` reads, label, name) in threads: Pillow, at work, lets others work too."""

    def decode_one(item: T) -> tuple[np.ndarray, str]:
        try:
            return pixels.decode(read(item), size, channels), ""
        except pixels.BadImageError as error:
            return np.zeros((size, size, channels), np.uint8), str(error)

    remaining = iter(examples)
    batches = iter(lambda: list(itertools.islice(remaining, BATCH)), [])
    with ThreadPoolExecutor() as pool:
        begun = (
            (pool.map(decode_one, items), labels, names)
            for items, labels, names in (zip(*batch, strict=True) for batch in batches)
        )
        for decoded, labels, names in _ahead(begun, 2):
            images, problems = zip(*decoded, strict=True)
            yield Decoded(np.stack(images), problems, np.array(labels), names)


def _ahead(begun: Iterator[T], count: int) -> Iterator[T]:
    """Yields what an iterator begins once it has begun `count` more."""
    waiting = collections.deque(itertools.islice(begun, count))
    for one in begun:
        waiting.append(one)
        yield waiting.popleft()
    yield from waiting


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
            for content, _, _ in itertools.islice(self._read("train"), count):
                yield content

    def decode(self, split: str, size: int, channels: int) -> Iterator[Decoded]:
        """Decodes a split in the order in which it lies on disk."""
        with self._readable(import_tensorflow().errors.OpError):
            yield from _decode(self._read(split), bytes, size, channels)

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

    def _read(self, split: str) -> Iterator[tuple[bytes, int, str]]:
        """Yields (image file content, label, name), always in the same order."""
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
        # Many at a time: TensorFlow takes a while over each handing over.
        for batch in examples.batch(BATCH).prefetch(2).as_numpy_iterator():
            yield from zip(
                batch[image], batch[label], map(bytes.decode, batch["tfds_id"]), strict=True
            )


Source = Folder | PreparedDataset
