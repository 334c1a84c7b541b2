"""What makes a function a figure of the page: its title, its explanation, and when it is drawn."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from blurjax.analysis.formatting import level
from blurjax.report.figures.style import figure_style

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class FigureData:
    """What figures are drawn from."""

    results: Mapping[str, Any]
    """Content of results.json."""
    point: Mapping[str, Any]
    """An entry of its `points`; empty for a figure of the whole run."""
    confidence: float
    gallery: Arrays | None = None
    """Content of predictions/gallery.npz."""
    flips: Arrays | None = None
    """Content of predictions/flips.npz."""

    @property
    def level(self) -> str:
        """The level of the intervals, such as 95%."""
        return level(self.confidence)

    @property
    def class_names(self) -> Sequence[str]:
        """The names of all K classes."""
        return self.results["dataset"]["class_names"]

    def gallery_of(self, view: str) -> np.ndarray | None:
        """The gallery's images in a view, u8[P,M,H,W,C], one row per bottleneck; None if not kept."""
        if self.gallery is None or view not in self.gallery["view_names"]:
            return None
        return self.gallery["views"][:, self.gallery["view_names"].tolist().index(view)]


class Drawing(NamedTuple):
    """A figure and the sentences under it."""

    figure: Figure
    caption: str


Draw = Callable[[FigureData], Drawing | None]


class FigureSpec(NamedTuple):
    """A registered figure."""

    draw: Draw
    title: str
    alternative: str
    """Describes the figure to readers who cannot see it."""
    anchor: str
    """The part of "How it was computed" that explains it."""
    per: Literal["point", "bottleneck", "run"]
    """Drawn for every point, once for the points of a bottleneck, or once for a run of several points."""


FIGURES: dict[str, FigureSpec] = {}
"""Name of the file without its ending -> figure."""


def figure(
    title: str,
    *,
    alternative: str,
    anchor: str,
    per: Literal["point", "bottleneck", "run"] = "point",
) -> Callable[[Draw], Draw]:
    """Registers a function that draws a figure of the page, under the function's name.

    The function returns None where the run lacks what the figure shows. It is called in the style
    of all figures, whatever the user's own settings of matplotlib are. Arguments are those of
    `FigureSpec`.
    """

    def register(draw: Draw) -> Draw:
        @functools.wraps(draw)
        def draw_in_style(data: FigureData) -> Drawing | None:
            with figure_style():
                return draw(data)

        FIGURES[draw.__name__] = FigureSpec(draw_in_style, title, alternative, anchor, per)
        return draw_in_style

    return register
