"""Where accuracy goes: the totals split into their causes, and the change of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from blurjax.analysis.comparisons import ORIGINAL, RECONSTRUCTION, TRANSFERRED
from blurjax.report.plots.style import BLACK, BLUE, VERMILLION, class_labels, new_figure, styled

MOST_CLASSES = 30
"""Of more classes those that change most are shown."""

Point = Mapping[str, Any]
Estimate = Mapping[str, Any]


class _Level(NamedTuple):
    """An accuracy between two steps."""

    name: str
    cell: Estimate


class _Step(NamedTuple):
    """What is lost from one level to the next; positive = cost."""

    name: str
    term: Estimate


STEPS = {
    "information": "information",
    "leakage": "leakage",
    "on_reconstructions": "information\nand leakage",
    "on_originals": "all causes",
    "test_view": "test view",
}


@styled
def causes(point: Point) -> Figure:
    """From acc(original→original) step by step to acc(reconstruction→original), with intervals."""
    parts = waterfall(point)
    figure = new_figure(max(1.55 * len(parts), 5), 4.4)
    ax = figure.subplots()
    height = 100 * next(part.cell["mean"] for part in parts if isinstance(part, _Level))
    for x, part in enumerate(parts):
        if isinstance(part, _Level):
            height = 100 * part.cell["mean"]
            _draw_level(ax, x, part.cell)
        else:
            _draw_step(ax, x, part.term, height)
            height -= 100 * part.term["mean"]
        if x + 1 < len(parts):  # to the next part, at the height it begins from
            ax.plot([x + 0.3, x + 0.7], [height, height], color=BLACK, linewidth=0.8)
    ax.set_xticks(range(len(parts)), [part.name for part in parts])
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel("accuracy (%)")
    ax.set_xlim(-0.6, len(parts) - 0.4)
    ax.margins(y=0.12)
    ax.grid(visible=True, axis="y")
    return figure


def waterfall(point: Point) -> list[_Level | _Step]:
    """The levels and steps that the run can fill, in order; two levels at least, or none."""
    terms = point["decomposition"]

    def level(train: str, test: str) -> _Level:
        return _Level(f"{train}\n→ {test}", point["accuracy"][train][test])

    def steps(*names: str) -> list[_Step]:
        return [_Step(STEPS[name], terms[name]) for name in names]

    to_painted = "information", "leakage"
    if "on_reconstructions" in terms:
        names = to_painted if "information" in terms else ("on_reconstructions",)
        parts: list[_Level | _Step] = [level(*ORIGINAL), *steps(*names), level(*RECONSTRUCTION)]
    elif "on_originals" in terms:
        return [level(*ORIGINAL), *steps("on_originals"), level(*TRANSFERRED)]
    elif "test_view" in terms:
        parts = [level(*RECONSTRUCTION)]
    else:
        return []
    if "test_view" in terms:
        parts += [*steps("test_view"), level(*TRANSFERRED)]
    return parts


def _draw_level(ax: Axes, x: int, cell: Estimate) -> None:
    mean, (low, high) = 100 * cell["mean"], 100 * np.array(cell["interval"])
    ax.plot([x - 0.3, x + 0.3], [mean, mean], color=BLACK, linewidth=3, solid_capstyle="butt")
    ax.vlines(x, low, high, color=BLACK, linewidth=1.2)
    _write(ax, x, high, f"{mean:.1f}%\n{low:.1f} to {high:.1f}")


def _draw_step(ax: Axes, x: int, term: Estimate, start: float) -> None:
    cost, (low, high) = 100 * term["mean"], 100 * np.array(term["interval"])
    colour = VERMILLION if cost > 0 else BLUE
    ax.bar(x, -cost, width=0.6, bottom=start, color=colour, alpha=0.75)
    ax.vlines(x, start - high, start - low, color=BLACK, linewidth=1.2)
    # Of an accuracy, what costs is a minus.
    text = f"{-cost:+.1f}\n{-high:+.1f} to {-low:+.1f}".replace("-", "−")
    _write(ax, x, max(start, start - low), text)


def _write(ax: Axes, x: float, y: float, text: str) -> None:
    ax.annotate(
        text,
        (x, y),
        xytext=(0, 5),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=9,
    )


@styled
def per_class(point: Point, class_names: Sequence[str]) -> Figure:
    """How the recall of each class changes, sorted, with intervals over trials where there are any."""
    change = point["per_class_change"]
    mean = 100 * np.array(change["mean"])
    shown = np.sort(np.argsort(-np.abs(mean), kind="stable")[:MOST_CLASSES])
    shown = shown[np.argsort(-mean[shown], kind="stable")]
    labels = class_labels(class_names)
    figure = new_figure(7, 1.0 + 0.28 * len(shown))
    ax = figure.subplots()
    for row, k in enumerate(shown):
        colour = BLUE if mean[k] >= 0 else VERMILLION
        ax.barh(row, mean[k], height=0.6, color=colour, alpha=0.75)
        if change["interval_trials"] is not None:
            low, high = 100 * np.array(change["interval_trials"][k])
            ax.hlines(row, low, high, color=BLACK, linewidth=1.2)
    ax.axvline(0, color=BLACK, linewidth=0.8)
    ax.set_yticks(range(len(shown)), [labels[k] for k in shown])
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=True, axis="x")
    ax.set_xlabel("change of recall (points): reconstruction minus original")
    return figure
