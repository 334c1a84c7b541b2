"""Image codecs: what JPEG and WebP leave of images, and how many bytes they take (Pillow's encoders, on the host)."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, features

OPTIONS: dict[str, dict[str, bool]] = {"jpeg": {"optimize": True}, "webp": {}}
"""Of Pillow's encoders, beside the quality. `optimize`: Huffman tables of the image's own, which make files smaller and
change no pixel."""
WORST, BEST = 1, 100
"""Qualities."""
PIECE = 256
"""Images that a thread is handed at a time."""
SMALLEST = 1e-12
"""A mean squared error that counts as none."""


def is_available(codec: str) -> bool:
    """Returns whether Pillow was built with a codec."""
    return bool(features.check({"jpeg": "jpg"}.get(codec, codec)))


def round_trip(images: np.ndarray, codec: str, quality: int) -> tuple[np.ndarray, np.ndarray]:
    """Encodes images and decodes them again.

    Args:
      images: u8[N,H,W,C], C 1 (grey) or 3 (RGB).
      codec: "jpeg" or "webp".
      quality: from 1, the worst, to 100.

    Returns:
      u8[N,H,W,C] as decoded, and i32[N]: bytes of each encoded image, with its header.
    """
    decoded, sizes = np.empty_like(images), np.empty(len(images), np.int32)
    mode = "L" if images.shape[-1] == 1 else "RGB"

    def convert(first: int) -> None:
        for i in range(first, min(first + PIECE, len(images))):
            file = io.BytesIO()
            pixels = images[i, :, :, 0] if mode == "L" else images[i]
            Image.fromarray(pixels).save(file, codec, quality=quality, **OPTIONS[codec])
            sizes[i] = file.tell()
            # WebP has no grey images: it stores them in colour.
            decoded[i] = np.asarray(Image.open(file).convert(mode)).reshape(images.shape[1:])

    with ThreadPoolExecutor() as pool:
        list(pool.map(convert, range(0, len(images), PIECE)))
    return decoded, sizes


def matching_quality(distortion: Callable[[int], float], target: float) -> tuple[int, bool]:
    """Finds the quality whose distortion is nearest to a target, in dB.

    By bisection, since every quality costs a pass over the images.

    Args:
      distortion: quality -> mean squared error, which falls as the quality rises.
      target: a mean squared error.

    Returns:
      The quality, and whether the target lies between the distortions of the worst and the best quality.
    """
    worse, better = WORST, BEST
    if target >= distortion(worse):
        return worse, target == distortion(worse)
    if target < distortion(better):
        return better, False
    while better - worse > 1:
        middle = (worse + better) // 2
        worse, better = (middle, better) if distortion(middle) > target else (worse, middle)

    def decibels_off(quality: int) -> float:
        return abs(math.log(max(distortion(quality), SMALLEST) / max(target, SMALLEST)))

    return min(worse, better, key=decibels_off), True


def pattern(codec: str, image_shape: tuple[int, int, int]) -> bytes:
    """Returns what a codec makes of a fixed image at several qualities: other bytes if it computes another thing."""
    image = (np.arange(math.prod(image_shape)) * 37 % 256).astype(np.uint8).reshape(1, *image_shape)
    return b"".join(round_trip(image, codec, quality)[0].tobytes() for quality in (10, 50, 90))
