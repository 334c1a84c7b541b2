"""Writes results as tables for other programs and for papers: CSV with every digit, LaTeX rounded."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from blurjax.analysis.formatting import count, labels_in_words, p_value, signed, signed_span
from blurjax.analysis.types import Point
from blurjax.config.trials import Point as Values

Row = Sequence[Any]
Entry = tuple[Point, Row, Mapping[str, Any]]
"""The point of a row, its first cells, and its estimate."""

POINT = (*Values._fields, "trials")
ESTIMATE = ("mean", "low", "high", "low_trials", "high_trials")
TEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "→": r"$\rightarrow$",
        "−": "$-$",
        "±": r"$\pm$",
        "<": "$<$",
        ">": "$>$",
        **{character: rf"\{character}" for character in "&%$#_{}"},
    }
)


def result_tables(results: Mapping[str, Any], level: str) -> dict[str, bytes]:
    """Returns file name -> content: accuracy, causes and comparisons, each as .csv and .tex.

    Shares in the CSV files are in [0, 1], in the LaTeX ones in percent and points.

    Args:
      results: content of results.json.
      level: of the intervals, such as 95%.
    """
    points = [point for point in results["points"] if point["trials"]]
    cells = [
        (point, (train, test), cell)
        for point in points
        for train, row in point["accuracy"].items()
        for test, cell in row.items()
    ]
    texts = {
        "accuracy.csv": _csv(("train_view", "test_view"), cells),
        "accuracy.tex": "\n".join(_accuracy_tex(p, results["views"], level) for p in points),
    }
    for name, block in (("causes", "decomposition"), ("comparisons", "comparisons")):
        entries = [
            (point, (term, entry["definition"], entry.get("p"), entry.get("verdict")), entry)
            for point in points
            for term, entry in point[block].items()
        ]
        texts[f"{name}.csv"] = _csv(("name", "definition", "p", "verdict"), entries)
        texts[f"{name}.tex"] = _differences_tex(entries, level, several=len(points) > 1)
    return {name: text.encode() for name, text in texts.items()}


def escape(text: str) -> str:
    """Returns text as LaTeX prints it."""
    return " ".join(text.split()).translate(TEX)


def _csv(header: Row, entries: Iterable[Entry]) -> str:
    """Writes the first cells of each row, the estimate, and the point that it belongs to."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*header, *ESTIMATE, *POINT])
    for point, first, entry in entries:
        over_trials = entry["interval_trials"] or (None, None)
        estimate = entry["mean"], *entry["interval"], *over_trials
        writer.writerow([*first, *estimate, *point["values"].values(), len(point["trials"])])
    return file.getvalue()


def _accuracy_tex(point: Point, views: Mapping[str, Sequence[str]], level: str) -> str:
    """Writes the transfer matrix of a point."""
    rows = []
    for train in views["train"]:
        cells = [point["accuracy"][train][test] for test in views["test"]]
        # Without the % of `percent`: the caption names the unit.
        shown = [[f"{100 * x:.1f}" for x in (cell["mean"], *cell["interval"])] for cell in cells]
        rows.append([train, *(f"{mean} ({low} to {high})" for mean, low, high in shown)])
    about = f"{_values(point)}; accuracy in percent, {level} interval in brackets"
    return _tabular(["trained on", *views["test"]], rows, about)


def _differences_tex(entries: Iterable[Entry], level: str, *, several: bool) -> str:
    rows = []
    for point, (name, definition, p, verdict), entry in entries:
        numbers = signed(entry["mean"]), signed_span(entry["interval"]), p_value(p, missing="")
        cells = [name.replace("_", " "), *numbers, verdict or "", definition]
        rows.append([_values(point), *cells] if several else cells)
    header = ["term", "points", f"{level} interval", "p", "verdict", "definition"]
    about = "differences in points of accuracy, positive = cost (in a gain: gained)"
    return _tabular(["point", *header] if several else header, rows, about)


def _values(point: Point) -> str:
    values, labels = point["values"], point["values"]["train_examples"]
    few = f"{labels_in_words(labels)}, " if labels else ""
    return (
        f"{count(values['bottleneck'], 'float')}, learning rate {values['learning_rate']:g}, "
        f"weight decay {values['weight_decay']:g}, {few}{count(len(point['trials']), 'trial')}"
    )


def _tabular(header: Sequence[str], rows: Iterable[Sequence[str]], about: str) -> str:
    first, *body = [" & ".join(map(escape, row)) + r" \\" for row in (header, *rows)]
    begin = rf"\begin{{tabular}}{{{'l' * len(header)}}}"
    lines = [f"% {about}", begin, r"\hline", first, r"\hline", *body, r"\hline", r"\end{tabular}"]
    return "\n".join([*lines, ""])
