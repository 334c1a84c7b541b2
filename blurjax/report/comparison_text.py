"""A comparison of runs as plain text, for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from blurjax.analysis.formatting import p_value, percent, setting, signed, signed_span, span
from blurjax.report.comparison import headlines

VIEWS = ("original", "reconstruction")


def comparison_text(comparison: Mapping[str, Any], columns: int) -> str:
    """Returns what is not the same, accuracies and costs, paired differences, and what limits all of it.

    Args:
      comparison: of `compare_runs`.
      columns: of the terminal; sentences are broken there, tables are not.
    """
    parts = [textwrap.fill(sentence, columns) for sentence in headlines(comparison)]
    parts.append("\n".join(_settings(comparison)))
    parts.append("\n".join(_points(comparison)))
    parts += ["\n".join(_pair(pair)) for pair in comparison["pairs"]]
    parts += [
        textwrap.fill(f"- {sentence}", columns, subsequent_indent="  ")
        for sentence in comparison["limits"]
    ]
    return "\n\n".join(parts)


def _settings(comparison: Mapping[str, Any]) -> Iterator[str]:
    if not comparison["settings"]:
        yield "Settings, data, versions and devices are the same."
        return
    names = [run["name"] for run in comparison["runs"]]
    rows = [[row["name"], *map(setting, row["values"])] for row in comparison["settings"]]
    yield from _table([["not the same", *names], *rows])


def _points(comparison: Mapping[str, Any]) -> Iterator[str]:
    rows = [["run", "trials", *(f"{view} on itself" for view in VIEWS), "cost (points)", "PSNR"]]
    for point in comparison["points"]:
        accuracy, cost, psnr = point["accuracy"], point["cost"], point["psnr"]
        cells = [_with(accuracy[v], percent, span) if v in accuracy else "–" for v in VIEWS]
        shown = _with(cost, signed, signed_span) if cost else "–"
        decibels = "–" if psnr is None else f"{psnr:.1f} dB"
        rows.append([point["label"], str(len(point["trials"])), *cells, shown, decibels])
    yield from _table(rows)


def _pair(pair: Mapping[str, Any]) -> Iterator[str]:
    one, two = pair["labels"]
    yield f"{two} against {one}, paired by seed and image, in points (positive = worse in {two}):"
    rows = [["", "difference", "interval", "p", "verdict"]]
    for kind, prefix in (("cost", "cost "), ("accuracy", "accuracy lost, ")):
        for name, entry in pair[kind].items():
            mean = "0 exactly" if entry["exact"] else signed(entry["mean"])
            verdict = (entry["verdict"] or "none") if "verdict" in entry else ""
            cells = mean, signed_span(entry["interval"]), p_value(entry.get("p"), ""), verdict
            rows.append([f"{prefix}{name.replace('_', ' ')}", *cells])
    yield from _table(rows)


def _with(entry: Mapping[str, Any], mean: Any, interval: Any) -> str:
    return f"{mean(entry['mean'])} ({interval(entry['interval'])})"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yields lines of columns that are as wide as their longest cell."""
    shown = [[cell if cell.isprintable() else repr(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
