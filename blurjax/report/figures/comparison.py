"""Figures of several runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from blurjax.analysis.types import Point
from blurjax.config.view_table import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
)
from blurjax.report.figures.epochs import draw_range, prepare_epoch_axes
from blurjax.report.figures.registry import Drawing, FigureData, figure
from blurjax.report.figures.style import WIDTH, legend_lines, new_figure, run_labels

COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY)
"""One for each line of a panel; with more lines they are used again with other dashes."""
DASHES = ("-", "--", ":", "-.")


@figure("Accuracies and costs", anchor="intervals", per="comparison")
def compared_accuracies(data: FigureData) -> Drawing | None:
    """Accuracy on originals and on reconstructions, and the cost of reconstruction, a row per run and point."""
    points, names = _points_with_trials(data)
    has_cost = any(point["cost"] for point in points)
    drawn = new_figure(WIDTH if has_cost else 7.0, 1.3 + 0.42 * len(points))
    axes = np.atleast_1d(drawn.subplots(1, 1 + has_cost, sharey=True))
    for row, point in enumerate(points):
        for view, colour, shift in (
            ("original", BLUE, -0.12),
            ("reconstruction", VERMILLION, 0.12),
        ):
            if view in point["accuracy"]:
                label = f"{view} on itself" if row == 0 else None
                _with_bar(axes[0], point["accuracy"][view], row + shift, colour, label)
        if has_cost and point["cost"]:
            _with_bar(axes[1], point["cost"], row, BLACK, None)
    axes[0].set_yticks(range(len(points)), names)
    axes[0].invert_yaxis()
    axes[0].set_xlabel("accuracy (%)")
    handles, labels = axes[0].get_legend_handles_labels()
    drawn.legend(handles, labels, ncols=2, loc="outside upper left")
    for ax in axes:
        ax.grid(visible=True, axis="x")
    if has_cost:
        axes[1].axvline(0, color=BLACK, linewidth=0.8)
        axes[1].set_xlabel("cost of reconstruction (points of accuracy)")
    right = "; right: what reconstruction costs, positive = accuracy lost" if has_cost else ""
    caption = (
        f"Accuracy on test images of classifiers tested on the view that they are trained on{right}. Lines are each "
        "run's own intervals. Where test images are the same, differences between runs are known better than these "
        "suggest: see the paired differences."
    )
    return Drawing(drawn, caption)


@figure("Validation by epoch", anchor="curves", per="comparison")
def compared_curves(data: FigureData) -> Drawing | None:
    """Accuracy of classifiers and error of autoencoders on validation by epoch, a line per run and point."""
    points, names = _points_with_trials(data)
    panels = [
        (what, measure, label)
        for what, measure, label in (
            ("original", "accuracy", "classifiers on originals:\nvalidation accuracy (%)"),
            (
                "reconstruction",
                "accuracy",
                "classifiers on reconstructions:\nvalidation accuracy (%)",
            ),
            ("autoencoder", "loss", "autoencoders: mean squared\nerror on validation"),
        )
        if any(_has(point, what) for point in points)
    ]
    drawn = new_figure(WIDTH * max(len(panels), 2) / 3, 3.6 + 0.25 * ((len(points) + 1) // 2))
    axes = np.atleast_1d(drawn.subplots(1, len(panels)))
    for ax, (what, measure, title) in zip(axes, panels, strict=True):
        ax.set_title(title)
        for number, (point, label) in enumerate(zip(points, names, strict=True)):
            if _has(point, what):
                style = {
                    "color": COLOURS[number % len(COLOURS)],
                    "linestyle": DASHES[number // len(COLOURS) % len(DASHES)],
                }
                draw_range(ax, point["history"][what], "validation", measure, label=label, **style)
    prepare_epoch_axes(axes[None])
    lines = legend_lines(axes)
    drawn.legend([*lines.values()], [*lines], ncols=2, loc="outside upper center")
    caption = (
        "Each classifier in the view that it is trained on, after every epoch. Lines are means over trials, bands "
        "reach from the lowest trial to the highest. Validation images may differ between runs where data settings do."
    )
    return Drawing(drawn, caption)


def _has(point: Point, what: str) -> bool:
    return bool(point["history"].get(what, {}).get("epoch"))


def _points_with_trials(data: FigureData) -> tuple[Sequence[Point], list[str]]:
    points = data.results["points"]
    there = [pair for pair in zip(points, run_labels(points), strict=True) if pair[0]["trials"]]
    return [point for point, _ in there], [name for _, name in there]


def _with_bar(ax: Axes, entry: Mapping[str, Any], y: float, colour: str, label: str | None) -> None:
    """Draws a mean in percent with its interval."""
    low, high = 100 * np.array(entry["interval"])
    ax.plot([100 * entry["mean"]], [y], marker="o", linestyle="", color=colour, label=label)
    ax.hlines(y, low, high, color=colour, linewidth=1.4)
