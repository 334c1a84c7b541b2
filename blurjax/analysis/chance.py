"""Verdicts are withheld where nothing was learned: classifiers no better than the most frequent class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from blurjax.analysis import scores
from blurjax.analysis.contrasts import ORIGINAL, WARM_STARTS
from blurjax.analysis.formatting import percent
from blurjax.analysis.recorded_run import RecordedPoint
from blurjax.analysis.types import Block, Cell


def chance_of_originals(
    correct: Mapping[Cell, np.ndarray], point: RecordedPoint | None, confidence: float
) -> Block:
    """Compares classifiers of originals with chance; empty where no such cell is there."""
    if point is None or ORIGINAL not in correct:
        return {}
    return scores.against_chance(correct[ORIGINAL], point.cells[ORIGINAL]["label"], confidence)


def withhold(
    contrasts: Block, chance: Block, who: str = "classifiers of originals were not"
) -> Block:
    """Withholds the verdicts where classifiers (of originals) learned nothing that could be lost."""
    if not chance or chance["learned"]:
        return contrasts
    sentence = (
        f"No verdict: {who} shown to be better than always naming the most "
        f"frequent class, which is right for {percent(chance['most_frequent'])} of the test images; where nothing was "
        "learned, nothing can be lost."
    )
    none = {"verdict": None, "smallest_margin": None, "trials_needed": None, "sentence": sentence}
    return {n: term | none if "verdict" in term else term for n, term in contrasts.items()}


def withhold_of_warm_starts(contrasts: Block, point: RecordedPoint, confidence: float) -> Block:
    """Withholds the verdicts where neither of the two encoders learned anything."""
    correct, found = point.correct(), {}
    for name, term in contrasts.items():
        labels = point.cells[WARM_STARTS[name][0]]["label"]
        both = [scores.against_chance(correct[c], labels, confidence) for c in WARM_STARTS[name]]
        best = max(both, key=lambda chance: chance["learned"])
        found |= withhold({name: term}, best, "neither of the two was")
    return found
