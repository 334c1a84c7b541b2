"""Paired differences between cells of the transfer matrix: totals, causes, controls and checks.

Positive = cost. Axes: T trials, N test images, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from blurjax import statistics
from blurjax.statistics import Estimate
from blurjax.verdicts import verdict

Cell = tuple[str, str]
"""(train view, test view)"""

ORIGINAL, RECONSTRUCTION = ("original", "original"), ("reconstruction", "reconstruction")
CAUSES = ("information", "leakage", "test_view")
DECOMPOSITION = {
    "on_reconstructions": "acc(original→original) - acc(reconstruction→reconstruction)",
    "on_originals": "acc(original→original) - acc(reconstruction→original)",
    "information": "acc(original→original) - acc(reconstruction→reconstruction) - leakage",
    "leakage": "acc(crossfit→crossfit) - acc(infold→crossfit)",
    "test_view": "acc(reconstruction→reconstruction) - acc(reconstruction→original)",
}
"""Term -> definition."""

MATCHED = {
    f"reconstruction_against_{view}": ((view, view), RECONSTRUCTION)
    for view in ("blur", "pca", "downsample", "spectrum")
}
"""What reconstruction costs beyond an image made as blurry, or as small, by simpler means."""
CHECKS = {
    "identity": (ORIGINAL, ("identity", "original")),
    "reseeded": (ORIGINAL, ("reseeded", "original")),
}
"""What must be nothing; with `shuffled`, which is no difference of two cells."""
OTHERS = {
    "crossfit_instead": (ORIGINAL, ("crossfit", "crossfit")),
    "without_retraining": (ORIGINAL, ("original", "reconstruction")),
}
"""Printed beside the causes, with intervals and without p."""
SHUFFLED = "acc(shuffled→original) - chance"


class Judging(NamedTuple):
    """How differences are judged."""

    confidence: float
    margin: float
    """In shares: 0.01 for one point."""


def decomposition(correct: Mapping[Cell, np.ndarray], judging: Judging) -> dict[str, Any]:
    """The block of that name: the totals with their own p, the causes corrected as a family."""
    terms = statistics.decomposition(correct)
    estimates = {
        name: statistics.estimate(term, judging.confidence) for name, term in terms.items()
    }
    p = _own_p(estimates)
    p |= statistics.holm({name: p[name] for name in CAUSES if name in p})
    return {
        name: _judged(estimate, DECOMPOSITION[name], p[name], judging)
        for name, estimate in estimates.items()
    }


def comparisons(
    correct: Mapping[Cell, np.ndarray], chance: np.ndarray | None, judging: Judging
) -> dict[str, Any]:
    """The block of that name, of the comparisons whose cells are there.

    Args:
      correct: bool[T,N] of each cell.
      chance: what `statistics.above_chance` says of the classifiers trained on shuffled labels, f64[T,N].
      judging: how they are judged.
    """
    matched, checks, others = (
        _differences(correct, pairs, judging) for pairs in (MATCHED, CHECKS, OTHERS)
    )
    p_matched, p_checks = _own_p(matched), _own_p(checks)
    above = None if chance is None else statistics.estimate(chance, judging.confidence)
    if above is not None:
        p_checks["shuffled"] = statistics.two_sided_p(above)
    p = statistics.holm(p_matched) | statistics.holm(p_checks)
    block = {
        name: _judged(estimate, definition((MATCHED | CHECKS)[name]), p[name], judging)
        for name, estimate in (matched | checks).items()
    }
    if above is not None:  # positive is no cost here, so a verdict would mislead
        block["shuffled"] = above.as_json() | {"definition": SHUFFLED, "p": p["shuffled"]}
    return block | {
        name: estimate.as_json() | {"definition": definition(OTHERS[name])}
        for name, estimate in others.items()
    }


def definition(pair: tuple[Cell, Cell]) -> str:
    """Such as "acc(blur→blur) - acc(reconstruction→reconstruction)"."""
    return " - ".join(f"acc({train}→{test})" for train, test in pair)


def _differences(
    correct: Mapping[Cell, np.ndarray], pairs: Mapping[str, Sequence[Cell]], judging: Judging
) -> dict[str, Estimate]:
    return {
        name: statistics.difference(correct[first], correct[second], judging.confidence)
        for name, (first, second) in pairs.items()
        if first in correct and second in correct
    }


def _own_p(estimates: Mapping[str, Estimate]) -> dict[str, float | None]:
    return {name: statistics.two_sided_p(estimate) for name, estimate in estimates.items()}


def _judged(
    estimate: Estimate, definition: str, p: float | None, judging: Judging
) -> dict[str, Any]:
    judged = verdict(estimate, judging.margin, 1 - judging.confidence, p=p)
    return estimate.as_json() | {"definition": definition} | judged.as_json()
