"""Draws the figures of a run from its results: a registered function each. Only here is matplotlib imported.

Figures are made without pyplot, so nothing is global and nothing needs a screen.
"""

from blurjax.report.figures import (  # noqa: F401 (registers them)
    accuracy,
    comparison,
    epochs,
    images,
    labels,
    matrices,
)
from blurjax.report.figures.registry import (
    FIGURES,
    FigureData,
    PageFigure,
    draw_figure,
    draw_figures,
)

__all__ = ["FIGURES", "FigureData", "PageFigure", "draw_figure", "draw_figures"]
