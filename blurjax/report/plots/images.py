"""Pictures of pictures: the same images in several views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from blurjax.analysis.formatting import count
from blurjax.report.plots.style import WIDTH, class_labels, in_order, new_figure, styled

PER_ROW = 10
"""Images side by side; more of them go into further blocks of rows."""
PER_ROW_OF_FLIPS = 6
LABELS = 1.0
"""Inches at the left for the names of the rows."""


Row = tuple[str, np.ndarray]
"""Its name and its images, u8[M,H,W,C]."""


@styled
def reconstructions(
    original: np.ndarray,
    painted: np.ndarray,
    bottlenecks: Sequence[int],
    labels: np.ndarray,
    class_names: Sequence[str],
) -> Figure:
    """Originals over their reconstructions from codes of several sizes.

    Args:
      original: u8[M,H,W,C], C 1 or 3.
      painted: u8[P,M,H,W,C], one row a bottleneck.
      bottlenecks: [P].
      labels: i32[M].
      class_names: [K].
    """
    rows = [("original", original)]
    rows += [
        (count(floats, "float"), images)
        for floats, images in zip(bottlenecks, painted, strict=True)
    ]
    return _grid(rows, _class_of_each(labels, class_names), PER_ROW)


@styled
def views(
    original: np.ndarray,
    seen: Mapping[str, np.ndarray],
    psnr: Mapping[str, float | None],
    labels: np.ndarray,
    class_names: Sequence[str],
) -> Figure:
    """The same few images in every view, and what the reconstruction leaves out.

    Args:
      original: u8[M,H,W,C], C 1 or 3; of more than fit side by side some are shown.
      seen: view -> u8[M,H,W,C].
      psnr: view -> dB on the test split.
      labels: i32[M].
      class_names: [K].
    """
    chosen = np.unique(np.linspace(0, len(original) - 1, PER_ROW).round().astype(int))
    rows = [("original", original[chosen])]
    for view in in_order(seen):
        decibels = psnr.get(view)
        name = view if decibels is None else f"{view}\n{decibels:.1f} dB"
        rows.append((name, seen[view][chosen]))
        if view == "reconstruction":
            rows.append(_difference(original[chosen], seen[view][chosen]))
    return _grid(rows, _class_of_each(labels[chosen], class_names), PER_ROW)


@styled
def flips(
    original: np.ndarray,
    painted: np.ndarray,
    counts: Sequence[int],
    labels: np.ndarray,
    class_names: Sequence[str],
) -> Figure:
    """The images whose answers change most often, in both versions.

    Args:
      original: u8[F,H,W,C], C 1 or 3.
      painted: u8[F,H,W,C].
      counts: i32[F], in how many trials correctness differs.
      labels: i32[F].
      class_names: [K].
    """
    titles = [
        f"{name}\n{count(trials, 'trial')}"
        for name, trials in zip(_class_of_each(labels, class_names), counts, strict=True)
    ]
    return _grid([("original", original), ("reconstruction", painted)], titles, PER_ROW_OF_FLIPS)


def _class_of_each(labels: np.ndarray, class_names: Sequence[str]) -> list[str]:
    names = class_labels(class_names, longest=11)
    return [names[label] for label in labels]


def _grid(rows: Sequence[Row], titles: Sequence[str], per_row: int) -> Figure:
    """Rows of images under titles; what does not fit side by side goes into further blocks of rows."""
    first = rows[0][1]
    blocks = [slice(start, start + per_row) for start in range(0, len(first), per_row)]
    columns = min(per_row, len(first))
    cell = min((WIDTH - LABELS) / columns, 1.6)
    aspect = first.shape[1] / first.shape[2]
    of_title = 0.2 * (1 + max(title.count("\n") for title in titles))
    height = (len(rows) * (cell * aspect + 0.08) + of_title + 0.15) * len(blocks)
    figure = new_figure(LABELS + 0.3 + cell * columns, height)
    axes = figure.subplots(len(rows) * len(blocks), 1, squeeze=False)[:, 0]
    lines = [(block, *row) for block in blocks for row in rows]
    for number, (ax, (block, name, images)) in enumerate(zip(axes, lines, strict=True)):
        _strip(ax, images[block], columns)
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
        if number % len(rows) == 0:
            _titles(ax, titles[block], aspect)
    return figure


def _difference(original: np.ndarray, painted: np.ndarray) -> Row:
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
