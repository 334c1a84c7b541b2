"""Pictures of pictures: originals over their reconstructions over the difference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from blurjax.plots.style import WIDTH, class_labels, new_figure, styled

PER_ROW = 10
"""Images side by side; more of them go into further blocks of rows."""
LABELS = 1.0
"""Inches at the left for the names of the rows."""


@styled
def reconstructions(
    original: np.ndarray,
    painted: np.ndarray,
    bottlenecks: Sequence[int],
    labels: np.ndarray,
    class_names: Sequence[str],
) -> Figure:
    """Originals over their reconstructions.

    Below them, where there is one bottleneck, the absolute difference.

    Args:
      original: u8[M,H,W,C], C 1 or 3.
      painted: u8[P,M,H,W,C], one row a bottleneck.
      bottlenecks: [P].
      labels: i32[M].
      class_names: [K].
    """
    rows = [("original", original)]
    if len(bottlenecks) == 1:
        rows += [("reconstruction", painted[0]), _difference(original, painted[0])]
    else:
        rows += [
            (f"{floats} floats", images)
            for floats, images in zip(bottlenecks, painted, strict=True)
        ]
    titles = [class_labels(class_names, longest=11)[label] for label in labels]
    blocks = [slice(start, start + PER_ROW) for start in range(0, len(original), PER_ROW)]
    columns = min(PER_ROW, len(original))
    cell = min((WIDTH - LABELS) / columns, 1.6)
    aspect = original.shape[1] / original.shape[2]
    height = (len(rows) * (cell * aspect + 0.08) + 0.35) * len(blocks)
    figure = new_figure(LABELS + 0.3 + cell * columns, height)
    axes = figure.subplots(len(rows) * len(blocks), 1, squeeze=False)[:, 0]
    lines = [(block, *row) for block in blocks for row in rows]
    for ax, (block, name, images) in zip(axes, lines, strict=True):
        _strip(ax, images[block], columns)
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
        if name == "original":
            _titles(ax, titles[block], aspect)
    return figure


def _difference(original: np.ndarray, painted: np.ndarray) -> tuple[str, np.ndarray]:
    """(name of the row, u8 images): brightened by a whole number, which the name states."""
    difference = np.abs(original.astype(np.int32) - painted)
    factor = max(1, 255 // max(1, int(difference.max())))
    name = "difference" if factor == 1 else f"difference\n× {factor}"
    return name, (difference * factor).astype(np.uint8)


def _strip(ax: Axes, images: np.ndarray, columns: int) -> None:
    """Images side by side, with a little room between them."""
    _, height, width, channels = images.shape
    gap = 0.06
    for i, image in enumerate(images):
        extent = (i * (1 + gap), i * (1 + gap) + 1, 0, height / width)
        shown = image[..., 0] if channels == 1 else image
        ax.imshow(shown, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="nearest")
    ax.set(xlim=(0, columns * (1 + gap) - gap), ylim=(0, height / width), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _titles(ax: Axes, titles: Sequence[str], aspect: float) -> None:
    for i, title in enumerate(titles):
        position = (i * 1.06 + 0.5, aspect)
        ax.annotate(
            title,
            position,
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=9,
            annotation_clip=False,
        )
