"""Matrices: who is taken for whom, and accuracy by train view and test view."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from blurjax.analysis.comparisons import ORIGINAL, RECONSTRUCTION, TRANSFERRED
from blurjax.report.plots.style import SEQUENTIAL, WIDTH, class_labels, in_order, new_figure, styled

FEW_CLASSES = 6
"""Up to here the numbers are as large as other text."""
MOST_CLASSES_WRITTEN = 15
"""With more classes the numbers would be too small to read: colour alone shows them."""
NARROWEST = 2.6
"""Inches that the title above a matrix needs."""

FIRST_VIEWS = ("original", "reconstruction", "crossfit")
CONFUSED = (ORIGINAL, RECONSTRUCTION, TRANSFERRED, ("crossfit", "crossfit"))

Point = Mapping[str, Any]


@styled
def transfer_matrix(point: Point, views: Mapping[str, Sequence[str]]) -> Figure:
    """Accuracy by train view and test view, with intervals.

    Args:
      point: an entry of `points`.
      views: `views` of results.json.
    """
    train, test = in_order(views["train"]), in_order(views["test"])
    cells = [[point["accuracy"][row][column] for column in test] for row in train]
    mean = 100 * np.array([[cell["mean"] for cell in row] for row in cells])
    cell_width = min(1.75, (WIDTH - 2.6) / len(test))
    figure = new_figure(2.6 + cell_width * len(test), 1.1 + min(0.8, 5.2 / len(train)) * len(train))
    ax = figure.subplots()
    # What learns nothing must not take the colours from what learns something.
    learns = mean[[row != "shuffled" for row in train]] if train != ["shuffled"] else mean
    norm = Normalize(learns.min(), learns.max(), clip=True)
    image = ax.imshow(mean, cmap=SEQUENTIAL, norm=norm, aspect="auto")
    _name_axes(ax, test, train)
    ax.set(xlabel="tested on", ylabel="trained on")
    for (row, column), value in np.ndenumerate(mean):
        low, high = 100 * np.array(cells[row][column]["interval"])
        text = f"{value:.1f}\n{low:.1f} – {high:.1f}"
        _write(ax, image, row, column, text, size=10 if cell_width > 1.3 else 8)
    _separate(ax, train, test)
    bar = figure.colorbar(image, ax=ax, label="accuracy (%)")
    bar.outline.set_visible(False)
    return figure


def _separate(ax: Axes, train: Sequence[str], test: Sequence[str]) -> None:
    """Lines between the views that the question is about and the others."""
    rows, columns = (sum(view in FIRST_VIEWS for view in views) for views in (train, test))
    if 0 < rows < len(train):
        ax.axhline(rows - 0.5, color="white", linewidth=4)
    if 0 < columns < len(test):
        ax.axvline(columns - 0.5, color="white", linewidth=4)


@styled
def confusion(point: Point, class_names: Sequence[str]) -> Figure:
    """Confusion matrices of original, reconstruction and crossfit, and of reconstruction on originals.

    Counts (summed over trials) and shares of the true class; with many classes the shares alone,
    as colour.
    """
    matrices = {cell: np.array(_at(point, cell)) for cell in _cells(point)}
    written = len(class_names) <= MOST_CLASSES_WRITTEN
    names = class_labels(class_names) if written else []
    width, height = _size(names) if written else (3.0, 3.4)
    columns = max(1, min(len(matrices), math.floor(WIDTH / width)))
    rows = math.ceil(len(matrices) / columns)
    figure = new_figure(columns * width + (0 if written else 1), rows * height)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax, (cell, counts) in zip(axes.flat, matrices.items(), strict=False):
        image = _matrix(ax, counts, names)
        ax.set_title(f"trained on {cell[0]},\ntested on {cell[1]}")
    for ax in axes.flat[len(matrices) :]:
        ax.set_axis_off()
    if not written:
        bar = figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class (%)")
        bar.outline.set_visible(False)
    return figure


def _size(names: Sequence[str]) -> tuple[float, float]:
    """(width, height) in inches of a matrix whose numbers and names can be read."""
    cells = len(names) * (0.44 if len(names) <= FEW_CLASSES else 0.4)
    room = 0.08 * max(map(len, names))
    below = 0.2 if _are_short(names) else room
    return max(0.7 + 1.25 * room + cells, NARROWEST), 1.05 + below + cells


def _are_short(names: Sequence[str]) -> bool:
    return max(map(len, names)) <= 2


def _cells(point: Point) -> list[tuple[str, str]]:
    there = [(view, test) for view, tests in point["confusion"].items() for test in tests]
    # Where none of these was asked for, everything there is.
    return [cell for cell in CONFUSED if cell in there] or there


def _at(point: Point, cell: tuple[str, str]) -> Any:
    return point["confusion"][cell[0]][cell[1]]


def _matrix(ax: Axes, counts: np.ndarray, names: Sequence[str]) -> AxesImage:
    """Draws one; without names as colour alone, on a scale that shows rare mistakes."""
    of_class = counts.sum(axis=1, keepdims=True)
    share = 100 * counts / np.maximum(of_class, 1)
    norm = PowerNorm(1 if names else 0.5, vmin=0, vmax=100)
    image = ax.imshow(share, cmap=SEQUENTIAL, norm=norm, interpolation="nearest")
    ax.set(xlabel="predicted class", ylabel="true class")
    if not names:
        ax.set(xticks=[], yticks=[])
        return image
    _name_axes(ax, names, names)
    ax.tick_params(axis="x", rotation=0 if _are_short(names) else 90)
    size = 9 if len(names) <= FEW_CLASSES else 7.5
    for (row, column), count in np.ndenumerate(counts):
        if count:  # an empty cell says 0 more legibly than a 0
            text = f"{count}\n{_share(share[row, column])}"
            _write(ax, image, row, column, text, size=size)
    return image


def _share(percent: float) -> str:
    return "<1%" if percent < 0.5 else f"{percent:.0f}%"


def _name_axes(ax: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _write(ax: Axes, image: AxesImage, row: int, column: int, text: str, *, size: float) -> None:
    """Writes into a cell, in black or white, whichever its colour lets one read."""
    value = np.asarray(image.get_array())[row, column]
    red, green, blue, _ = image.cmap(image.norm(value))
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    colour = "white" if luminance < 0.5 else "black"
    ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
