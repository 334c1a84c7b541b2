"""Several finished runs on one page: what was set otherwise, what came out, and what may not be compared."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from blurjax.analysis import collect_comparison
from blurjax.analysis.contrasts import PRIMARY
from blurjax.analysis.formatting import (
    count,
    level,
    p_in_words,
    signed_span,
)
from blurjax.analysis.limits import NOTHING_LEARNED
from blurjax.config.view_table import VIEWS
from blurjax.report.figures import FigureData, draw_figures
from blurjax.report.figures.style import run_labels
from blurjax.report.point_names import point_name
from blurjax.report.rendering import render
from blurjax.report.view_display import main_first
from blurjax.runtime import expand_path, readable_os_errors, write_bytes

Comparison = Mapping[str, Any]


def compare_runs(
    directories: Iterable[str | os.PathLike[str]], page: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """Compares finished runs with the first of them.

    Args:
      directories: of at least two runs, which are only read.
      page: where to write a self-contained HTML page; None: nowhere.

    Returns:
      The COMPARISON of docs/comparing.md.

    Raises:
      UserError: a directory is no finished run, or there are fewer than two different ones.
    """
    found = collect_comparison([expand_path(directory) for directory in directories])
    labels: dict[Any, str] = {}
    for point, label in zip(found["points"], _labels(found), strict=True):
        point["label"] = labels[point["run"], *point["values"].values()] = label
    for pair in found["pairs"]:
        pair["labels"] = [
            labels[run, *values.values()]
            for run, values in zip((pair["first"], pair["second"]), pair["values"], strict=True)
        ]
    if page is not None:
        page = expand_path(page)
        with readable_os_errors(page):
            page.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(page, _render(found).encode())
    for point in found["points"]:
        del point["history"]  # as long as all the rest; results.json of each run has it
    return found


def headlines(comparison: Comparison) -> list[str]:
    """Returns what the comparison says in a sentence for each pair; else that nothing is subtracted."""
    pairs = [pair for pair in comparison["pairs"] if PRIMARY in pair["cost"]]
    if not any(point["cost"] for point in comparison["points"]):
        return [
            "None of these runs has a cost of reconstruction, which takes classifiers trained and tested on originals "
            "and on reconstructions; the accuracies that they share are below."
        ]
    return [_headline(comparison, pair) for pair in pairs] or [
        "No costs of these runs can be subtracted from one another; the reasons are below."
    ]


def _headline(comparison: Comparison, pair: Mapping[str, Any]) -> str:
    one, two = pair["labels"]
    if not pair["learned"]:
        return f"{one} and {two}: {NOTHING_LEARNED.replace('No', 'no', 1)}"
    term, own = pair["cost"][PRIMARY], pair["own_costs"][PRIMARY]
    before, after = (f"{100 * cost:+.2f}".replace("-", "−") for cost in own)
    trials = {point["label"]: point["trials"] for point in comparison["points"]}
    are_all = trials[one] == pair["trials"] == trials[two]
    over = "" if are_all else f", over the {count(len(pair['trials']), 'seed')} that both have"
    text = f"Reconstruction costs {before} points of accuracy in {one} and {after} in {two} (positive = lost{over})"
    if term["exact"]:
        return f"{text}: the same for each seed and image in both."
    confidence = level(comparison["runs"][0]["confidence"])
    interval = f"{confidence} interval of the difference, paired by seed and image: {signed_span(term['interval'])}"
    low, high = term["interval"]
    p = "" if term["p"] is None else f", {p_in_words(term['p'])}"
    is_sure = term["p"] is None or term["p"] < 1 - comparison["runs"][0]["confidence"]
    if low <= 0 <= high or not is_sure:
        text += f". Which of the two costs more, this comparison cannot tell ({interval}{p})"
    else:
        more = "more" if term["mean"] > 0 else "less"
        text += f": {100 * abs(term['mean']):.2f} points {more} in {two} ({interval}{p})"
    if term["verdict"] == "equivalent":
        margin = count(100 * comparison["runs"][0]["margin"], "point")
        text += f", and the difference is within ±{margin}: equivalent"
    return f"{text}."


def _labels(comparison: Comparison) -> list[str]:
    """Returns a name for each point: its run, and where that has several, its values."""
    labels = []
    for point in comparison["points"]:
        points = [other for other in comparison["points"] if other["run"] == point["run"]]
        several = f", {point_name(point, points)}" if len(points) > 1 else ""
        labels.append(f"{point['run']}{several}")
    return labels


def _render(comparison: Comparison) -> str:
    first = comparison["runs"][0]
    figures = dict(draw_figures(FigureData(comparison, {}, first["confidence"]), "comparison"))
    views = dict.fromkeys(view for point in comparison["points"] for view in point["accuracy"])
    return render(
        "comparison.html.jinja",
        **comparison,
        headlines=headlines(comparison),
        figures=figures,
        names_in_figures=run_labels(comparison["points"]),
        explained_views=[VIEWS[view] for view in main_first(views)],
        views=[view for view in ("original", "reconstruction") if view in views],
        level=level(first["confidence"]),
        margin=100 * first["margin"],
        alpha=f"{1 - first['confidence']:.2g}",
    )
