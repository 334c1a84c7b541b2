"""Figures of accuracy: lost to which cause, in which class, at which bottleneck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator

from blurjax.analysis.contrasts import ORIGINAL, PRIMARY, RECONSTRUCTION, TRANSFERRED
from blurjax.analysis.formatting import count, signed, signed_span
from blurjax.analysis.types import Cell
from blurjax.config.view_table import BLACK, BLUE, VERMILLION, VIEWS
from blurjax.report.figures.registry import Drawing, FigureData, figure
from blurjax.report.figures.style import (
    WIDTH,
    class_labels,
    legend_lines,
    new_figure,
    plain_numbers,
)
from blurjax.report.point_names import recipe_name
from blurjax.report.view_display import line_style, main_first

MOST_CLASSES = 30
"""Of more classes those that change most are shown."""
APART = 1.03
"""The factor by which the lines of different views stand beside each other, so that bars do not overlap."""
TOTAL_LABELS = {PRIMARY: "information\nand leakage", "on_originals": "all causes"}

Entry = Mapping[str, Any]


@figure("Where the accuracy goes", anchor="causes")
def causes(data: FigureData) -> Drawing | None:
    """Waterfall from accuracy on originals to accuracy on reconstructions; the same numbers are in the tables."""
    parts = waterfall(data.point["decomposition"])
    if not parts:
        return None
    drawn = new_figure(max(1.55 * len(parts), 5), 4.4)
    ax, height, names = drawn.subplots(), 0.0, []
    for x, part in enumerate(parts):
        if isinstance(part, tuple):
            train, test = part
            names.append(f"{train}\n→ {test}")
            height = _draw_accuracy(ax, x, data.point["accuracy"][train][test])
        else:
            names.append(TOTAL_LABELS.get(part, part.replace("_", " ")))
            height = _draw_cost(ax, x, data.point["decomposition"][part], height)
        if x + 1 < len(parts):  # to the next part, at the height where that begins
            ax.plot([x + 0.3, x + 0.7], [height, height], color=BLACK, linewidth=0.8)
    ax.set_xticks(range(len(parts)), names)
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel("accuracy (%)")
    ax.set_xlim(-0.6, len(parts) - 0.4)
    ax.margins(y=0.12)
    ax.grid(visible=True, axis="y")
    terms = [data.point["decomposition"][part] for part in parts if isinstance(part, str)]
    gains = ", negative = gained (blue)" if any(term["mean"] <= 0 for term in terms) else ""
    caption = (
        "Thick lines are accuracies (trained on → tested on). Bars are the points of accuracy that each cause costs, "
        f"with the signs of the table below: positive = lost (orange){gains}. Thin lines are {data.level} intervals; "
        "that of a bar is drawn around the accuracy that it leads to."
    )
    return Drawing(drawn, caption)


def waterfall(decomposition: Mapping[str, Any]) -> list[Cell | str]:
    """Returns the cells and the terms between them that the run can fill, in order; two cells at least, or none."""
    if PRIMARY in decomposition:
        known = "information" in decomposition
        terms = ["information", "leakage"] if known else [PRIMARY]
        parts: list[Cell | str] = [ORIGINAL, *terms, RECONSTRUCTION]
    elif "on_originals" in decomposition:
        return [ORIGINAL, "on_originals", TRANSFERRED]
    else:
        parts = [RECONSTRUCTION] if "test_view" in decomposition else []
    if "test_view" in decomposition:
        parts += ["test_view", TRANSFERRED]
    return parts


def _draw_accuracy(ax: Axes, x: int, cell: Entry) -> float:
    """Draws an accuracy with its interval, and returns it in percent."""
    mean, (low, high) = 100 * cell["mean"], 100 * np.array(cell["interval"])
    ax.plot([x - 0.3, x + 0.3], [mean, mean], color=BLACK, linewidth=3, solid_capstyle="butt")
    ax.vlines(x, low, high, color=BLACK, linewidth=1.2)
    _write_above(ax, x, high, f"{mean:.1f}%\n{low:.1f} to {high:.1f}")
    return mean


def _draw_cost(ax: Axes, x: int, term: Entry, start: float) -> float:
    """Draws what a cause takes away from the accuracy `start`, and returns what is left, in percent."""
    cost, (low, high) = 100 * term["mean"], 100 * np.array(term["interval"])
    ax.bar(x, -cost, width=0.6, bottom=start, color=VERMILLION if cost > 0 else BLUE, alpha=0.75)
    ax.vlines(x, start - high, start - low, color=BLACK, linewidth=1.2)
    text = f"{signed(term['mean'])}\n{signed_span(term['interval'])}"
    _write_above(ax, x, max(start, start - low), text)
    return start - cost


def _write_above(ax: Axes, x: float, y: float, text: str) -> None:
    place: Any = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "va": "bottom"}
    ax.annotate(text, (x, y), fontsize=9, **place)


@figure("Which classes change", anchor="evaluation")
def per_class(data: FigureData) -> Drawing | None:
    """Bars of the recall lost, one per class, sorted; the recalls are in the tables below."""
    change = data.point["per_class_change"]
    if not change:
        return None
    mean = -100 * np.array(change["mean"])  # in results.json positive is a gain
    shown = np.sort(np.argsort(-np.abs(mean), kind="stable")[:MOST_CLASSES])
    shown = shown[np.argsort(-mean[shown], kind="stable")]
    labels = class_labels(data.class_names)
    drawn = new_figure(7, 1.0 + 0.28 * len(shown))
    ax = drawn.subplots()
    for row, k in enumerate(shown):
        colour = VERMILLION if mean[k] > 0 else BLUE
        ax.barh(row, mean[k], height=0.6, color=colour, alpha=0.75)
        if change["interval_trials"] is not None:
            low, high = -100 * np.array(change["interval_trials"][k])
            ax.hlines(row, low, high, color=BLACK, linewidth=1.2)
    ax.axvline(0, color=BLACK, linewidth=0.8)
    ax.set_yticks(range(len(shown)), [labels[k] for k in shown])
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=True, axis="x")
    ax.set_xlabel("recall lost (points): original minus reconstruction")
    caption = (
        "Recall (the share of a class's images that are recognised) when trained and tested on originals, minus that "
        "when trained and tested on reconstructions: positive = lost. Thin lines "
        f"are {data.level} intervals over trials, not corrected for the number of classes"
        + ("; shown are the classes that change most." if len(shown) < len(mean) else ".")
    )
    return Drawing(drawn, caption)


@figure("Accuracy against floats kept", anchor="curves", per="run")
def sweep(data: FigureData) -> Drawing | None:
    """Accuracy of the classifiers and PSNR of the images against the bottleneck, one line per view."""
    curves = [curve for curve in data.results["curves"] if len(curve["bottleneck"]) > 1]
    if not curves:
        return None
    drawn = new_figure(WIDTH, 4.0 * len(curves) + 0.5)
    axes = drawn.subplots(len(curves), 2, width_ratios=[3, 2], squeeze=False)
    for (left, right), curve in zip(axes, curves, strict=True):
        _accuracies(left, curve)
        for view in main_first(curve["psnr"]):
            values = np.array(curve["psnr"][view], float)
            width = 2.2 if VIEWS[view].main else 1.1
            style = line_style(view) | {"linewidth": width, "marker": "o", "label": view}
            right.plot(curve["bottleneck"], values, **style)
        right.set_ylabel("PSNR on test (dB)")
        for ax in (left, right):
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_locator(FixedLocator(curve["bottleneck"]))
            plain_numbers(ax.xaxis)
            ax.set_xlabel("floats kept (bottleneck)")
            ax.grid(visible=True, axis="y")
        several = len(curves) > 1
        left.set_title(recipe_name(curve) if several else "accuracy of the classifiers")
        right.set_title("likeness of the images to the originals")
    # A view that is tested on and not trained on has a line on the right alone.
    lines = legend_lines(axes[0][::-1])
    views = main_first(lines)
    drawn.legend(
        [lines[v] for v in views], views, title="view", ncols=5, loc="outside upper center"
    )
    caption = (
        "Left: accuracy of each view's classifiers, tested on their own view (or on the one that the list of "
        f"views names instead), with {data.level} intervals that are not corrected for their number; lines are "
        "shifted sideways a little so that the intervals can be seen. Right: PSNR of each view on the test images."
    )
    return Drawing(drawn, caption)


def draw_means(
    ax: Axes, x: Sequence[float], views: Mapping[str, Entry], width: float | None = None
) -> None:
    """Draws the "mean" [X] and "interval" [X,2] of each view in percent over a logarithmic axis, side by side.

    Without a width, the lines of main views are wider than others.
    """
    for number, (view, entry) in enumerate(views.items()):
        apart = np.array(x) * APART ** (number - (len(views) - 1) / 2)
        low, high = 100 * np.array(entry["interval"]).T
        mean, style = 100 * np.array(entry["mean"]), line_style(view)
        wide = width or (2.2 if VIEWS[view].main else 1.1)
        ax.plot(apart, mean, marker="o", label=view, linewidth=wide, **style)
        ax.vlines(apart, low, high, color=style["color"], linewidth=0.6 * wide)


def _accuracies(ax: Axes, curve: Entry) -> None:
    views = main_first(view for view in curve["accuracy"] if not VIEWS[view].check)
    draw_means(ax, curve["bottleneck"], {view: curve["accuracy"][view] for view in views})
    ax.set_ylabel("accuracy, own view (%)")
    smallest = curve["smallest_equivalent"]
    if smallest is not None:
        ax.axvline(smallest, color=BLACK, linestyle=":", linewidth=1.2)
        # On the side with more room.
        side = 1 if smallest**2 <= min(curve["bottleneck"]) * max(curve["bottleneck"]) else -1
        ax.annotate(
            f"smallest equivalent\nto original: {count(smallest, 'float')}",
            (smallest, 0.03),
            xycoords=ax.get_xaxis_transform(),
            xytext=(6 * side, 0),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            fontsize=9,
        )
