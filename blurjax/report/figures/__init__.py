"""Draws the figures of a run from its results: a registered function each. Only here is matplotlib imported.

Figures are made without pyplot, so nothing is global and nothing needs a screen.
"""

from blurjax.report.figures import accuracy, epochs, images, matrices
from blurjax.report.figures.registry import (
    FIGURES,
    Drawing,
    FigureData,
    PageFigure,
    draw_figures,
    figure,
)

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
]
