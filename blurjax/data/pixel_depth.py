"""Grey pixels of more than 8 bits, or with a sign, scaled to 8 bits by the depth that their file states."""

from __future__ import annotations

import numpy as np
from PIL import Image, TiffImagePlugin

DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes for grey pixels of more than 8 bits."""
_NARROWER = {7: 4, 8: 4, 12: 8, 15: 12, 16: 12, 31: 24, 32: 24}
"""Bits -> fewer bits, for which files keep that many: pixels that fit may be meant as either."""


class AmbiguousDepthError(ValueError):
    """Pixels that can be read in two ways; the message is a clause that names both."""


def has_other_depth(image: Image.Image) -> bool:
    """Returns whether grey pixels have more than 8 bits, or 8 with a sign, which Pillow reads as if there were none."""
    return image.mode in DEEP_MODES or (image.mode == "L" and _is_signed(image))


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Scales a grey image for which `has_other_depth` to mode L; its transparent pixels become white.

    White is the largest value of the bits that the file states. Pixels kept in 32 bits that need no more than 8 or 16
    are read as such, since nothing would show otherwise.

    Raises:
      AmbiguousDepthError: there are negative pixels, or all fit into a smaller depth that is common.
    """
    values, stated = np.asarray(image), _stated_bits(image)
    signed = _is_signed(image) if image.format == "TIFF" else stated == 32
    if image.mode == "L":
        values = values.view(np.int8)
    elif stated == 32 and not signed:
        values = values.view(np.uint32)
    least, most = int(values.min()), int(values.max())
    if least < 0:
        raise AmbiguousDepthError(
            f"its signed pixels go from {least:,} to {most:,}, so that black may be 0 or the least of them; convert it "
            "to 8 bits"
        )
    bits = stated - signed
    if stated == 32:
        bits = next(width for width in (8, 16, bits) if most < 2**width)
    if 0 < most < 2 ** _NARROWER[bits]:
        raise AmbiguousDepthError(
            f"its pixels have {bits} bits but none exceeds {most:,}, so that it is either a picture of at most "
            f"{_NARROWER[bits]} bits in wider numbers, or one in which nothing shows; convert it to 8 bits"
        )
    white = 2**bits - 1
    grey = ((values.astype(np.int64) * 255 + white // 2) // white).astype(np.uint8)
    if _tiff_tag(image, TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # 0 is white
        grey = 255 - grey
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


def _stated_bits(image: Image.Image) -> int:
    """Returns the bits that a file keeps a pixel in; Pillow scales those of PGM and JPEG 2000 to 16."""
    bits = _tiff_tag(image, TiffImagePlugin.BITSPERSAMPLE)
    if isinstance(bits, int):
        return bits
    return 32 if image.mode == "I" and image.format not in ("PNG", "PPM") else 16


def _is_signed(image: Image.Image) -> bool:
    return _tiff_tag(image, TiffImagePlugin.SAMPLEFORMAT) == 2


def _tiff_tag(image: Image.Image, tag: int) -> object:
    """Returns the first value of a tag of a TIFF; None where there is none."""
    values = getattr(image, "tag_v2", {}).get(tag)
    return values[0] if isinstance(values, tuple) else values
