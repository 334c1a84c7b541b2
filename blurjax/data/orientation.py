"""Turns images upright as their EXIF says, also where other parts of it are damaged."""

from __future__ import annotations

import contextlib

from PIL import ExifTags, Image

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> what turns the image upright."""


def upright(flat: Image.Image, image: Image.Image) -> Image.Image:
    """Turns an image as its EXIF says; Pillow's own function writes all EXIF again, which fails where it is damaged."""
    turn = _UPRIGHT.get(_orientation(image))
    return flat if turn is None else flat.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """Returns EXIF's orientation, whatever the other tags are: Pillow reads none after one that is cut off."""
    exif = (image.info.get("exif") or b"").removeprefix(b"Exif\0\0")
    order = "little" if exif.startswith(b"II") else "big"

    def number(start: int, length: int) -> int:
        return int.from_bytes(exif[start : start + length], order)

    first = number(4, 4) + 2
    for entry in range(first, first + 12 * number(first - 2, 2), 12):
        if number(entry, 2) == ExifTags.Base.Orientation:
            has_16_bits = number(entry + 2, 2) == 3
            return number(entry + 8, 2 if has_16_bits else 4)
    with contextlib.suppress(Exception):
        return int(image.getexif()[ExifTags.Base.Orientation])  # in metadata of another kind
    return 1
