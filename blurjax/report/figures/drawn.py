"""What a figure of the page is, and what it is drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from blurjax.analysis.formatting import level
from blurjax.report import plots

Results = Mapping[str, Any]
Point = Mapping[str, Any]
Arrays = Mapping[str, np.ndarray]


class Drawn(NamedTuple):
    """A figure as the page shows it."""

    title: str
    caption: str
    alternative: str
    """For those who cannot see it."""
    png: bytes
    width: int
    """In CSS pixels, at which its text is as large as the page's."""
    anchor: str
    """The part of "How it was computed" that explains it."""


class Material(NamedTuple):
    """What figures are drawn from."""

    results: Results
    gallery: Arrays | None
    flips: Arrays | None
    confidence: float

    @property
    def level(self) -> str:
        """Of the intervals, such as 95%."""
        return level(self.confidence)

    @property
    def class_names(self) -> Sequence[str]:
        """Of all K classes."""
        return self.results["dataset"]["class_names"]


def drawn(title: str, caption: str, alternative: str, figure: plots.Figure, anchor: str) -> Drawn:
    """The figure as bytes, with its words."""
    picture, width = plots.png(figure), plots.width_in_pixels(figure)
    return Drawn(title, caption, alternative, picture, width, anchor)
