"""Makes functions figures of the page: with a title, an explanation, and how often they are drawn."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from matplotlib.figure import Figure

from blurjax.analysis.formatting import level
from blurjax.analysis.types import Arrays
from blurjax.report.figures import style


@dataclass(frozen=True)
class FigureData:
    """The data that a figure is drawn from: results.json and the images kept in predictions/."""

    results: Mapping[str, Any]
    """Of several runs: the comparison."""
    point: Mapping[str, Any]
    """An entry of `points`; empty for a figure of the whole run."""
    confidence: float
    gallery: Arrays | None = None
    flips: Arrays | None = None

    @property
    def level(self) -> str:
        """The level of the intervals as text, such as 95%."""
        return level(self.confidence)

    @property
    def class_names(self) -> Sequence[str]:
        """The names of all K classes."""
        return self.results["dataset"]["class_names"]


class Drawing(NamedTuple):
    """A figure and the sentences under it."""

    figure: Figure
    caption: str


Draw = Callable[[FigureData], Drawing | None]
Per = Literal["point", "bottleneck", "run", "comparison"]


class FigureSpec(NamedTuple):
    """A registered figure."""

    draw: Draw
    """Returns None where the run lacks the data that the figure shows."""
    title: str
    alternative: str
    """Describes it to readers who cannot see it."""
    anchor: str
    """The part of "How it was computed" that explains it."""
    per: Per
    """Drawn for every point, once for the points of a bottleneck, once for a run of several points, or for runs."""


class PageFigure(NamedTuple):
    """A drawn figure as the page shows it."""

    spec: FigureSpec
    caption: str
    png: bytes
    width: int
    """In CSS pixels, at which its text is as large as the page's."""


FIGURES: dict[str, FigureSpec] = {}
"""Name of the file without its ending -> figure."""


def figure(title: str, *, anchor: str, per: Per = "point") -> Callable[[Draw], Draw]:
    """Registers a function that draws a figure, under the function's name.

    The first line of its docstring becomes `alternative`; the arguments are those attributes of
    `FigureSpec`. It is called in the style of all figures.
    """

    def register(draw: Draw) -> Draw:
        in_style = functools.wraps(draw)(style.figure_style()(draw))
        alternative = (draw.__doc__ or title).splitlines()[0]
        FIGURES[draw.__name__] = FigureSpec(in_style, title, alternative, anchor, per)
        return in_style

    return register


def draw_figures(data: FigureData, *kinds: str) -> Iterator[tuple[str, PageFigure]]:
    """Yields (name, figure) of all figures that are drawn per point, bottleneck or run, and can be."""
    for name, spec in FIGURES.items():
        drawn = draw_figure(name, data) if spec.per in kinds else None
        if drawn is not None:
            yield name, drawn


def draw_figure(name: str, data: FigureData) -> PageFigure | None:
    """Returns a figure by name; None where the run lacks the data that it shows."""
    spec = FIGURES[name]
    drawing = spec.draw(data)
    if drawing is None:
        return None
    width = round(96 * drawing.figure.get_size_inches()[0])
    return PageFigure(spec, drawing.caption, style.png(drawing.figure), width)
