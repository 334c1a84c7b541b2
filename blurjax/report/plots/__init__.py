"""Arrays and results -> figures. The one place that imports matplotlib.

Every function returns a `matplotlib.figure.Figure` made without pyplot, so nothing is global and
nothing needs a screen. `point` is an entry of `points` in results.json (docs/run_directory.md).
"""

from matplotlib.figure import Figure

from blurjax.report.plots.causes import causes, per_class, waterfall
from blurjax.report.plots.curves import autoencoder, curves, first_experiment, generalisation_gap
from blurjax.report.plots.images import flips, reconstructions, views
from blurjax.report.plots.matrices import (
    CONFUSED,
    FIRST_VIEWS,
    MOST_CLASSES_WRITTEN,
    confusion,
    transfer_matrix,
)
from blurjax.report.plots.spectra import spectra
from blurjax.report.plots.style import MAIN_VIEWS, in_order, png, width_in_pixels
from blurjax.report.plots.sweep import sweep

__all__ = [
    "CONFUSED",
    "FIRST_VIEWS",
    "MAIN_VIEWS",
    "MOST_CLASSES_WRITTEN",
    "Figure",
    "autoencoder",
    "causes",
    "confusion",
    "curves",
    "first_experiment",
    "flips",
    "generalisation_gap",
    "in_order",
    "per_class",
    "png",
    "reconstructions",
    "spectra",
    "sweep",
    "transfer_matrix",
    "views",
    "waterfall",
    "width_in_pixels",
]
