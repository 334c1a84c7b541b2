"""Results as tables for other programs and for papers: CSV with every digit, LaTeX to be read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from blurjax.analysis.formatting import count, p_value, signed, signed_span

Results = Mapping[str, Any]
Point = Mapping[str, Any]
Row = Sequence[Any]

POINT = ("bottleneck", "learning_rate", "weight_decay", "trials")
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


def tables(results: Results, level: str) -> dict[str, bytes]:
    """File name -> content: accuracy, causes and comparisons, each as .csv and .tex.

    Shares in the CSV files are in [0, 1], in the LaTeX ones in percent and points.

    Args:
      results: content of results.json.
      level: of the intervals, such as 95%.
    """
    points = [point for point in results["points"] if point["trials"]]
    texts = {
        "accuracy.csv": _csv(("train_view", "test_view"), _accuracies(points)),
        "accuracy.tex": "\n".join(
            _accuracy_tex(point, results["views"], level) for point in points
        ),
    }
    for name, block in (("causes", "decomposition"), ("comparisons", "comparisons")):
        entries = [(p, term, entry) for p in points for term, entry in p[block].items()]
        header = ("name", "definition", "p", "verdict")
        rows = ((p, _differing(term, entry), entry) for p, term, entry in entries)
        texts[f"{name}.csv"] = _csv(header, rows)
        texts[f"{name}.tex"] = _differences_tex(entries, level, several=len(points) > 1)
    return {name: text.encode() for name, text in texts.items()}


def escape(text: str) -> str:
    """Text as LaTeX prints it."""
    return " ".join(text.split()).translate(TEX)


# CSV.


def _accuracies(points: Iterable[Point]) -> Iterator[tuple[Point, Row, Mapping[str, Any]]]:
    for point in points:
        for train, row in point["accuracy"].items():
            for test, cell in row.items():
                yield point, (train, test), cell


def _differing(name: str, entry: Mapping[str, Any]) -> Row:
    return name, entry["definition"], entry.get("p"), entry.get("verdict")


def _csv(header: Row, rows: Iterable[tuple[Point, Row, Mapping[str, Any]]]) -> str:
    """What a row is about, the estimate, and the point that it belongs to."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*header, *ESTIMATE, *POINT])
    for point, about, entry in rows:
        of_trials = entry["interval_trials"] or (None, None)
        estimate = entry["mean"], *entry["interval"], *of_trials
        writer.writerow([*about, *estimate, *point["values"].values(), len(point["trials"])])
    return file.getvalue()


# LaTeX.


def _accuracy_tex(point: Point, views: Mapping[str, Sequence[str]], level: str) -> str:
    """The transfer matrix of a point."""
    rows = [
        [train, *(_percent(point["accuracy"][train][test]) for test in views["test"])]
        for train in views["train"]
    ]
    about = f"{_values(point)}; accuracy in percent, {level} interval in brackets"
    return _tabular(["trained on", *views["test"]], rows, about)


def _percent(cell: Mapping[str, Any]) -> str:
    low, high = (100 * bound for bound in cell["interval"])
    return f"{100 * cell['mean']:.1f} ({low:.1f} to {high:.1f})"


def _differences_tex(
    entries: Iterable[tuple[Point, str, Mapping[str, Any]]], level: str, *, several: bool
) -> str:
    rows = []
    for point, name, entry in entries:
        cells = [signed(entry["mean"]), signed_span(entry["interval"])]
        cells += [
            p_value(entry.get("p"), missing=""),
            entry.get("verdict") or "",
            entry["definition"],
        ]
        rows.append([*([_values(point)] if several else ()), name.replace("_", " "), *cells])
    header = [*(["point"] if several else ()), "term", "points", f"{level} interval", "p"]
    about = "differences in points of accuracy, positive = cost"
    return _tabular([*header, "verdict", "definition"], rows, about)


def _values(point: Point) -> str:
    values = point["values"]
    return (
        f"{count(values['bottleneck'], 'float')}, learning rate {values['learning_rate']:g}, "
        f"weight decay {values['weight_decay']:g}, {count(len(point['trials']), 'trial')}"
    )


def _tabular(header: Sequence[str], rows: Iterable[Sequence[str]], about: str) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(escape(cell) for cell in cells) + r" \\"

    body = [line(row) for row in rows]
    columns = "l" * len(header)
    return "\n".join(
        [
            f"% {about}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\hline",
            line(header),
            r"\hline",
            *body,
            r"\hline",
            r"\end{tabular}",
            "",
        ]
    )
