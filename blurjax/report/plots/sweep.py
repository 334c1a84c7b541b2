"""Accuracy and PSNR against the size of the code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from blurjax.analysis.formatting import count
from blurjax.config.view_names import CHECK_VIEWS
from blurjax.report.plots.style import (
    BLACK,
    MAIN_VIEWS,
    WIDTH,
    in_order,
    look,
    new_figure,
    plain_numbers,
    styled,
)

Curve = Mapping[str, Any]

APART = 1.03
"""The factor by which the lines of different views stand beside each other, so that bars do not overlap."""


@styled
def sweep(curves: Sequence[Curve]) -> Figure:
    """Accuracy of each view's classifier on its own view, and PSNR, against the floats kept.

    Args:
      curves: of results.json; each gets a row.
    """
    figure = new_figure(WIDTH, 4.0 * len(curves) + 0.5)
    axes = figure.subplots(len(curves), 2, width_ratios=[3, 2], squeeze=False)
    for row, curve in enumerate(curves):
        left, right = axes[row]
        _accuracies(left, curve)
        _psnr(right, curve)
        for ax in (left, right):
            _bottleneck_axis(ax, curve["bottleneck"])
        recipe = f"learning rate {curve['learning_rate']:g}, decay {curve['weight_decay']:g}"
        left.set_title(recipe if len(curves) > 1 else "what a classifier learns")
        right.set_title("how close the images are")
    # A view that is tested on and not trained on has a line on the right alone.
    of_view: dict[str, Any] = {}
    for ax in axes[0][::-1]:
        handles, labels = ax.get_legend_handles_labels()
        of_view |= dict(zip(labels, handles, strict=True))
    views = in_order(of_view)
    handles = [of_view[view] for view in views]
    figure.legend(handles, views, title="view", ncols=5, loc="outside upper center")
    return figure


def _accuracies(ax: Axes, curve: Curve) -> None:
    views = in_order(view for view in curve["accuracy"] if view not in CHECK_VIEWS)
    for number, view in enumerate(views):
        entry, is_main = curve["accuracy"][view], view in MAIN_VIEWS
        floats = np.array(curve["bottleneck"]) * APART ** (number - len(views) / 2)
        low, high = 100 * np.array(entry["interval"]).T
        width = 2.2 if is_main else 1.1
        mean = 100 * np.array(entry["mean"])
        ax.plot(floats, mean, marker="o", label=view, linewidth=width, **look(view))
        ax.vlines(floats, low, high, color=look(view)["color"], linewidth=0.6 * width)
    ax.set_ylabel("accuracy, own view (%)")
    smallest = curve["smallest_equivalent"]
    if smallest is not None:
        ax.axvline(smallest, color=BLACK, linestyle=":", linewidth=1.2)
        # On the side with more room.
        side = 1 if smallest**2 <= min(curve["bottleneck"]) * max(curve["bottleneck"]) else -1
        text = f"smallest equivalent\nto original: {count(smallest, 'float')}"
        ax.annotate(
            text,
            (smallest, 0.03),
            xycoords=ax.get_xaxis_transform(),
            xytext=(6 * side, 0),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            fontsize=9,
        )


def _psnr(ax: Axes, curve: Curve) -> None:
    for view in in_order(curve["psnr"]):
        values = np.array(curve["psnr"][view], float)
        width = 2.2 if view in MAIN_VIEWS else 1.1
        ax.plot(curve["bottleneck"], values, marker="o", label=view, linewidth=width, **look(view))
    ax.set_ylabel("PSNR on test (dB)")


def _bottleneck_axis(ax: Axes, floats: Sequence[int]) -> None:
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(floats))
    plain_numbers(ax.xaxis)
    ax.set_xlabel("floats kept (bottleneck)")
    ax.grid(visible=True, axis="y")
