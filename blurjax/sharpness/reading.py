"""Finds photographs and decodes them, reduced, in threads: in memory that does not grow with their number."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from blurjax.config import DataConfig
from blurjax.data import image_files
from blurjax.data.given_images import find_images
from blurjax.data.near_duplicates import THUMBNAIL
from blurjax.data.prefetch import run_ahead
from blurjax.sharpness.rating import RATED_SIZE, REGION

MAX_PIXELS = DataConfig().max_pixels
"""Of a file; decoding one takes up to 24 bytes a pixel, on each decoder."""
MOST_BYTES = 2 * 2**30
"""Of a file, which is read as a whole."""
MOST_DECODERS = 8
SMALLEST = REGION
"""Pixels of the shorter side, after reduction, at least."""
PREVIEW = 240
"""Pixels of the longer side of a preview."""
_PREVIEW_QUALITY = 80


class Photograph(NamedTuple):
    """A decoded photograph, turned upright."""

    path: Path
    size: tuple[int, int]
    """(width, height) of the file."""
    pixels: np.ndarray
    """u8[H,W] or u8[H,W,3]; the longer side is at most RATED_SIZE."""
    thumbnail: np.ndarray
    """u8[16,16,3], averages of equal areas, by which near duplicates are found."""
    preview: bytes
    """A JPEG file for a page; empty where none was asked for."""


class Unreadable(NamedTuple):
    """A file that cannot be rated, or a folder that cannot be read."""

    path: Path
    reason: str
    """A clause, such as "it is empty"."""


def find_photographs(paths: Iterable[str | Path]) -> tuple[list[Path], list[Unreadable]]:
    """Finds files as they are named, and of folders all images in them and below, hidden ones left out.

    Returns:
      The files, each once, also where links lead to it or paths overlap; and folders that cannot be read.

    Raises:
      UserError: a path does not exist.
    """
    failed: list[OSError] = []
    found = find_images(paths, failed.append)
    files: dict[str, Path] = {}
    for path in sorted(found, key=Path.is_symlink):  # a stable sort: a file comes before its links
        files.setdefault(os.path.realpath(path), path)
    is_first = {*files.values()}
    unreadable = [Unreadable(Path(e.filename), e.strerror or str(e)) for e in failed]
    return [path for path in dict.fromkeys(found) if path in is_first], unreadable


def read_photographs(
    paths: Iterable[Path], *, previews: bool = False, max_pixels: int = MAX_PIXELS
) -> Iterator[Photograph | Unreadable]:
    """Decodes files in order, a few at a time: their memory does not depend on how many there are.

    A large JPEG is decoded at a part of its size where that suffices. HEIC files are read where pillow-heif is
    installed. Pictures on other pages of a file are not.

    Args:
      paths: of files.
      previews: whether to make previews.
      max_pixels: of a file; larger ones are unreadable.
    """
    _register_heic()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    decoders = min(cores or 1, MOST_DECODERS)
    read = functools.partial(_read, previews=previews)
    with image_files.pixel_limit(max_pixels):
        yield from run_ahead(read, paths, 2 * decoders, decoders)


def _read(path: Path, *, previews: bool) -> Photograph | Unreadable:
    try:
        if not path.is_file():
            return Unreadable(
                path, "it is no file" if path.exists() else "it is not there any more"
            )
        if path.stat().st_size > MOST_BYTES:
            return Unreadable(path, f"it is larger than {MOST_BYTES >> 30} GiB")
        pixels, size = image_files.decode_reduced(path.read_bytes(), RATED_SIZE)
    except image_files.BadImageError as error:
        # The setting of data sets has the same name here, without its section.
        return Unreadable(path, str(error).replace("data.max_pixels", "max_pixels"))
    except OSError as error:
        return Unreadable(path, error.strerror or str(error))
    except MemoryError:
        return Unreadable(path, "memory does not suffice to decode it")
    height, width = pixels.shape[:2]
    if min(height, width) < SMALLEST:
        rated = "" if max(size) <= RATED_SIZE else f", {width}x{height} when it is rated"
        return Unreadable(
            path,
            f"it is {size[0]}x{size[1]} pixels{rated}, and a side of less than {SMALLEST} is too small",
        )
    image = Image.fromarray(pixels)
    small = image.convert("RGB").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return Photograph(path, size, pixels, np.asarray(small), _preview(image) if previews else b"")


def _preview(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image_files.reduce(image, PREVIEW).save(file, "JPEG", quality=_PREVIEW_QUALITY)
    return file.getvalue()


def _register_heic() -> None:
    """Lets Pillow read HEIC where the package for it is installed (`pip install 'blurjax[heif]'`)."""
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
