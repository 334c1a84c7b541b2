"""Writes folders of small images for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def noise(seed: int, height: int = 8, width: int = 8, channels: int = 3) -> np.ndarray:
    """u8[H,W,C] that no other seed gives."""
    shape = (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_image(path: Path, pixels: np.ndarray) -> Path:
    """Writes u8[H,W,C] losslessly where the suffix allows, and makes the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path)
    return path


def write_folder(root: Path, counts: Mapping[str, int], first_seed: int = 0, **shape: int) -> Path:
    """Writes counts[class folder] images of noise into each class folder below root."""
    seed = first_seed
    for folder, count in counts.items():
        for position in range(count):
            write_image(root / folder / f"{position:03}.png", noise(seed, **shape))
            seed += 1
    return root
