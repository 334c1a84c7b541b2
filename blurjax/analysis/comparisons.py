"""Paired differences between cells of the transfer matrix: totals, causes, controls and checks.

Positive = cost. docs/statistics.md says what each means. Axes: T trials, N test images, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from blurjax.analysis import statistics
from blurjax.analysis.statistics import Estimate
from blurjax.analysis.verdicts import verdict
from blurjax.config.settings import ReportConfig

Cell = tuple[str, str]
"""(train view, test view)"""
Pairs = Mapping[str, tuple[Cell, Cell]]
"""Name -> the two cells whose accuracies are compared: the first minus the second."""

ORIGINAL, RECONSTRUCTION = ("original", "original"), ("reconstruction", "reconstruction")
TRANSFERRED = ("reconstruction", "original")
TOTALS: Pairs = {
    "on_reconstructions": (ORIGINAL, RECONSTRUCTION),
    "on_originals": (ORIGINAL, TRANSFERRED),
}
CAUSES: Pairs = {
    "leakage": (("crossfit", "crossfit"), ("infold", "crossfit")),
    "test_view": (RECONSTRUCTION, TRANSFERRED),
}
"""With `information`, which is what leakage leaves of `on_reconstructions`."""
MATCHED: Pairs = {
    f"reconstruction_against_{view}": ((view, view), RECONSTRUCTION)
    for view in ("blur", "pca", "downsample", "spectrum")
}
"""What reconstruction costs beyond an image made as blurry, or as small, by simpler means."""
CHECKS: Pairs = {
    "identity": (ORIGINAL, ("identity", "original")),
    "reseeded": (ORIGINAL, ("reseeded", "original")),
}
"""What must be nothing; with `shuffled`, which is no difference of two cells."""
BESIDE: Pairs = {
    "crossfit_instead": (ORIGINAL, ("crossfit", "crossfit")),
    "without_retraining": (ORIGINAL, ("original", "reconstruction")),
}
"""Printed beside the causes, with intervals and without p."""
DEFINITIONS = {
    name: " - ".join(f"acc({train}→{test})" for train, test in pair)
    for name, pair in (TOTALS | CAUSES | MATCHED | CHECKS | BESIDE).items()
}
DEFINITIONS["information"] = f"{DEFINITIONS['on_reconstructions']} - leakage"
DEFINITIONS["shuffled"] = "acc(shuffled→original) - chance"


def decomposition(correct: Mapping[Cell, np.ndarray], settings: ReportConfig) -> dict[str, Any]:
    """Splits the loss of accuracy into its causes, as far as the cells are there.

        on_reconstructions = information + leakage
        on_originals       = information + leakage + test_view

    hold exactly for every trial and image. The totals keep their own p, the causes are corrected
    as a family.

    Args:
      correct: bool[T,N] of each cell.
      settings: confidence and margin.

    Returns:
      Term -> JUDGED of docs/run_directory.md.
    """
    totals, causes = (_differences(correct, pairs) for pairs in (TOTALS, CAUSES))
    if "on_reconstructions" in totals and "leakage" in causes:
        information = totals["on_reconstructions"] - causes["leakage"]
        causes = {"information": information, **causes}
    totals, causes = (_estimates(terms, settings) for terms in (totals, causes))
    p = _own_p(totals) | statistics.holm(_own_p(causes))
    return {
        name: _judged(name, estimate, p[name], settings)
        for name, estimate in (totals | causes).items()
    }


def comparisons(
    correct: Mapping[Cell, np.ndarray], above_chance: np.ndarray | None, settings: ReportConfig
) -> dict[str, Any]:
    """The other comparisons whose cells are there; controls and checks are corrected as a family each.

    Args:
      correct: bool[T,N] of each cell.
      above_chance: what `above_chance` says of the classifiers trained on shuffled labels, f64[T,N].
      settings: confidence and margin.

    Returns:
      Name -> JUDGED, or ESTIMATE with `definition`, of docs/run_directory.md.
    """
    matched, checks, beside = (
        _estimates(_differences(correct, pairs), settings) for pairs in (MATCHED, CHECKS, BESIDE)
    )
    no_cost = {} if above_chance is None else _estimates({"shuffled": above_chance}, settings)
    p = statistics.holm(_own_p(matched)) | statistics.holm(_own_p(checks | no_cost))
    judged = {
        name: _judged(name, estimate, p[name], settings)
        for name, estimate in (matched | checks).items()
    }
    # Positive is no cost in `shuffled`, so a verdict would mislead.
    unjudged = {name: _described(name, e) | {"p": p[name]} for name, e in no_cost.items()}
    return judged | unjudged | {name: _described(name, e) for name, e in beside.items()}


def above_chance(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> np.ndarray:
    """How much better than chance each answer is; its mean over images is accuracy minus chance.

    Chance is what answers given as often, but blindly, would reach: the sum over classes of the
    share of labels times the share of predictions, in each trial. Accuracy minus chance is thus a
    sum of covariances, and an image's part in it sum_k (p_k - mean p_k)(l_k - mean l_k) with p and
    l the prediction and the label as indicators.

    Args:
      labels: i32[N].
      predictions: i32[T,N].
      num_classes: K.

    Returns:
      f64[T,N].
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    of_labels = np.bincount(labels, minlength=num_classes) / labels.size
    above = []
    for row in predictions:
        of_row = np.bincount(row, minlength=num_classes) / row.size
        # The sum over classes, multiplied out; in pairs that cancel exactly where all answers are one.
        known = (row == labels) - of_row[labels]
        above.append(known + (of_labels @ of_row - of_labels[row]))
    return np.stack(above)


def _differences(correct: Mapping[Cell, np.ndarray], pairs: Pairs) -> dict[str, np.ndarray]:
    """Name -> f64[T,N]."""
    return {
        name: statistics.paired(correct[first], correct[second])
        for name, (first, second) in pairs.items()
        if first in correct and second in correct
    }


def _estimates(terms: Mapping[str, np.ndarray], settings: ReportConfig) -> dict[str, Estimate]:
    return {name: statistics.estimate(term, settings.confidence) for name, term in terms.items()}


def _own_p(estimates: Mapping[str, Estimate]) -> dict[str, float | None]:
    return {name: statistics.two_sided_p(estimate) for name, estimate in estimates.items()}


def _described(name: str, estimate: Estimate) -> dict[str, Any]:
    return estimate.as_json() | {"definition": DEFINITIONS[name]}


def _judged(
    name: str, estimate: Estimate, p: float | None, settings: ReportConfig
) -> dict[str, Any]:
    judged = verdict(estimate, settings.margin / 100, 1 - settings.confidence, p=p)
    return _described(name, estimate) | judged._asdict()
