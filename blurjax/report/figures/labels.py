"""The figure of few labels: accuracy, what reconstruction costs and a warm start gains, against labelled images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator

from blurjax.analysis.contrasts import PRIMARY, WARM_STARTS
from blurjax.analysis.formatting import count
from blurjax.analysis.types import Point
from blurjax.config.view_table import BLACK, VIEWS
from blurjax.report.figures.accuracy import draw_means
from blurjax.report.figures.registry import Drawing, FigureData, figure
from blurjax.report.figures.style import WIDTH, new_figure, plain_numbers
from blurjax.report.view_display import encoders, main_first

Line = list[tuple[int, Point]]
"""(labelled images, point), fewest first."""


@figure("Accuracy against labels", anchor="labels", per="run")
def labels(data: FigureData) -> Drawing | None:
    """Accuracy, the cost of reconstruction and the gain of warm starts against the number of labelled images."""
    lines = _lines(data.results)
    if not lines:
        return None
    first = next(iter(lines.values()))[0][1]
    panels: dict[Callable[[Axes, Line], None], str] = {
        _accuracies: "accuracy of the main views' classifiers and of encoders, tested on their own view (or on the one "
        "that the list of views names instead)"
    }
    if PRIMARY in first["decomposition"]:
        panels[_cost] = "accuracy on originals minus accuracy on reconstructions, positive = cost"
    if WARM_STARTS.keys() & first["comparisons"].keys():
        panels[_gains] = "accuracy of encoders minus that of encoder_scratch, positive = gain"
    drawn = new_figure(WIDTH if len(panels) > 1 else 6.0, 3.8 * len(lines) + 0.5)
    axes = drawn.subplots(len(lines), len(panels), squeeze=False)
    for row, (values, line) in zip(axes, lines.items(), strict=True):
        for ax, draw in zip(row, panels, strict=True):
            draw(ax, line)
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(FixedLocator([number for number, _ in line]))
            plain_numbers(ax.xaxis)
            ax.set_xlabel("labelled images")
            ax.grid(visible=True, axis="y")
        if len(lines) > 1:
            bottleneck, rate, decay = values
            recipe = f"{count(bottleneck, 'float')}, learning rate {rate:g}, decay {decay:g}"
            row[0].set_title(recipe, loc="left")
    handles, views = axes[0, 0].get_legend_handles_labels()
    drawn.legend(handles, views, title="view", ncols=5, loc="outside upper center")
    caption = (
        f"From the left: {'; '.join(panels.values())}. Bars are {data.level} intervals, not corrected for their "
        "number. Each seed draws its own labelled images, the same for all views, and the fewer are among the more, so "
        "neighbouring points are not independent. The autoencoder was trained on the whole train split, without labels."
    )
    return Drawing(drawn, caption)


def _lines(results: Mapping[str, Any]) -> dict[Sequence[float], Line]:
    """Returns the points by their other values, where these have points with several numbers of labelled images."""
    lines: dict[Sequence[float], Line] = {}
    for point in results["points"]:
        if point["trials"]:
            *others, labelled = point["values"].values()
            number = labelled or results["dataset"]["examples"]["train"]
            lines.setdefault(tuple(others), []).append((number, point))
    by_number = {values: sorted(line, key=lambda entry: entry[0]) for values, line in lines.items()}
    return {values: line for values, line in by_number.items() if len(line) > 1}


def _accuracies(ax: Axes, line: Line) -> None:
    first = line[0][1]["accuracy"]
    views = {
        view: [point["accuracy"][view][VIEWS[view].own_test_view] for _, point in line]
        for view in main_first(first)
        if (VIEWS[view].main or view in encoders()) and VIEWS[view].own_test_view in first[view]
    }
    _with_bars(ax, line, views)
    ax.set_ylabel("accuracy, own view (%)")


def _cost(ax: Axes, line: Line) -> None:
    ax.axhline(0, color=BLACK, linewidth=0.8)
    entries = [point["decomposition"][PRIMARY] for _, point in line]
    _with_bars(ax, line, {"reconstruction": entries})
    ax.set_ylabel("cost on reconstructions (points)")


def _gains(ax: Axes, line: Line) -> None:
    ax.axhline(0, color=BLACK, linewidth=0.8)
    found = line[0][1]["comparisons"]
    gains = {
        view: [point["comparisons"][name] for _, point in line]
        for name, ((view, _), _) in WARM_STARTS.items()
        if name in found
    }
    _with_bars(ax, line, gains)
    ax.set_ylabel("gain over encoder_scratch (points)")


def _with_bars(ax: Axes, line: Line, views: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    by_view = {
        view: {name: [entry[name] for entry in entries] for name in ("mean", "interval")}
        for view, entries in views.items()
    }
    draw_means(ax, [images for images, _ in line], by_view, width=2.0)
