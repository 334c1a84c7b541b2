"""The style of all figures: colours, fonts, class names as labels, and the bytes of the file."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager, ft2font
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from blurjax.analysis.types import Point

WIDTH = 10.0
"""Inches of a figure as wide as the page, which shows an inch as 96 pixels (10 pt as 13)."""
DPI = 160
MOST_PIXELS = 2**15 - 1
"""Of a side: what browsers show; a figure with a row for each of very many recipes has fewer DPI."""

SEQUENTIAL = "Blues"
LONGEST_NAME = 16
"""Characters of a class name; longer names are cut off."""
LONGEST_RUN = 40
"""Characters of the label of a run or point."""

STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures are alike on all machines
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "lines.markersize": 3.5,
    "text.parse_math": False,  # a class may be called $5
    "savefig.facecolor": "white",
}


@contextlib.contextmanager
def figure_style() -> Iterator[None]:
    """Sets the style of all figures, whatever the user's own settings of matplotlib are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure of this size in inches; its layout makes room for all labels."""
    dpi = min(DPI, MOST_PIXELS / max(width, height))
    return Figure(figsize=(width, height), dpi=dpi, layout="constrained")


def png(figure: Figure) -> bytes:
    """Returns the figure as a PNG file; equal figures give equal bytes."""
    file = io.BytesIO()
    with figure_style():
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def plain_numbers(axis: Axis) -> None:
    """Labels the major ticks of a logarithmic axis with numbers such as 0.01 or 8, and no others."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def legend_lines(axes: Iterable[Axes]) -> dict[str, Any]:
    """Returns label -> line of all panels, in the order in which they are met."""
    found: dict[str, Any] = {}
    for ax in axes:
        lines, labels = ax.get_legend_handles_labels()
        found |= dict(zip(labels, lines, strict=True))
    return found


def class_labels(
    names: Sequence[str], longest: int = LONGEST_NAME, kind: str = "class"
) -> list[str]:
    """Returns names of classes, or of another kind of thing, as figures can show them, all different.

    Long names are cut off; where they would then be the same, what they begin with in common goes.
    A name that the font cannot draw, or that even then cannot be told from others, becomes "class 3" for its
    number.
    """
    texts = [_drawable(name) for name in names]
    labels = [_cut(text, longest) for text in texts]
    for label in _repeated(labels):
        same = [number for number, other in enumerate(labels) if other == label]
        begin = len(os.path.commonprefix([texts[n] for n in same]))  # noqa: RUF071 (by characters)
        for number in same:
            labels[number] = _cut(f"…{texts[number][begin:]}", longest)
    while unclear := {"", *_repeated(labels)} & {*labels}:
        labels = [f"{kind} {n}" if label in unclear else label for n, label in enumerate(labels)]
    return labels


def run_labels(points: Sequence[Point]) -> list[str]:
    """Returns the "label" of each point of a comparison as figures can show it; "run 3" where they cannot."""
    return class_labels([point["label"] for point in points], LONGEST_RUN, kind="run")


def _repeated(labels: Sequence[str]) -> list[str]:
    return [label for label, times in Counter(labels).items() if times > 1 and label]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _drawable(name: str) -> str:
    """Returns a name on one line, without control characters; nothing if the font cannot draw it."""
    text = "".join(c for c in " ".join(name.split()) if unicodedata.category(c)[0] != "C")
    return text if _drawable_characters().issuperset(map(ord, text)) else ""


@functools.cache
def _drawable_characters() -> frozenset[int]:
    font = font_manager.findfont(STYLE["font.family"])
    return frozenset(ft2font.FT2Font(font).get_charmap())
