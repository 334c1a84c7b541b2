"""One self-contained page of photographs, the blurriest first, and where they are blurry. No matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from blurjax.report.rendering import render

_BLURRY, _SHARP = (213, 94, 0), (0, 114, 178)
"""Colours of regions: orange and blue, which colour-blind readers can tell apart."""
_OPACITY = 150


class Preview(NamedTuple):
    """What the page shows of a photograph."""

    jpeg: bytes
    regions: np.ndarray
    """f32[rows,columns], the probability that each region is blurry, NaN where nothing can be judged; they are spread
    evenly over the picture."""


def contact_sheet(found: Mapping[str, Any], previews: Mapping[str, Preview]) -> str:
    """Returns the page as HTML.

    Args:
      found: the JSON of `blurjax sharpness` (docs/sharpness.md).
      previews: file -> what is shown of it, for all images of `found`.
    """
    maps = {file: heat_map(preview.regions) for file, preview in previews.items()}
    return render("contact_sheet.html.jinja", **found, previews=previews, maps=maps)


def heat_map(regions: np.ndarray) -> bytes:
    """Draws regions as pixels of a PNG file, from blue (sharp) to orange (blurry).

    What may be either, and what cannot be judged, stays clear.

    Args:
      regions: f32[rows,columns], probabilities, or NaN.
    """
    lean = np.where(np.isfinite(regions), 2 * regions - 1, 0)  # -1 sharp, 1 blurry
    pixels = np.zeros((*regions.shape, 4), np.uint8)
    pixels[..., :3] = np.where((lean > 0)[..., None], _BLURRY, _SHARP)
    pixels[..., 3] = np.rint(_OPACITY * np.abs(lean))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
