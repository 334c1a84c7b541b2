"""Lines: learning curves, the first experiment's figure, accuracy against the size of the code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from blurjax.plots.style import (
    BLACK,
    BLUE,
    VERMILLION,
    WIDTH,
    new_figure,
    styled,
    view_colour,
)

LINE_STYLES = ("-", "--", "-.", ":")
FEW_EPOCHS = 15
"""Up to here every epoch gets a marker, so that even a single one can be seen."""
WIDE_RANGE = 20
"""Losses that span more than this factor are drawn on a logarithmic axis."""

Point = Mapping[str, Any]
History = Mapping[str, Any]


@styled
def curves(point: Point) -> Figure:
    """Accuracy and loss of the classifiers on train and validation.

    Lines are means over trials, bands reach from the lowest trial to the highest.
    """
    history = point["history"]["classifier"]
    views = list(history)
    figure = new_figure(WIDTH, 6.4)
    axes = figure.subplots(2, 2, sharex=True, sharey="row")
    for row, (measure, label) in enumerate(
        [("accuracy", "accuracy (%)"), ("loss", "cross-entropy (nats)")]
    ):
        for column, side in enumerate(("train", "validation")):
            ax = axes[row, column]
            ax.set_title(f"{measure} on {side}")
            for view in views:
                _band(ax, history[view], side, measure, view_colour(view, views), label=view)
        axes[row, 0].set_ylabel(label)
        if measure == "loss":
            _scale_losses(axes[row, 0], [history[view] for view in views])
    for ax in axes.flat:
        _epoch_axis(ax, is_bottom=ax in axes[-1])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, title="trained on", ncols=len(views), loc="outside upper center")
    return figure


@styled
def autoencoder(point: Point) -> Figure:
    """The autoencoder's loss on train and validation."""
    history = point["history"]["autoencoder"]
    figure = new_figure(6.5, 3.4)
    ax = figure.subplots()
    for side, colour in (("train", BLUE), ("validation", VERMILLION)):
        _band(ax, history, side, "loss", colour, label=side)
    _scale_losses(ax, [history])
    _epoch_axis(ax, is_bottom=True)
    ax.set_ylabel("mean squared error")
    ax.legend()
    return figure


@styled
def first_experiment(point: Point) -> Figure:
    """The first experiment's figure redone: validation left behind, and on which images?"""
    panels = _first_experiment_panels(point["history"]["classifier"])
    figure = new_figure(WIDTH * (1 + len(panels)) / 4, 3.6)
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    for ax, (title, history, side) in zip(axes, panels, strict=True):
        ax.set_title(title)
        _band(ax, history, "train", "accuracy", BLUE)
        _band(ax, history, side, "accuracy", VERMILLION)
        _epoch_axis(ax, is_bottom=True)
    axes[0].set_ylabel("accuracy (%)")
    for ax, (_, history, side) in zip(axes, panels, strict=True):
        ends = [("train", "train", BLUE), ("validation", side, VERMILLION)]
        _label_ends(ax, [(name, _mean(history, key)[-1], colour) for name, key, colour in ends])
    return figure


def _first_experiment_panels(history: Mapping[str, History]) -> list[tuple[str, History, str]]:
    """(title, curves, the validation side) of each panel that the run can fill."""
    panels = []
    if "reconstruction" in history:
        painted = history["reconstruction"]
        title = "trained on reconstructions,\nvalidated on reconstructions"
        panels.append((title, painted, "validation"))
        if "validation_original" in painted:
            title = "trained on reconstructions,\nvalidated on originals"
            panels.append((title, painted, "validation_original"))
    if "original" in history:
        title = "trained on originals,\nvalidated on originals"
        panels.append((title, history["original"], "validation"))
    return panels


@styled
def sweep(points: Sequence[Point], views: Mapping[str, Sequence[str]]) -> Figure:
    """Accuracy of each view's classifier on its own view, and PSNR, against the floats kept.

    Args:
      points: those with trials left; a line joins points that differ in the bottleneck alone.
      views: `views` of results.json.
    """
    lines: dict[tuple[float, float], list[Point]] = {}
    for point in points:
        values = point["values"]
        lines.setdefault((values["learning_rate"], values["weight_decay"]), []).append(point)
    figure = new_figure(WIDTH, 4.0)
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    own = [view for view in views["train"] if view in views["test"]]
    for number, (recipe, line) in enumerate(lines.items()):
        style = LINE_STYLES[number % len(LINE_STYLES)]
        line = sorted(line, key=lambda point: point["values"]["bottleneck"])
        suffix = f", lr {recipe[0]:g}, decay {recipe[1]:g}" if len(lines) > 1 else ""
        for view in own:
            cells = [point["accuracy"][view][view] for point in line]
            colour = view_colour(view, views["train"])
            _with_intervals(left, line, cells, colour, style, f"{view}{suffix}")
    _psnr_line(right, next(iter(lines.values())))
    for ax in (left, right):
        _bottleneck_axis(ax, points)
    left.set_ylabel("accuracy, own view (%)")
    left.set_title("what a classifier learns")
    right.set_ylabel("PSNR on test (dB)")
    right.set_title("how well images are reconstructed")
    figure.legend(ncols=min(len(own) * len(lines), 3), loc="outside upper center")
    return figure


def _with_intervals(
    ax: Axes,
    points: Sequence[Point],
    cells: Sequence[Mapping[str, Any]],
    colour: str,
    style: str,
    label: str,
) -> None:
    floats = [point["values"]["bottleneck"] for point in points]
    mean = 100 * np.array([cell["mean"] for cell in cells])
    low, high = 100 * np.array([cell["interval"] for cell in cells]).T
    ax.plot(floats, mean, style, marker="o", color=colour, label=label)
    ax.vlines(floats, low, high, color=colour, linewidth=1.2)


def _psnr_line(ax: Axes, points: Sequence[Point]) -> None:
    points = sorted(points, key=lambda point: point["values"]["bottleneck"])
    points = [point for point in points if "test" in point["reconstruction"]["psnr"]]
    psnr = [point["reconstruction"]["psnr"]["test"] for point in points]
    trials = [np.array(entry["per_trial"], float) for entry in psnr]
    floats = [point["values"]["bottleneck"] for point in points]
    ax.plot(floats, [values.mean() for values in trials], "-o", color=BLACK)
    ax.vlines(floats, [t.min() for t in trials], [t.max() for t in trials], color=BLACK)


def _bottleneck_axis(ax: Axes, points: Sequence[Point]) -> None:
    floats = sorted({point["values"]["bottleneck"] for point in points})
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(floats))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlabel("floats kept (bottleneck)")
    ax.grid(visible=True, axis="y")


def _values(history: History, side: str, measure: str) -> np.ndarray:
    """[E,T], accuracies in percent; null becomes NaN."""
    values = np.array(history[side][measure], dtype=float)
    return 100 * values if measure == "accuracy" else values


def _mean(history: History, side: str) -> np.ndarray:
    return _values(history, side, "accuracy").mean(axis=1)


def _band(
    ax: Axes, history: History, side: str, measure: str, colour: str, label: str | None = None
) -> None:
    """The mean over trials, and a band from the lowest trial to the highest."""
    epochs, values = history["epoch"], _values(history, side, measure)
    marker = "o" if len(epochs) <= FEW_EPOCHS else None
    ax.plot(epochs, values.mean(axis=1), color=colour, label=label, marker=marker)
    if values.shape[1] > 1:
        low, high = values.min(axis=1), values.max(axis=1)
        ax.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0)


def _epoch_axis(ax: Axes, *, is_bottom: bool) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(visible=True, axis="y")
    if is_bottom:
        ax.set_xlabel("epoch")


def _scale_losses(ax: Axes, histories: Sequence[History]) -> None:
    sides = ("train", "validation")
    values = np.concatenate([_values(h, side, "loss").ravel() for h in histories for side in sides])
    if values.min() > 0 and values.max() > WIDE_RANGE * values.min():
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(NullLocator())


def _label_ends(ax: Axes, ends: Sequence[tuple[str, float, str]]) -> None:
    """Writes the name and last value (%) of two lines beside their ends, apart from each other."""
    bottom, top = ax.get_ylim()
    room = 0.14 * (top - bottom)
    (_, low, _), (_, high, _) = ends = sorted(ends, key=lambda end: end[1])
    apart = max(0, room - (high - low)) / 2
    high = min(high + apart, top - room / 2)
    low = min(low - apart, high - room)
    for (name, value, colour), height in zip(ends, (low, high), strict=True):
        ax.annotate(
            f"{name}\n{value:.1f}%",
            (1.02, height),
            xycoords=ax.get_yaxis_transform(),
            color=colour,
            va="center",
            fontsize=9,
            annotation_clip=False,
        )
