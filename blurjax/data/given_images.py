"""Images that somebody hands over, as arrays, Pillow images or files, made like the images of a data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from blurjax.data import image_files
from blurjax.data.decoding import EncodedImage, decode
from blurjax.data.directories import images, raise_error, visible
from blurjax.data.messages import explain_read_errors, join_names, printable
from blurjax.runtime.errors import UserError
from blurjax.runtime.files import expand_path

GivenImage: TypeAlias = np.ndarray | Image.Image | str | Path
"""u8[H,W] or u8[H,W,C] with C 1 or 3, an image of Pillow's, or the path of an image file."""
GivenImages: TypeAlias = GivenImage | Sequence[GivenImage]
"""One image, several, or several as one array u8[N,H,W,C] or u8[N,H,W]."""


def read_images(
    given: GivenImages, image_shape: tuple[int, int, int], *, max_pixels: int
) -> np.ndarray:
    """Cuts out the centre square of each image and resizes it, as was done with the images of a data set.

    Args:
      given: at least one image.
      image_shape: (H, W, C) of the data set.
      max_pixels: of a file; larger ones are refused.

    Returns:
      u8[N,H,W,C].

    Raises:
      UserError: an image cannot be read, or an array is not as described.
    """
    if isinstance(given, np.ndarray):
        return _read(given, image_shape)
    several = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if not several:
        raise UserError("No image was given; give at least one.")
    with image_files.pixel_limit(max_pixels):
        return np.concatenate([_read(image, image_shape) for image in several])


def find_images(
    paths: Iterable[str | Path], on_error: Callable[[OSError], None] = raise_error
) -> list[Path]:
    """Returns files as they are named, and of folders all images in them and below, hidden ones left out.

    Args:
      paths: of files and folders.
      on_error: called for each folder that may not be read.

    Raises:
      UserError: paths do not exist (names all of them), or one may not be read.
    """
    places, missing, found = [*map(expand_path, paths)], [], []
    for path in places:
        with explain_read_errors(path):
            try:
                path.stat()
            except FileNotFoundError:
                missing.append(str(path))
    if missing:
        raise UserError(
            f"{join_names(missing)} cannot be read (No such file or directory); check the path."
        )
    for path in places:
        with explain_read_errors(path):
            if path.is_dir():
                for place, folders, _ in os.walk(path, onerror=on_error):
                    folders[:] = visible(folders)
                    found += images(Path(place))
            else:
                found.append(path)
    return found


def read_each(
    paths: Sequence[Path], image_shape: tuple[int, int, int], *, max_pixels: int
) -> tuple[np.ndarray, dict[Path, str]]:
    """Reads image files as `read_images` does, and goes on where one cannot be used.

    Returns:
      The images u8[N,H,W,C] of the files that can be used, in their order; of the others, why they cannot.
    """
    size, _, channels = image_shape
    read, failed = [np.zeros((0, *image_shape), np.uint8)], {}
    with image_files.pixel_limit(max_pixels):
        encoded = (EncodedImage(path, 0, str(path)) for path in paths)
        for image, pixels in decode(encoded, size, channels):
            if isinstance(pixels, str):
                failed[image.content] = pixels
            else:
                read.append(pixels[None])
    return np.concatenate(read), failed


def as_batch(array: np.ndarray) -> np.ndarray:
    """Returns one or several images as u8[N,H,W,C].

    Raises:
      UserError: they are of another type or shape than `GivenImages` says.
    """
    if array.dtype != np.uint8:
        raise UserError(
            f"Images must be uint8, from 0 to 255, and not {array.dtype}; values from 0 to 1 are converted by "
            "numpy.round(255 * images).astype(numpy.uint8)."
        )
    shape, smallest = array.shape, image_files.SMALLEST
    if array.ndim == 2:
        array = array[None, ..., None]
    elif array.ndim == 3:
        array = array[None] if shape[-1] in (1, 3) else array[..., None]
    if array.ndim != 4 or array.shape[-1] not in (1, 3) or min(array.shape[1:3]) < smallest:
        raise UserError(
            f"Images cannot be of shape {shape}; they must be [N,H,W,C], [N,H,W], [H,W,C] or [H,W], with C 1 or 3 and "
            f"at least {smallest}x{smallest} pixels."
        )
    if not len(array):
        raise UserError("No image was given; give at least one.")
    return array


def _read(image: GivenImage, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Returns one image, u8[1,H,W,C]; of an array, as many as it holds."""
    size, _, channels = image_shape
    if isinstance(image, np.ndarray):
        return image_files.resize(as_batch(image), size, channels)
    try:
        if isinstance(image, Image.Image):
            name = "An image of Pillow's"
            return image_files.square(image, size, channels)[None]
        path = expand_path(image)
        name = printable(path)
        with explain_read_errors(path):
            return image_files.decode(path.read_bytes(), size, channels)[None]
    except image_files.BadImageError as error:
        raise UserError(f"{name} cannot be used as an image: {error}.") from None
