"""Arrays and results -> figures. The one place that imports matplotlib.

Every function returns a `matplotlib.figure.Figure` made without pyplot, so nothing is global and
nothing needs a screen. `point` is an entry of `points` in results.json (docs/run_directory.md).
"""

from blurjax.plots.curves import autoencoder, curves, first_experiment, sweep
from blurjax.plots.images import reconstructions
from blurjax.plots.matrices import MOST_CLASSES_WRITTEN, confusion, transfer_matrix
from blurjax.plots.style import png, width_in_pixels

__all__ = [
    "MOST_CLASSES_WRITTEN",
    "autoencoder",
    "confusion",
    "curves",
    "first_experiment",
    "png",
    "reconstructions",
    "sweep",
    "transfer_matrix",
    "width_in_pixels",
]
