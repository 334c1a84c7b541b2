"""Figures of matrices: accuracy by train view and test view, and which class is taken for which."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.image import AxesImage

from blurjax.analysis.contrasts import SHUFFLED
from blurjax.report.figures.registry import Drawing, FigureData, figure
from blurjax.report.figures.style import SEQUENTIAL, WIDTH, class_labels, new_figure
from blurjax.report.view_display import first_views, main_cells, main_first

FEW_CLASSES = 6
"""Up to here the numbers are as large as other text."""
MOST_CLASSES_WRITTEN = 15
"""With more classes the numbers would be too small to read: colour alone shows them."""
SHORT_NAME = 2
"""Characters of class names that fit below a column without being turned."""
NARROWEST = 2.6
"""Inches that the title above a matrix needs."""


@figure("Accuracy by train view and test view", anchor="intervals")
def transfer_matrix(data: FigureData) -> Drawing | None:
    """Matrix of accuracies with intervals, train views by test views; the same numbers are in the table above."""
    train, test = (main_first(data.results["views"][side]) for side in ("train", "test"))
    if len(train) * len(test) < 2:
        return None
    cells = [[data.point["accuracy"][row][column] for column in test] for row in train]
    mean = 100 * np.array([[cell["mean"] for cell in row] for row in cells])
    cell_width = min(1.75, (WIDTH - 2.6) / len(test))
    drawn = new_figure(2.6 + cell_width * len(test), 1.1 + min(0.8, 5.2 / len(train)) * len(train))
    ax = drawn.subplots()
    # A row at chance would take the colours from the differences between the others.
    learning = [row for row, view in enumerate(train) if view != SHUFFLED]
    coloured = mean[learning] if learning else mean
    norm = Normalize(coloured.min(), coloured.max(), clip=True)
    image = ax.imshow(mean, cmap=SEQUENTIAL, norm=norm, aspect="auto")
    _name_axes(ax, test, train)
    ax.set(xlabel="tested on", ylabel="trained on")
    for (row, column), value in np.ndenumerate(mean):
        low, high = 100 * np.array(cells[row][column]["interval"])
        text = f"{value:.1f}\n{low:.1f} – {high:.1f}"
        _write(ax, image, row, column, text, size=10 if cell_width > 1.3 else 8)
    # Lines between the views that the question is about and the others.
    rows, columns = (sum(view in first_views() for view in views) for views in (train, test))
    if 0 < rows < len(train):
        ax.axhline(rows - 0.5, color="white", linewidth=4)
    if 0 < columns < len(test):
        ax.axvline(columns - 0.5, color="white", linewidth=4)
    bar = drawn.colorbar(image, ax=ax, label="accuracy (%)")
    bar.outline.set_visible(False)
    caption = f"Mean accuracy on the test set in percent, and its {data.level} interval."
    return Drawing(drawn, caption)


@figure("Confusion", anchor="evaluation")
def confusion(data: FigureData) -> Drawing | None:
    """Confusion matrices: rows are true classes, columns predicted ones.

    They are those of the main views, or of all where none of these was asked for: counts (summed
    over trials) and shares of the true class; with many classes the shares alone, as colour.
    """
    by_view = data.point["confusion"]
    if not by_view:
        return None
    there = [(train, test) for train, tests in by_view.items() for test in tests]
    cells = [cell for cell in main_cells() if cell in there] or there
    written = len(data.class_names) <= MOST_CLASSES_WRITTEN
    names = class_labels(data.class_names) if written else []
    width, height = _size(names) if written else (3.0, 3.4)
    columns = max(1, min(len(cells), math.floor(WIDTH / width)))
    rows = math.ceil(len(cells) / columns)
    drawn = new_figure(columns * width + (0 if written else 1), rows * height)
    axes = drawn.subplots(rows, columns, squeeze=False)
    for ax, (train, test) in zip(axes.flat, cells, strict=False):
        image = _confusion_matrix(ax, np.array(by_view[train][test]), names)
        ax.set_title(f"trained on {train},\ntested on {test}")
    for ax in axes.flat[len(cells) :]:
        ax.set_axis_off()
    if not written:
        bar = drawn.colorbar(image, ax=axes, shrink=0.8, label="share of the true class (%)")
        bar.outline.set_visible(False)
        caption = (
            "Share of each true class that is predicted as each class; the colour follows the square root, "
            "so that rare mistakes can be seen. Classes are in the order of the table below."
        )
    else:
        caption = (
            "Number of test images, summed over trials, and share of the true class; a cell without images is "
            "empty."
        )
        if any(label == f"class {k}" != data.class_names[k] for k, label in enumerate(names)):
            caption += (
                " A class whose name cannot be drawn is given by its number in the table below."
            )
    return Drawing(drawn, caption)


def _size(names: Sequence[str]) -> tuple[float, float]:
    """(width, height) in inches of a matrix whose numbers and names can be read."""
    cells = len(names) * (0.44 if len(names) <= FEW_CLASSES else 0.4)
    room = 0.08 * max(map(len, names))
    below = 0.2 if max(map(len, names)) <= SHORT_NAME else room
    return max(0.7 + 1.25 * room + cells, NARROWEST), 1.05 + below + cells


def _confusion_matrix(ax: Axes, counts: np.ndarray, names: Sequence[str]) -> AxesImage:
    """Draws one; without names as colour alone, on a scale that shows rare mistakes."""
    totals = counts.sum(axis=1, keepdims=True)
    share = 100 * counts / np.maximum(totals, 1)
    norm = PowerNorm(1 if names else 0.5, vmin=0, vmax=100)
    image = ax.imshow(share, cmap=SEQUENTIAL, norm=norm, interpolation="nearest")
    ax.set(xlabel="predicted class", ylabel="true class")
    if not names:
        ax.set(xticks=[], yticks=[])
        return image
    _name_axes(ax, names, names)
    ax.tick_params(axis="x", rotation=0 if max(map(len, names)) <= SHORT_NAME else 90)
    size = 9 if len(names) <= FEW_CLASSES else 7.5
    for (row, column), number in np.ndenumerate(counts):
        if number:  # an empty cell is easier to read than a 0
            percent = share[row, column]
            text = f"{number}\n{'<1%' if percent < 0.5 else f'{percent:.0f}%'}"
            _write(ax, image, row, column, text, size=size)
    return image


def _name_axes(ax: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _write(ax: Axes, image: AxesImage, row: int, column: int, text: str, *, size: float) -> None:
    """Writes into a cell, in black or white, whichever can be read on its colour."""
    value = np.asarray(image.get_array())[row, column]
    red, green, blue, _ = image.cmap(image.norm(value))
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    colour = "white" if luminance < 0.5 else "black"
    ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
