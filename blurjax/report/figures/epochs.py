"""Lines over epochs: learning curves, the generalisation gap, the first experiment's figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from blurjax.report.plots.style import (
    BLACK,
    BLUE,
    VERMILLION,
    WIDTH,
    look,
    new_figure,
    plain_numbers,
    styled,
)

FEW_EPOCHS = 15
"""Up to here every epoch gets a marker, so that even a single one can be seen."""
WIDE_RANGE = 20
"""Losses that span more than this factor are drawn on a logarithmic axis."""

Point = Mapping[str, Any]
History = Mapping[str, Any]


@styled
def curves(point: Point, views: Sequence[str]) -> Figure:
    """Accuracy and loss of these views' classifiers on train and validation.

    Lines are means over trials, bands reach from the lowest trial to the highest.
    """
    history = point["history"]["classifier"]
    figure = new_figure(WIDTH, 6.4)
    axes = figure.subplots(2, 2, sharex=True, sharey="row")
    for row, (measure, label) in enumerate(
        [("accuracy", "accuracy (%)"), ("loss", "cross-entropy (nats)")]
    ):
        for column, side in enumerate(("train", "validation")):
            ax = axes[row, column]
            ax.set_title(f"{measure} on {side}")
            for view in views:
                _band(ax, history[view], side, measure, label=view, **look(view))
        axes[row, 0].set_ylabel(label)
        if measure == "loss":
            _scale_losses(axes[row, 0], [history[view] for view in views])
    for ax in axes.flat:
        _epoch_axis(ax, is_bottom=ax in axes[-1])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, title="trained on", ncols=len(views), loc="outside upper center")
    return figure


@styled
def generalisation_gap(point: Point, groups: Sequence[Sequence[str]]) -> Figure:
    """How far accuracy on validation stays behind that on train, by epoch, with intervals over trials.

    Args:
      point: an entry of `points`.
      groups: the views of each panel.
    """
    figure = new_figure(WIDTH if len(groups) > 1 else 6.5, 4.2)
    axes = np.atleast_1d(figure.subplots(1, len(groups), sharey=True))
    for ax, views in zip(axes, groups, strict=True):
        for view in views:
            epochs = point["history"]["classifier"][view]["epoch"]
            gap = point["generalisation_gap"][view]["by_epoch"]
            mean = 100 * np.array(gap["mean"], float)
            ax.plot(epochs, mean, marker=_marker(epochs), label=view, **look(view))
            if gap["interval_trials"] is not None:
                low, high = 100 * np.array(gap["interval_trials"], float).T
                ax.fill_between(
                    epochs, low, high, color=look(view)["color"], alpha=0.15, linewidth=0
                )
        ax.axhline(0, color=BLACK, linewidth=0.8)
        above: Any = {"loc": "lower center", "bbox_to_anchor": (0.5, 1)}
        ax.legend(title="trained on", ncols=3, fontsize=9, title_fontsize=9, **above)
        _epoch_axis(ax, is_bottom=True)
    axes[0].set_ylabel("accuracy on train\nminus validation (points)")
    return figure


@styled
def autoencoder(point: Point) -> Figure:
    """The autoencoder's loss on train and validation."""
    history = point["history"]["autoencoder"]
    figure = new_figure(6.5, 3.4)
    ax = figure.subplots()
    for side, colour in (("train", BLUE), ("validation", VERMILLION)):
        _band(ax, history, side, "loss", color=colour, label=side)
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
        _band(ax, history, "train", "accuracy", color=BLUE)
        _band(ax, history, side, "accuracy", color=VERMILLION)
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


def _values(history: History, side: str, measure: str) -> np.ndarray:
    """[E,T], accuracies in percent; null becomes NaN."""
    values = np.array(history[side][measure], dtype=float)
    return 100 * values if measure == "accuracy" else values


def _mean(history: History, side: str) -> np.ndarray:
    return _values(history, side, "accuracy").mean(axis=1)


def _band(
    ax: Axes,
    history: History,
    side: str,
    measure: str,
    *,
    color: str,
    linestyle: str = "-",
    label: str | None = None,
) -> None:
    """The mean over trials, and a band from the lowest trial to the highest."""
    epochs, values = history["epoch"], _values(history, side, measure)
    ax.plot(
        epochs, values.mean(axis=1), linestyle, color=color, label=label, marker=_marker(epochs)
    )
    if values.shape[1] > 1:
        low, high = values.min(axis=1), values.max(axis=1)
        ax.fill_between(epochs, low, high, color=color, alpha=0.18, linewidth=0)


def _marker(epochs: Sequence[int]) -> str | None:
    return "o" if len(epochs) <= FEW_EPOCHS else None


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
        plain_numbers(ax.yaxis)


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
