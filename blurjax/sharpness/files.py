"""Rates photographs: files and folders one after the other, or images that are given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from blurjax.data import image_files
from blurjax.data.given_images import GivenImage, GivenImages, as_batch
from blurjax.data.messages import printable
from blurjax.runtime import UserError, expand_path
from blurjax.sharpness.rating import RATED_SIZE, Detector, Rating, rate
from blurjax.sharpness.reading import MAX_PIXELS, Unreadable, find_photographs, read_photographs


@dataclass(frozen=True, eq=False)
class RatedFile:
    """A photograph and how blurry it is."""

    path: Path
    size: tuple[int, int]
    """(width, height) of the file, turned upright."""
    rated_size: tuple[int, int]
    """(width, height) of what was rated."""
    rating: Rating
    thumbnail: np.ndarray
    """u8[16,16,3], by which `find_bursts` finds near duplicates."""
    preview: bytes
    """A JPEG file; empty where none was asked for."""


def rate_files(
    paths: Iterable[str | Path],
    *,
    detector: Detector | None = None,
    previews: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[RatedFile | Unreadable]:
    """Rates photographs one after the other, in memory that does not depend on how many there are.

    Pillow's limit of pixels is `max_pixels` until the iterator is exhausted or closed.

    Args:
      paths: of files, and of folders, all images in which are rated.
      detector: None: the one that ships with the package.
      previews: whether to make small pictures for a page.
      max_pixels: of a file; larger ones are unreadable.

    Yields:
      A rated file, or a file or folder that cannot be read, with the reason.

    Raises:
      UserError: a path does not exist.
    """
    found, unreadable = find_photographs(paths)
    yield from unreadable
    yield from rate_found(found, detector=detector, previews=previews, max_pixels=max_pixels)


def rate_found(
    files: Iterable[Path],
    *,
    detector: Detector | None = None,
    previews: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[RatedFile | Unreadable]:
    """Rates files that `find_photographs` has found; the arguments and what is yielded are those of `rate_files`.

    Pillow's limit of pixels is `max_pixels` until the iterator is exhausted or closed.
    """
    for photograph in read_photographs(files, previews=previews, max_pixels=max_pixels):
        if isinstance(photograph, Unreadable):
            yield photograph
            continue
        path, size, pixels, thumbnail, preview = photograph
        rated_size = (pixels.shape[1], pixels.shape[0])
        rating = rate(pixels, detector)
        yield RatedFile(path, size, rated_size, rating, thumbnail, preview)


def rate_sharpness(images_or_paths: GivenImages, detector: Detector | None = None) -> list[Rating]:
    """Says how blurry images are, and where.

    Args:
      images_or_paths: one or several arrays u8[H,W] or u8[H,W,C] with C 1 or 3, one array u8[N,H,W] or u8[N,H,W,C],
        images of Pillow's, or paths of image files; `rate_files` takes folders and goes on where a file is damaged.
      detector: None: the one that ships with the package.

    Returns:
      A rating for each image.

    Raises:
      UserError: an image cannot be read, or has a side of less than 32 pixels.
    """
    given = images_or_paths
    several = isinstance(given, Sequence) and not isinstance(given, str)
    images: Sequence[GivenImage] = given if several else [given]  # type: ignore[assignment]
    return [rate(pixels, detector) for image in images for pixels in _pixels(image)]


def _pixels(image: GivenImage) -> Iterator[np.ndarray]:
    """Yields the images u8[H,W] or u8[H,W,C] that were given: several where it is an array of several."""
    if isinstance(image, np.ndarray):
        yield from as_batch(image)
    elif isinstance(image, Image.Image):
        try:
            with image_files.pixel_limit(MAX_PIXELS):
                yield np.asarray(image_files.reduce(image_files.flatten(image), RATED_SIZE))
        except image_files.BadImageError as error:
            raise UserError(f"An image of Pillow's cannot be rated: {error}.") from None
    else:
        path = expand_path(image)
        if path.is_dir():
            raise UserError(
                f"{printable(path)} is a folder; rate its images with blurjax.sharpness.rate_files."
            )
        (photograph,) = read_photographs([path])
        if isinstance(photograph, Unreadable):
            raise UserError(f"{printable(path)} cannot be rated: {photograph.reason}.")
        yield photograph.pixels
