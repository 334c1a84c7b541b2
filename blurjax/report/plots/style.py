"""What all figures share: colours, fonts, class names as labels, and the bytes of the file."""

from __future__ import annotations

import functools
import io
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib import font_manager, ft2font
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

WIDTH = 10.0
"""Inches of a figure as wide as the page, which shows an inch on 96 pixels (10 pt on 13)."""
DPI = 160

# Okabe and Ito's palette, told apart by all common forms of colour vision.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#7F7F7F",
)
MAIN_VIEWS = ("original", "reconstruction", "crossfit", "mixed")
LOOKS = {
    "original": (BLUE, "-"),
    "reconstruction": (VERMILLION, "-"),
    "crossfit": (GREEN, "--"),
    "mixed": (ORANGE, "-"),
    "infold": (PURPLE, "-"),
    "blur": (SKY, "-"),
    "pca": (BLACK, "-."),
    "downsample": (GREY, "-"),
    "spectrum": (PURPLE, ":"),
    "identity": (BLUE, ":"),
    "reseeded": (BLUE, "--"),
    "shuffled": (GREY, ":"),
}
"""View -> colour and line, the same in all figures of all runs."""
SEQUENTIAL = "Blues"

LONGEST_NAME = 16

P = ParamSpec("P")
R = TypeVar("R")

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


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Runs a drawing function in the style of all figures, whatever the user's own settings are."""

    @functools.wraps(draw)
    def draw_in_style(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(STYLE)
            return draw(*args, **kwargs)

    return draw_in_style


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, whose parts will make room for each other."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


@styled
def png(figure: Figure) -> bytes:
    """The figure as a PNG file; equal figures give equal bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def width_in_pixels(figure: Figure) -> int:
    """How wide a page should show the figure for its text to be as large as it was meant."""
    return round(96 * figure.get_size_inches()[0])


def plain_numbers(axis: Axis) -> None:
    """Labels a logarithmic axis with numbers such as 0.01 or 8, at its major ticks alone."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def in_order(views: Iterable[str]) -> list[str]:
    """Views as figures and tables list them: what the question is about first, controls last."""
    order = list(LOOKS)
    return sorted(views, key=lambda view: order.index(view) if view in order else len(order))


def look(view: str) -> dict[str, Any]:
    """Colour and line style of a view, as matplotlib takes them."""
    colour, line = LOOKS.get(view, (BLACK, "-."))
    return {"color": colour, "linestyle": line}


def class_labels(names: Sequence[str], longest: int = LONGEST_NAME) -> list[str]:
    """Class names as figures can show them; a name that the font cannot draw becomes its number."""
    return [_label(k, name, longest) for k, name in enumerate(names)]


def _label(number: int, name: str, longest: int) -> str:
    text = "".join(c for c in " ".join(name.split()) if unicodedata.category(c)[0] != "C")
    if not text or not _characters().issuperset(map(ord, text)):
        return f"class {number}"
    return text if len(text) <= longest else text[: longest - 1] + "…"


@functools.cache
def _characters() -> frozenset[int]:
    font = font_manager.findfont(STYLE["font.family"])
    return frozenset(ft2font.FT2Font(font).get_charmap())
