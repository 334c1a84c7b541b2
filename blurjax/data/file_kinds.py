"""Which files are images, and what those are that Pillow cannot read."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from PIL import Image, ImageFile, UnidentifiedImageError

_UNREADABLE = {
    rb".{4}ftyp(hei|hev|mif1|msf1)": "a HEIC picture, which Pillow reads with `pip install pillow-heif` and "
    "--import pillow_heif.HeifImagePlugin",
    rb"\xff\x0a|\0\0\0\x0cJXL ": "a JPEG XL picture, which Pillow reads with `pip install pillow-jxl-plugin` and "
    "--import pillow_jxl",
    rb"FUJIFILMCCD-RAW|FOVb|IIRO|IIRS|MMOR|IIU\0|.{4}ftypcrx": "a camera's RAW picture; convert it to PNG or JPEG",
    rb"II\*\0|MM\0\*": "a TIFF of a kind that Pillow does not read; convert it to PNG",
    rb"\s*<(\?xml|svg)": "a drawing (SVG), which has no pixels; convert it to PNG",
}
"""Pattern of the first bytes -> what such a file is."""
_UNREADABLE_SUFFIXES = (
    *(".heic", ".heif", ".hif", ".jxl", ".svg", ".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw"),
    *(".raf", ".orf", ".rw2", ".pef", ".srw", ".x3f"),
)
_COMPANION_SUFFIXES = (".txt", ".csv", ".json", ".xml", ".md")
_NO_PICTURES = (".mpg", ".mpeg", ".h5", ".hdf")  # which Pillow can name, but not read


def is_image(path: Path) -> bool:
    """Returns whether a file is to be decoded: by its suffix, or by its first bytes where that is none of an image."""
    suffix = path.suffix.casefold()
    if suffix in _COMPANION_SUFFIXES:
        return False
    if suffix in _image_suffixes():
        return True
    try:
        with Image.open(path) as image:
            return not isinstance(image, ImageFile.StubImageFile)
    except UnidentifiedImageError:
        with path.open("rb") as file:
            return unreadable_kind(file.read(32)) is not None
    except Exception:  # decoding will report it
        return True


def unreadable_kind(content: bytes) -> str | None:
    """Returns what a file is that Pillow does not know, with what to do about it; None where it is not known here."""
    kinds = (kind for pattern, kind in _UNREADABLE.items() if re.match(pattern, content, re.DOTALL))
    return next(kinds, None)


@functools.cache
def _image_suffixes() -> frozenset[str]:
    suffixes = Image.registered_extensions()  # also of formats that can only be written
    readable = {suffix for suffix, name in suffixes.items() if name in Image.OPEN}
    return frozenset(readable.union(_UNREADABLE_SUFFIXES).difference(_NO_PICTURES))
