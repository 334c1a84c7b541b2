"""Draws the figures of a run from its results: a registered function each. Only here is matplotlib imported.

Figures are made without pyplot, so nothing is global and nothing needs a screen.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from blurjax.report.figures import accuracy, epochs, images, matrices, style
from blurjax.report.figures.registry import FIGURES, Drawing, FigureData, figure
from blurjax.runtime.run_directory import RunDirectory, read_npz

__all__ = [
    "FIGURES",
    "Drawing",
    "FigureData",
    "PageFigure",
    "accuracy",
    "draw_figures",
    "epochs",
    "figure",
    "images",
    "matrices",
    "point_prefix",
]


class PageFigure(NamedTuple):
    """A figure as the page shows it."""

    title: str
    caption: str
    alternative: str
    png: bytes
    width: int
    """In CSS pixels, at which its text is as large as the page's."""
    anchor: str


def draw_figures(
    run: RunDirectory, results: dict[str, Any], confidence: float
) -> dict[str, dict[str, PageFigure]]:
    """Draws all figures of a run.

    Args:
      run: holds the images that were kept.
      results: content of results.json.
      confidence: level of the intervals.

    Returns:
      What the file's name begins with (a point's `point_prefix`; nothing for those of the whole
      run) -> name -> figure.
    """
    gallery, flips = (read_npz(p) if p.exists() else None for p in (run.gallery, run.flips))

    def draw(point: dict[str, Any], *kinds: str) -> dict[str, PageFigure]:
        found, data = {}, FigureData(results, point, confidence, gallery, flips)
        for name, spec in FIGURES.items():
            drawing = spec.draw(data) if spec.per in kinds else None
            if drawing is not None:
                found[name] = PageFigure(
                    spec.title,
                    drawing.caption,
                    spec.alternative,
                    style.png(drawing.figure),
                    round(96 * drawing.figure.get_size_inches()[0]),
                    spec.anchor,
                )
        return found

    points = results["points"]
    figures = {"": draw({}, "run") if len(points) > 1 else {}}
    drawn_bottlenecks: set[int] = set()
    for number, point in enumerate(points):
        bottleneck = point["values"]["bottleneck"]
        kinds = ("point",) if bottleneck in drawn_bottlenecks else ("point", "bottleneck")
        figures[point_prefix(number, len(points))] = draw(point, *kinds) if point["trials"] else {}
        if point["trials"]:
            drawn_bottlenecks.add(bottleneck)
    return figures


def point_prefix(number: int, num_points: int) -> str:
    """Returns what the file names of a point's figures begin with: nothing where there is only one point."""
    return f"point-{number + 1}-" if num_points > 1 else ""
