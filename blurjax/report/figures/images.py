"""Figures of images: the same images in several views, and how much of each frequency a view keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from blurjax.analysis.formatting import count
from blurjax.config.view_table import VIEWS
from blurjax.report.figures.registry import Drawing, FigureData, figure
from blurjax.report.figures.style import WIDTH, class_labels, new_figure, plain_numbers
from blurjax.report.view_display import line_style, main_first

PER_ROW = 10
"""Images side by side; more of them go into further blocks of rows."""
FLIPS_PER_ROW = 6
LABELS = 1.0
"""Inches at the left for the names of the rows."""
GAP = 0.06
"""Room between two images, in widths of an image."""


class Row(NamedTuple):
    """Images side by side."""

    name: str
    images: np.ndarray
    """u8[M,H,W,C], C 1 or 3."""
    below: Sequence[str] = ()
    """A text under each image."""


@figure("Images and their reconstructions", anchor="views", per="run")
def reconstructions(data: FigureData) -> Drawing | None:
    """Test images in a row, and below each its reconstructions, one row per size of the code."""
    gallery = data.gallery
    if gallery is None or len(gallery["bottleneck"]) < 2:
        return None
    rebuilt = gallery["views"][:, gallery["view_names"].tolist().index("reconstruction")]
    names = [count(floats, "float") for floats in gallery["bottleneck"].tolist()]
    rows = [Row("original", gallery["original"]), *map(Row, names, rebuilt)]
    drawn = _grid(rows, _titles(data, gallery["label"]), PER_ROW)
    caption = (
        "Test images, and below them their reconstructions by the first trial's autoencoders, whose codes "
        "have as many floats as stand at the left."
    )
    return Drawing(drawn, caption)


@figure("The same images in every view", anchor="views", per="bottleneck")
def views(data: FigureData) -> Drawing | None:
    """The same test images in every view, one row per view, and the difference of original and reconstruction."""
    gallery = data.gallery
    if gallery is None:
        return None
    of_bottleneck = np.flatnonzero(gallery["bottleneck"] == data.point["values"]["bottleneck"])
    if not of_bottleneck.size:
        return None
    in_view = dict(
        zip(gallery["view_names"].tolist(), gallery["views"][of_bottleneck[0]], strict=True)
    )
    original = gallery["original"]
    chosen = np.unique(np.linspace(0, len(original) - 1, PER_ROW).round().astype(int))
    rows = [Row("original", original[chosen])]
    quality = data.point["quality"]
    for view in main_first(in_view):
        decibels = quality[view]["psnr"]["test"]["mean"] if view in quality else None
        name = view if decibels is None else f"{view}\n{decibels:.1f} dB"
        rows.append(Row(name, in_view[view][chosen]))
        if view == "reconstruction":
            rows.append(_difference(original[chosen], in_view[view][chosen]))
    drawn = _grid(rows, _titles(data, gallery["label"][chosen]), PER_ROW)
    caption = (
        "Test images under their classes, in the views of the first trial. The dB are the PSNR of each view over the "
        "whole test set: the higher, the closer to the original."
    )
    difference = next((row.name for row in rows if row.name.startswith("difference")), None)
    if difference is not None:
        caption += " The difference is that between original and reconstruction, without its sign"
        caption += ", times the factor beside it." if "×" in difference else "."
    return Drawing(drawn, caption)


@figure("Images whose answers change most often", anchor="evaluation")
def flips(data: FigureData) -> Drawing | None:
    """Pairs of test images, the original above the reconstruction, each with the answer to it, under the true class."""
    flips = data.flips
    if flips is None or not data.point["flips"]:
        return None
    row = np.flatnonzero(flips["bottleneck"] == data.point["values"]["bottleneck"])[0]
    found, trials = data.point["flips"], len(data.point["trials"])
    titles = [
        f"truth: {name}\nchanges in {times} of {trials}"
        for name, times in zip(_titles(data, flips["label"][row]), found["count"], strict=True)
    ]
    rows = []
    for view in ("original", "reconstruction"):
        answers = _titles(data, np.array(found[f"{view}_answer"]))
        votes = found[f"{view}_votes"]
        below = [f"{a} ({n} of {trials})" for a, n in zip(answers, votes, strict=True)]
        rows.append(Row(view, flips[view][row], below))
    caption = (
        "Above: the true class, and in how many trials one of two classifiers is right about the image and the other "
        "wrong: that trained and tested on originals, and that trained and tested on reconstructions. Under each "
        "image: the answer that most trials give to it, and how many of them. Reconstructions are those of the first "
        "trial. The images were picked for changing, so they do not show how often images change."
    )
    return Drawing(_grid(rows, titles, FLIPS_PER_ROW), caption)


@figure("Which frequencies are left", anchor="quality", per="bottleneck")
def spectra(data: FigureData) -> Drawing | None:
    """Power against spatial frequency on logarithmic axes, one line per view."""
    power = data.point["spectra"]
    if len(power) < 2:
        return None
    drawn = new_figure(7.5, 4.2)
    ax = drawn.subplots()
    for view in main_first(power):
        values = np.array(power[view], float)[1:]  # radius 0 is the mean, which is taken out
        radii, shown = np.arange(1, len(values) + 1), np.where(values > 0, values, np.nan)
        width = 2.4 if VIEWS[view].main else 1.4
        ax.plot(radii, shown, label=view, linewidth=width, **line_style(view))
    ax.set(xscale="log", yscale="log")
    ax.set(xlabel="spatial frequency (cycles per shorter side)", ylabel="mean power")
    ax.xaxis.set_major_locator(LogLocator(base=2))
    for axis in (ax.xaxis, ax.yaxis):
        plain_numbers(axis)
    ax.grid(visible=True)
    drawn.legend(loc="outside right center")
    caption = (
        "Radial power spectrum of the test images in each view, mean over images and trials: coarse "
        "structure at the left, fine detail at the right. Where a line lies below the original's, the view "
        "has lost detail of that size."
    )
    return Drawing(drawn, caption)


def _titles(data: FigureData, labels: np.ndarray) -> list[str]:
    return np.array(class_labels(data.class_names, longest=11))[labels].tolist()


def _difference(original: np.ndarray, rebuilt: np.ndarray) -> Row:
    """The absolute difference, u8, brightened by a whole number, which its name states."""
    difference = np.abs(original.astype(np.int32) - rebuilt)
    factor = max(1, 255 // max(1, int(difference.max())))
    name = "difference" if factor == 1 else f"difference\n× {factor}"
    return Row(name, (difference * factor).astype(np.uint8))


def _grid(rows: Sequence[Row], titles: Sequence[str], per_row: int) -> Figure:
    """Rows of images under titles; images that do not fit side by side form further blocks of rows."""
    first = rows[0].images
    blocks = [slice(start, start + per_row) for start in range(0, len(first), per_row)]
    columns = min(per_row, len(first))
    cell = min((WIDTH - LABELS) / columns, 1.6)
    aspect = first.shape[1] / first.shape[2]
    title_height = 0.2 * (1 + max(title.count("\n") for title in titles))
    texts = 0.2 * sum(bool(row.below) for row in rows)
    height = (len(rows) * (cell * aspect + 0.08) + texts + title_height + 0.15) * len(blocks)
    drawn = new_figure(LABELS + 0.3 + cell * columns, height)
    axes = drawn.subplots(len(rows) * len(blocks), 1, squeeze=False)[:, 0]
    lines = [(block, row) for block in blocks for row in rows]
    for number, (ax, (block, row)) in enumerate(zip(axes, lines, strict=True)):
        _strip(ax, row.images[block], columns)
        _write_at(ax, row.images, titles[block] if number % len(rows) == 0 else [], above=True)
        _write_at(ax, row.images, row.below[block], above=False)
        ax.set_ylabel(row.name, rotation=0, ha="right", va="center")
    return drawn


def _strip(ax: Axes, images: np.ndarray, columns: int) -> None:
    """Draws images side by side with a little room between them."""
    _, height, width, channels = images.shape
    aspect = height / width
    for i, image in enumerate(images):
        extent = (i * (1 + GAP), i * (1 + GAP) + 1, 0, aspect)
        shown = image[..., 0] if channels == 1 else image
        ax.imshow(shown, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="nearest")
    ax.set(xlim=(0, columns * (1 + GAP) - GAP), ylim=(0, aspect), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _write_at(ax: Axes, images: np.ndarray, texts: Sequence[str], *, above: bool) -> None:
    """Writes a text above or below each image."""
    for i, text in enumerate(texts):
        ax.annotate(
            text,
            (i * (1 + GAP) + 0.5, images.shape[1] / images.shape[2] if above else 0),
            xytext=(0, 3 if above else -3),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            fontsize=9,
            annotation_clip=False,
        )
