"""Which frequencies each view keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from blurjax.report.plots.style import MAIN_VIEWS, in_order, look, new_figure, plain_numbers, styled


@styled
def spectra(power: Mapping[str, Sequence[float]]) -> Figure:
    """Radial power spectra of the test images in each view, on logarithmic axes.

    Args:
      power: view -> mean power at each radius, in cycles per shorter side, from 0 to Nyquist.
    """
    figure = new_figure(7.5, 4.2)
    ax = figure.subplots()
    for view in in_order(power):
        values = np.array(power[view], float)[1:]  # at radius 0 there is the mean, taken out
        radii = np.arange(1, len(values) + 1)
        width = 2.4 if view in MAIN_VIEWS else 1.4
        ax.plot(
            radii, np.where(values > 0, values, np.nan), label=view, linewidth=width, **look(view)
        )
    ax.set(xscale="log", yscale="log")
    ax.set(xlabel="spatial frequency (cycles per shorter side)", ylabel="mean power")
    ax.xaxis.set_major_locator(LogLocator(base=2))
    for axis in (ax.xaxis, ax.yaxis):
        plain_numbers(axis)
    ax.grid(visible=True)
    figure.legend(loc="outside right center")
    return figure
