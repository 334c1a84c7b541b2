"""One self-contained page of photographs, the blurriest first, and where they are blurry. No matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from blurjax.report.rendering import render
from blurjax.runtime import readable_os_errors, write_bytes

REGION = 32
"""Pixels of the rated image along a side of a region."""
_BLURRY, _SHARP = (213, 94, 0), (0, 114, 178)
"""Colours of regions: orange and blue, which colour-blind readers can tell apart."""
_OPACITY = 150


class Preview(NamedTuple):
    """What the page shows of a photograph."""

    jpeg: bytes
    regions: np.ndarray
    """f32[rows,columns], the probability that each region is blurry; NaN: nothing to judge there."""
    rated_size: tuple[int, int]
    """(width, height) of the image that the regions divide."""


class HeatMap(NamedTuple):
    """A picture of the regions, a pixel each, and how large it is drawn."""

    png: bytes
    width: float
    """In percent of the photograph: the last regions may reach over its edge, or end before it."""
    height: float


def write_contact_sheet(
    page: Path, found: Mapping[str, Any], previews: Mapping[str, Preview]
) -> None:
    """Writes the page.

    Args:
      page: its file, which is replaced.
      found: the JSON of `blurjax sharpness` (docs/sharpness.md).
      previews: file -> what is shown of it, for all images of `found`.

    Raises:
      UserError: the page cannot be written.
    """
    maps = {file: heat_map(preview) for file, preview in previews.items()}
    html = render("contact_sheet.html.jinja", **found, previews=previews, maps=maps)
    with readable_os_errors(page):
        write_bytes(page, html.encode("utf-8", "backslashreplace"))


def heat_map(preview: Preview) -> HeatMap:
    """Draws regions from blue (sharp) to orange (blurry); what may be either, or cannot be judged, stays clear."""
    regions = preview.regions
    judged = np.isfinite(regions)
    lean = np.where(judged, 2 * regions - 1, 0)  # -1 sharp, 1 blurry
    pixels = np.zeros((*regions.shape, 4), np.uint8)
    pixels[..., :3] = np.where((lean > 0)[..., None], _BLURRY, _SHARP)
    pixels[..., 3] = np.rint(_OPACITY * np.abs(lean))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    rows, columns = regions.shape
    width, height = preview.rated_size
    return HeatMap(file.getvalue(), 100 * columns * REGION / width, 100 * rows * REGION / height)
