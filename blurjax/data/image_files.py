"""Decodes image files of any kind, and resizes images: square, 8 bits, antialiased, by Pillow."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from blurjax.data import pixel_depth
from blurjax.data.file_kinds import unreadable_kind
from blurjax.data.orientation import upright

VERSION = 4
"""Raised whenever the same file may become other pixels or is stored in another way: cached ones are decoded again."""
SMALLEST = 8
LARGEST = 256
REDUCED_DECODING = 1.5
"""A JPEG that is to be reduced is decoded at least so many times larger, and then by a filter that antialiases."""
_GREY_MODES = ("1", "L", "LA", "La", *pixel_depth.DEEP_MODES)
_SCALED = {"L;2": 85, "L;4": 17}
"""Pillow's name of the pixels of a grey PNG -> what it multiplies them by."""
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_TEXT = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_PNG_ORIENTATION = (b"XML:com.adobe.xmp", b"Raw profile type exif")
"""Texts in which Pillow looks for the orientation."""


class BadImageError(Exception):
    """An image that cannot be used; the message is a clause that says why."""


def decode(data: bytes, size: int, channels: int) -> np.ndarray:
    """Decodes the first frame of an image file.

    Turned upright as its EXIF orientation says, transparency laid over white, deeper pixels scaled to 8 bits,
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
    with _explained(data), _open(data) as image:
        _check_size(image)
        _check_not_raw(image, data)
        return _square(upright(_flat(image, data), image), size, channels)


def decode_reduced(data: bytes, longest: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Decodes an image file like `decode`, but keeps its shape and colours, and reduces it where it is large.

    A large JPEG is decoded at a half, a quarter or an eighth of its size where that is at least `REDUCED_DECODING`
    times what is asked for. Nothing is enlarged.

    Args:
      data: content of an image file.
      longest: pixels of the longer side of the result at most.

    Returns:
      u8[H,W] of a grey image, else u8[H,W,3]; and the (width, height) of the file, turned upright.

    Raises:
      BadImageError: as for `decode`.
    """
    with _explained(data), _open(data) as image:
        _check_size(image)
        _check_not_raw(image, data)
        size = image.size
        scale = min(longest * REDUCED_DECODING / max(size), 1)
        image.draft(None, (int(scale * size[0]) or 1, int(scale * size[1]) or 1))
        flat = reduce(_flat(image, data), longest)
        turned = upright(flat, image)
        width, height = size
        return np.asarray(turned), size if turned.size == flat.size else (height, width)


def reduce(image: Image.Image, longest: int) -> Image.Image:
    """Makes the longer side of an image at most `longest` pixels by Pillow's Lanczos filter, which antialiases."""
    scale = longest / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(round(scale * side), 1) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3)


def flatten(image: Image.Image) -> Image.Image:
    """Turns an image of Pillow's upright, and makes it one of mode L or RGB as `decode` does.

    Raises:
      BadImageError: it is too small, or its pixels cannot be read.
    """
    with _explained(None):
        _check_size(image)
        image.load()
        return upright(_flat(image, b""), image)


@contextlib.contextmanager
def _explained(data: bytes | None) -> Iterator[None]:
    """Turns whatever a plugin of Pillow's stumbles over into a BadImageError: the file, where there is one, is bad.

    Only a lack of memory stays what it is.
    """
    try:
        yield
    except (BadImageError, MemoryError):
        raise
    except Exception as error:
        if data == b"":
            reason = "it is empty"
        elif isinstance(error, UnidentifiedImageError):
            reason = f"it is {unreadable_kind(data or b'') or 'no image of a known format'}"
        else:
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        if isinstance(error, Image.DecompressionBombError):
            reason += "; raise data.max_pixels if memory suffices"
        raise BadImageError(reason) from None


def square(image: Image.Image, size: int, channels: int) -> np.ndarray:
    """Makes an image that Pillow has opened already like those of `decode`; the arguments and errors are the same."""
    return _square(flatten(image), size, channels)


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
    resized = np.empty((len(images), size, size, channels), np.uint8)
    for target, pixels in zip(resized, images, strict=True):
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        target[...] = _square(image, size, channels)
    return resized


def choose_size(
    files: Iterable[Path | bytes], count: int, size: int | None, channels: int | None
) -> tuple[int, int]:
    """Chooses an image size or number of channels that is None.

    The size becomes the median of the shorter sides, at least 8 and at most 64, or 32 for fewer than 200 images, of
    which no more than that can be learned; channels become 1 if every image is stored as grey, else 3.

    Args:
      files: a sample of image files, as paths or contents.
      count: of all images.
      size: height and width, or None.
      channels: 1, 3 or None.

    Returns:
      (size, channels).
    """
    if size is not None and channels is not None:
        return size, channels
    sides, modes = [], set()
    for file in files:
        # `decode` will report what cannot be opened.
        with contextlib.suppress(Exception), _open(file) as image:
            sides.append(min(image.size))
            modes.add(image.mode)
    most = 64 if count >= 200 else 32
    fitted = max(SMALLEST, min(most, int(np.median(sides or [SMALLEST]))))
    grey = bool(modes) and modes <= set(_GREY_MODES)
    return size or fitted, channels or (1 if grey else 3)


@contextlib.contextmanager
def pixel_limit(most: int) -> Iterator[None]:
    """Lets Pillow open images of at most so many pixels, in all threads, and hides what it warns of metadata."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, most
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _open(content: bytes | Path) -> ImageFile.ImageFile:
    """Opens an image; a PNG without its texts and colour profile, for long ones of which Pillow would refuse it."""
    data = content if isinstance(content, bytes) else content.read_bytes()
    if data.startswith(_PNG):
        parts, position = [_PNG], len(_PNG)
        while position < len(data):
            end = position + 12 + int.from_bytes(data[position : position + 4])
            chunk, position = data[position:end], end
            if chunk[4:8] not in _PNG_TEXT or chunk.startswith(_PNG_ORIENTATION, 8):
                parts.append(chunk)
        data = b"".join(parts)
    return Image.open(io.BytesIO(data))


def _check_size(image: Image.Image) -> None:
    size = f"{image.width}x{image.height}"
    if min(image.size) < SMALLEST:
        raise BadImageError(f"it is {size} pixels, and a side of less than {SMALLEST} is too small")
    # Pillow only warns up to twice this limit.
    if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise BadImageError(
            f"it claims {size} pixels, more than data.max_pixels ({Image.MAX_IMAGE_PIXELS:,}); raise that if memory "
            "suffices"
        )


def _check_not_raw(image: Image.Image, data: bytes) -> None:
    """Raises BadImageError for a RAW picture in the form of a TIFF, of which Pillow would read the preview."""
    if image.format != "TIFF":
        return
    kind = getattr(image, "tag_v2", {}).get(ExifTags.Base.NewSubfileType, 0)
    if data[8:10] == b"CR" or (isinstance(kind, int) and kind & 1):
        raise BadImageError("it is a camera's RAW picture; convert it to PNG or JPEG")


def _flat(image: Image.Image, data: bytes) -> Image.Image:
    """An image of mode L or RGB, whatever it was."""
    if image.mode == "F":
        raise BadImageError("its pixels are floating-point numbers, whose range is unknown")
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    stored = tiles[0].args if image.format == "PNG" and tiles else None
    image.load()
    if pixel_depth.has_other_depth(image):
        try:
            return pixel_depth.to_eight_bits(image)
        except pixel_depth.AmbiguousDepthError as error:
            raise BadImageError(str(error)) from None
    if image.has_transparency_data:
        if stored == "RGB;16B":
            return _white_at_deep_colour(image, data)
        # Pillow scales pixels of 2 and 4 bits to 8, but not the transparent one.
        if stored in _SCALED:
            image.info["transparency"] *= _SCALED[stored]
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image.convert("L" if image.mode in _GREY_MODES else "RGB")


def _white_at_deep_colour(image: Image.Image, data: bytes) -> Image.Image:
    """Makes the transparent colour of a PNG of 16 bits white; Pillow compares it with the upper 8 bits of pixels."""
    with _open(data) as lower:
        # The other byte of each.
        lower.tile = [tile._replace(args="RGB;16L") for tile in lower.tile]
        values = np.asarray(image).astype(np.uint16) << 8 | np.asarray(lower)
    pixels = np.array(image)
    pixels[(values == np.array(image.info["transparency"])).all(-1)] = 255
    return Image.fromarray(pixels)


def _square(image: Image.Image, size: int, channels: int) -> np.ndarray:
    """Cuts out the centre square of a flat image and resizes it: u8[size,size,channels]."""
    image = image.convert("L" if channels == 1 else "RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cropped first: with resize(box=...) the filter would reach over the edge of the square.
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC)).reshape(size, size, -1)
