"""Decodes image files of any kind, and resizes images: square, 8 bits, antialiased, by Pillow."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

VERSION = 2
"""Raised whenever the same file may become other pixels or is stored in another way: cached ones are decoded again."""
SMALLEST = 8
LARGEST = 256
_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_GREY_MODES = ("1", "L", "LA", "La", *_SIXTEEN_BIT_MODES)


class BadImageError(Exception):
    """An image that cannot be used; the message is a clause that says why."""


def decode(data: bytes, size: int, channels: int) -> np.ndarray:
    """Decodes the first frame of an image file.

    Turned upright as its EXIF orientation says, transparency laid over white, 16 bits scaled to 8,
    the centre square cut out and resized by Pillow's bicubic filter, which antialiases where it
    shrinks.

    Args:
      data: content of a JPEG, PNG, BMP, WebP, GIF, ... file.
      size: height and width of the result.
      channels: 1 grey, 3 RGB.

    Returns:
      u8[size, size, channels].

    Raises:
      BadImageError: no image, damaged, cut off, or unreasonably large or small.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check_size(image)
            flat = _flat(ImageOps.exif_transpose(image))
    except BadImageError:
        raise
    except Exception as error:  # whatever a plugin of Pillow's stumbles over, the file is bad
        if not data:
            reason = "it is empty"
        elif isinstance(error, UnidentifiedImageError):
            reason = "it is no image of a known format"
        else:
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise BadImageError(reason) from None
    return _square(flat.convert("L" if channels == 1 else "RGB"), size)


def resize(images: np.ndarray, size: int, channels: int) -> np.ndarray:
    """Cuts out the centre square of each image and resizes it, like `decode`.

    Args:
      images: u8[N,H,W,C], C 1 or 3.
      size: height and width of the result.
      channels: 1 grey, 3 RGB.

    Returns:
      u8[N,size,size,channels]; the same array where nothing changes.
    """
    if images.shape[1:] == (size, size, channels):
        return images
    mode = "L" if channels == 1 else "RGB"
    resized = np.empty((len(images), size, size, channels), np.uint8)
    for target, pixels in zip(resized, images, strict=True):
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        target[...] = _square(image.convert(mode), size)
    return resized


def choose_size(
    files: Iterable[Path | bytes], size: int | None, channels: int | None
) -> tuple[int, int]:
    """Chooses an image size or number of channels that is None.

    The size becomes the median of the shorter sides, at least 8 and at most 64; channels become 1
    if every image is stored as grey, else 3.

    Args:
      files: a sample of image files, as paths or contents; only their headers are read.
      size: height and width, or None.
      channels: 1, 3 or None.

    Returns:
      (size, channels).
    """
    if size is not None and channels is not None:
        return size, channels
    sides, modes = [], set()
    for file in files:
        content = io.BytesIO(file) if isinstance(file, bytes) else file
        # `decode` will report what cannot be opened.
        with contextlib.suppress(Exception), Image.open(content) as image:
            sides.append(min(image.size))
            modes.add(image.mode)
    fitted = max(SMALLEST, min(64, int(np.median(sides or [SMALLEST]))))
    grey = bool(modes) and modes <= set(_GREY_MODES)
    return size or fitted, channels or (1 if grey else 3)


def _check_size(image: Image.Image) -> None:
    if min(image.size) < SMALLEST:
        size = f"{image.width}x{image.height}"
        raise BadImageError(f"it is {size} pixels, and a side of less than {SMALLEST} is too small")
    # Pillow only warns up to twice this limit.
    if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise BadImageError(
            f"it claims {image.width}x{image.height} pixels, more than Pillow allows"
        )


def _flat(image: Image.Image) -> Image.Image:
    """An image of mode L or RGB, whatever it was."""
    if image.mode in _SIXTEEN_BIT_MODES:
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise BadImageError("its pixels have more than 16 bits")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise BadImageError("its pixels are floating-point numbers, whose range is unknown")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image.convert("L" if image.mode in _GREY_MODES else "RGB")


def _square(image: Image.Image, size: int) -> np.ndarray:
    """Cuts out the centre square and resizes it: u8[size,size,C]."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cropped first: with resize(box=...) the filter would reach over the edge of the square.
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC)).reshape(size, size, -1)
