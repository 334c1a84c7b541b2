"""Sentences about what the autoencoder's weights give a classifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from blurjax.analysis.contrasts import WARM_STARTS
from blurjax.analysis.formatting import level, p_in_words, signed, signed_span
from blurjax.analysis.types import Point
from blurjax.report.point_names import point_name

OPENINGS = {
    "encoder": "Beginning with the weights of the autoencoder's encoder (encoder)",
    "encoder_frozen": "Training only a head on the autoencoder's encoder (encoder_frozen)",
}
MOST_POINTS_NAMED = 8
"""With more points, verdicts are counted instead."""


def gains(points: Sequence[Point], confidence: float) -> list[str]:
    """Returns a paragraph for each warm start with its gain at every point; none where the run has none.

    Args:
      points: entries of `points` of results.json that have trials.
      confidence: level of the intervals.
    """
    paragraphs = []
    for name, ((view, _), (scratch, _)) in WARM_STARTS.items():
        terms = [p["comparisons"][name] for p in points if name in p["comparisons"]]
        if not terms:
            continue
        if len(points) > MOST_POINTS_NAMED:
            means = [term["mean"] for term in terms]
            verdicts = Counter(term["verdict"] or "no verdict" for term in terms)
            counts = ", ".join(f"{verdict} at {number}" for verdict, number in verdicts.items())
            by = f"{signed_span((min(means), max(means)))} points ({counts})"
        else:
            by = "; ".join(
                f"{_gain(term)}{f' with {point_name(p, points)}' if len(points) > 1 else ''}"
                for p, term in zip(points, terms, strict=True)
            )
        paragraphs.append(
            f"{OPENINGS[view]} instead of the whole network from random weights ({scratch}) changes accuracy on "
            f"originals by {by}. Positive = gained; in brackets: {level(confidence)} intervals."
        )
    return paragraphs


def _gain(term: Mapping[str, Any]) -> str:
    judged = f"{p_in_words(term['p'])}: {term['verdict']}" if term["verdict"] else "no verdict"
    return f"{signed(term['mean'])} points ({signed_span(term['interval'])}, {judged})"
