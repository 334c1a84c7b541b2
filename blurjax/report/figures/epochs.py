"""Figures of training: what changes from epoch to epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator

from blurjax.config.view_table import BLACK, BLUE, VERMILLION, VIEWS
from blurjax.report.figures.registry import Drawing, FigureData, figure
from blurjax.report.figures.style import WIDTH, new_figure, plain_numbers
from blurjax.report.sentences import gap_sentence
from blurjax.report.view_display import line_style, main_first

FEW_EPOCHS = 15
"""Up to here every epoch gets a marker, so that even a single one can be seen."""
WIDE_RANGE = 20
"""Losses that span more than this factor are drawn on a logarithmic axis."""

History = Mapping[str, Any]


@figure("Learning curves", anchor="evaluation")
def curves(data: FigureData) -> Drawing | None:
    """Accuracy and loss on train and validation by epoch, one line per main train view."""
    return _learning_curves(data, group=0)


@figure("Learning curves of the other views", anchor="evaluation")
def other_curves(data: FigureData) -> Drawing | None:
    """Accuracy and loss on train and validation by epoch, one line per train view of the others."""
    return _learning_curves(data, group=1)


def _learning_curves(data: FigureData, group: int) -> Drawing | None:
    """Draws accuracy and loss of a group's classifiers on train and validation."""
    groups, history = _groups(data), data.point["history"]["classifier"]
    if group >= len(groups):
        return None
    views = groups[group]
    drawn = new_figure(WIDTH, 6.4)
    axes = drawn.subplots(2, 2, sharex=True, sharey="row")
    for row, (measure, label) in enumerate(
        [("accuracy", "accuracy (%)"), ("loss", "cross-entropy (nats)")]
    ):
        for column, side in enumerate(("train", "validation")):
            ax = axes[row, column]
            ax.set_title(f"{measure} on {side}")
            for view in views:
                draw_range(ax, history[view], side, measure, label=view, **line_style(view))
        axes[row, 0].set_ylabel(label)
        if measure == "loss":
            _scale_losses(axes[row, 0], [history[view] for view in views])
    prepare_epoch_axes(axes)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, title="trained on", ncols=len(views), loc="outside upper center")
    caption = (
        "Each classifier is measured on images in the view that it is trained on, after every epoch. Lines are "
        "means over trials, bands reach from the lowest trial to the highest."
    )
    return Drawing(drawn, caption)


@figure("The generalisation gap", anchor="evaluation")
def generalisation_gap(data: FigureData) -> Drawing | None:
    """Accuracy on train minus on validation by epoch, one line per train view, with intervals over trials."""
    groups = _groups(data)
    drawn = new_figure(WIDTH if len(groups) > 1 else 6.5, 4.2)
    axes = np.atleast_1d(drawn.subplots(1, len(groups), sharey=True))
    for ax, views in zip(axes, groups, strict=True):
        for view in views:
            epochs = data.point["history"]["classifier"][view]["epoch"]
            gap = data.point["generalisation_gap"][view]["by_epoch"]
            interval = gap["interval_trials"]
            band = None if interval is None else 100 * np.array(interval, float).T
            mean = 100 * np.array(gap["mean"], float)
            _line(ax, epochs, mean, band, 0.15, label=view, **line_style(view))
        ax.axhline(0, color=BLACK, linewidth=0.8)
        above: Any = {"loc": "lower center", "bbox_to_anchor": (0.5, 1)}
        ax.legend(title="trained on", ncols=3, fontsize=9, title_fontsize=9, **above)
    prepare_epoch_axes(axes[None])
    axes[0].set_ylabel("accuracy on train\nminus validation (points)")
    caption = (
        "Accuracy on train minus accuracy on validation after every epoch, each in the classifier's own "
        f"view; bands are {data.level} intervals over trials, epoch by epoch."
    )
    return Drawing(drawn, caption)


@figure("Training and validation accuracy by epoch", anchor="evaluation")
def train_and_validation(data: FigureData) -> Drawing | None:
    """Train and validation accuracy by epoch, validated on reconstructions and on originals."""
    history = data.point["history"]["classifier"]
    if "reconstruction" not in history:
        return None
    panels = [
        (f"trained on {view}s,\nvalidated on {images}s", history[view], side)
        for view, images, side in (
            ("reconstruction", "reconstruction", "validation"),
            ("reconstruction", "original", "validation_original"),
            ("original", "original", "validation"),
        )
        if side in history.get(view, ())
    ]
    drawn = new_figure(WIDTH * (1 + len(panels)) / 4, 3.6)
    axes = np.atleast_1d(drawn.subplots(1, len(panels), sharey=True))
    for ax, (title, curve, side) in zip(axes, panels, strict=True):
        ax.set_title(title)
        draw_range(ax, curve, "train", "accuracy", color=BLUE)
        draw_range(ax, curve, side, "accuracy", color=VERMILLION)
    prepare_epoch_axes(axes[None])
    axes[0].set_ylabel("accuracy (%)")
    for ax, (_, curve, side) in zip(axes, panels, strict=True):
        train, validation = (_values(curve, s, "accuracy")[-1].mean() for s in ("train", side))
        _label_ends(ax, [("train", train, BLUE), ("validation", validation, VERMILLION)])
    return Drawing(drawn, gap_sentence(data.point, data.confidence))


@figure("The autoencoder's learning curve", anchor="quality", per="bottleneck")
def autoencoder(data: FigureData) -> Drawing | None:
    """The autoencoder's loss on train and validation by epoch."""
    history = data.point["history"]["autoencoder"]
    if not history["epoch"]:
        return None
    drawn = new_figure(6.5, 3.4)
    ax = drawn.subplots()
    for side, colour in (("train", BLUE), ("validation", VERMILLION)):
        draw_range(ax, history, side, "loss", color=colour, label=side)
    _scale_losses(ax, [history])
    prepare_epoch_axes(np.array([[ax]]))
    ax.set_ylabel("mean squared error")
    ax.legend()
    caption = (
        "Mean squared error between the pixels, in [0, 1], of the images and of their reconstructions, before these "
        "are rounded to 8 bits. Lines are means over trials, bands reach from the lowest trial to the highest."
    )
    return Drawing(drawn, caption)


def _groups(data: FigureData) -> list[list[str]]:
    """Returns the train views in two groups: the main views, and the others without checks."""
    trained = main_first(data.point["history"]["classifier"])
    main = [view for view in trained if VIEWS[view].main]
    rest = [view for view in trained if not VIEWS[view].main and not VIEWS[view].check]
    return [group for group in (main, rest) if group] or [trained]


def _values(history: History, side: str, measure: str) -> np.ndarray:
    """[E,T], accuracies in percent; null becomes NaN."""
    values = np.array(history[side][measure], dtype=float)
    return 100 * values if measure == "accuracy" else values


def draw_range(ax: Axes, history: History, side: str, measure: str, **style: Any) -> None:
    """Draws the mean over trials, and a band from the lowest trial to the highest."""
    values = _values(history, side, measure)
    band = (values.min(axis=1), values.max(axis=1)) if values.shape[1] > 1 else None
    _line(ax, history["epoch"], values.mean(axis=1), band, 0.18, **style)


def _line(
    ax: Axes, epochs: Sequence[int], mean: np.ndarray, band: Any, alpha: float, **style: Any
) -> None:
    """Draws a line, and a band of this opacity between two others where there are two."""
    ax.plot(epochs, mean, marker="o" if len(epochs) <= FEW_EPOCHS else None, **style)
    if band is not None:
        ax.fill_between(epochs, *band, color=style["color"], alpha=alpha, linewidth=0)


def prepare_epoch_axes(axes: np.ndarray) -> None:
    """Prepares rows of panels whose common x axis is the epoch."""
    for ax in axes.flat:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(visible=True, axis="y")
    for ax in axes[-1]:
        ax.set_xlabel("epoch")


def _scale_losses(ax: Axes, histories: Sequence[History]) -> None:
    sides = ("train", "validation")
    values = np.concatenate([_values(h, side, "loss").ravel() for h in histories for side in sides])
    least, most = np.nanmin(values), np.nanmax(values)
    if least > 0 and most > WIDE_RANGE * least:
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
