"""Image files of any source, decoded once into the cache and memory-mapped from then on."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from blurjax.config.settings import SPLITS, DataConfig
from blurjax.data import cache, image_files
from blurjax.data.directories import is_special
from blurjax.data.examples import Examples, pixels_sha256
from blurjax.data.messages import join_names, printable
from blurjax.data.prefetch import run_ahead
from blurjax.runtime.errors import UserError
from blurjax.runtime.files import read_json, write_json

SAMPLE = 200
"""How many images decide the image size and the number of channels."""
_AHEAD = 256  # images that are being decoded, or wait to be written
_LOG_SECONDS = 10
_LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # a link, for what is listed is there
_log = logging.getLogger("blurjax")


class EncodedImage(NamedTuple):
    """An image before it is decoded."""

    content: bytes | Path
    """An image file, or where it lies."""
    label: int
    name: str


class EncodedImages(NamedTuple):
    """All images of a source before they are decoded."""

    place: Path
    """What the names of images are relative to, for messages."""
    class_names: Sequence[str]
    count: int
    splits: Mapping[str, Iterable[EncodedImage]]
    """Each is read once, in the order in which the images are to lie in the cache."""
    sample: Iterable[bytes | Path]
    """About SAMPLE image files."""


def decode(
    encoded: Iterable[EncodedImage], size: int, channels: int
) -> Iterator[tuple[EncodedImage, np.ndarray | str]]:
    """Decodes images in order, on all cores: Pillow lets other threads work while it does.

    Yields:
      Each image, and u8[size,size,channels], or the reason why it cannot be used.

    Raises:
      UserError: a file cannot be read, or memory does not suffice: that says nothing about the image.
    """

    def decode_one(image: EncodedImage) -> tuple[EncodedImage, np.ndarray | str]:
        try:
            content = image.content
            if isinstance(content, Path) and is_special(content):
                return image, "it is no file"
            data = content if isinstance(content, bytes) else content.read_bytes()
            return image, image_files.decode(data, size, channels)
        except image_files.BadImageError as error:
            return image, str(error)
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno in _LEADS_NOWHERE:
                return image, reason
            raise UserError(
                f"{printable(image.content)} cannot be read ({reason}); check its disk and its permissions."
            ) from None
        except MemoryError:
            raise UserError(
                f"Memory does not suffice to decode {printable(image.name)}; free some, or lower data.max_pixels to "
                "use no images as large as this."
            ) from None

    yield from run_ahead(decode_one, encoded, _AHEAD)


def load_decoded(
    name: str,
    open_source: Callable[[], EncodedImages],
    splits: Sequence[str],
    config: DataConfig,
    key: Mapping[str, Any],
    notes: tuple[str, ...] = (),
) -> Examples:
    """Loads decoded images from the cache, after decoding them into it where they are not there.

    Args:
      name: of the data set.
      open_source: called only where the images must be decoded.
      splits: that the source has and that are asked for.
      config: settings of the data.
      key: all that the images depend on besides `config`.
      notes: of the source.

    Raises:
      UserError: an image is unusable and such are not skipped, or none is left, or splits overlap.
    """
    settings = config.model_dump(include={"image_size", "channels", "on_bad_image", "max_pixels"})
    # A plugin of Pillow that is installed later may read what was skipped.
    suffixes = sorted(Image.registered_extensions()) if config.on_bad_image == "skip" else None
    entry_name = cache.key(**key, **settings, decoder=image_files.VERSION, suffixes=suffixes)

    def build(directory: Path) -> None:
        with image_files.pixel_limit(config.max_pixels):
            _write(directory, open_source(), config)

    entry = cache.entry(cache.directory(config.cache_dir), entry_name, build)
    meta, codes = read_json(entry / "meta.json"), np.load(entry / "splits.npy")
    skipped = meta["skipped"]
    if skipped:
        verb = "image was" if len(skipped) == 1 else "images were"
        notes = (*notes, f"{len(skipped)} unusable {verb} skipped: {join_names(skipped)}.")
    return Examples(
        name=name,
        images=_open_images(entry, meta["shape"]),
        labels=np.load(entry / "labels.npy"),
        names=tuple(meta["names"]),
        class_names=tuple(meta["class_names"]),
        # A split of which nothing is left is still one: no other takes its place.
        splits={split: np.flatnonzero(codes == SPLITS.index(split)) for split in splits},
        pixels_sha256=meta["pixels_sha256"],
        notes=notes,
    )


def _open_images(entry: Path, shape: Sequence[int]) -> np.ndarray:
    return np.memmap(entry / "images", np.uint8, mode="r", shape=tuple(shape))


def _write(directory: Path, source: EncodedImages, config: DataConfig) -> None:
    """Writes decoded images, and what belongs to them, into an entry of the cache."""
    place = printable(source.place)
    size, channels = image_files.choose_size(
        source.sample, source.count, config.image_size, config.channels
    )
    labels, codes, names, unusable = [], [], [], {}
    _log.info("Decoding the images of %s; this happens once.", place)
    logged = time.monotonic()
    images = (
        (s, *pair) for s, part in source.splits.items() for pair in decode(part, size, channels)
    )
    # A plain file rather than a writable memory map, which on a full disk would kill the process.
    with (directory / "images").open("wb") as file:
        for split, image, pixels in images:
            if image.label < 0:
                raise UserError(f"{place} hides the labels of a split; choose splits with labels.")
            if not isinstance(pixels, str):
                file.write(pixels.tobytes())
                labels.append(image.label)
                codes.append(SPLITS.index(split))
                names.append(image.name)
            else:
                unusable[image.name] = pixels
            if time.monotonic() > logged + _LOG_SECONDS:
                logged, done = time.monotonic(), len(names) + len(unusable)
                _log.info("Decoded %s of %s images.", f"{done:,}", f"{source.count:,}")
    if unusable and config.on_bad_image == "error":
        raise UserError(_unusable_in_words(source.place, unusable))
    if not names:
        raise UserError(
            f"{place} has no readable image; look at {printable(next(iter(unusable)))}."
        )
    if len(set(names)) < len(names):
        raise UserError(
            f"The splits asked of {place} overlap, so that test images would be trained on; "
            "change data.train_split, data.validation_split or data.test_split."
        )
    np.save(directory / "labels.npy", np.array(labels, np.int32))
    np.save(directory / "splits.npy", np.array(codes, np.int8))
    shape = [len(names), size, size, channels]
    meta = {
        "shape": shape,
        "class_names": source.class_names,
        "names": names,
        "skipped": [*unusable],
        "pixels_sha256": pixels_sha256(_open_images(directory, shape)),
    }
    write_json(directory / "meta.json", meta)


def _unusable_in_words(place: Path, unusable: Mapping[str, str]) -> str:
    """Returns the sentence for images, name -> why each cannot be used."""
    if len(unusable) == 1:
        ((name, reason),) = unusable.items()
        return (
            f"{printable(place / name)} cannot be used as an image: {reason}; remove or replace it, or skip such "
            "images with data.on_bad_image=skip."
        )
    named = join_names([f"{name} ({reason})" for name, reason in unusable.items()])
    return (
        f"{len(unusable):,} files of {printable(place)} cannot be used as images: {named}; remove or replace them, "
        "or skip such images with data.on_bad_image=skip."
    )
