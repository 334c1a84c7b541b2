"""Paired differences between cells of the transfer matrix: totals, causes, controls, checks and warm starts.

Positive = cost, except in warm starts (gain) and in the check of shuffled labels. docs/statistics.md says what each
contrast means. Axes: T trials, N test images, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from blurjax.analysis import statistics
from blurjax.analysis.types import Arrays, Cell
from blurjax.analysis.verdicts import verdict
from blurjax.config.settings import PROBES, ReportConfig
from blurjax.config.view_table import VIEWS, named

Contrasts = dict[str, tuple[Cell, Cell]]
"""Name -> the two cells whose accuracies are compared: the first minus the second."""

ORIGINAL, RECONSTRUCTION = ("original", "original"), ("reconstruction", "reconstruction")
TRANSFERRED = ("reconstruction", "original")
CROSSFIT = ("crossfit", "crossfit")
PRIMARY = "on_reconstructions"
"""The total that is the primary comparison; of the differences between two runs it alone has a p and a verdict."""
TOTALS: Contrasts = {
    PRIMARY: (ORIGINAL, RECONSTRUCTION),
    "on_originals": (ORIGINAL, TRANSFERRED),
}
CAUSES: Contrasts = {
    "leakage": (CROSSFIT, ("infold", "crossfit")),
    "test_view": (RECONSTRUCTION, TRANSFERRED),
}
"""The third cause is `information`: what leakage leaves of `on_reconstructions`."""
UNADJUSTED: Contrasts = {
    "crossfit_instead": (ORIGINAL, CROSSFIT),
    "without_retraining": (ORIGINAL, ("original", "reconstruction")),
}
"""Shown beside the causes, with intervals and without p."""
WARM_STARTS: Contrasts = {
    f"gain_of_{view}": ((view, "original"), ("encoder_scratch", "original"))
    for view in ("encoder", "encoder_frozen")
}
"""What beginning with the autoencoder's encoder gains over beginning with random weights."""
ON_CODE = {probe: f"{probe}_on_code" for probe in PROBES}
"""Probe -> the comparison of what it finds in the code with what classifiers find in the reconstruction; like these."""
SHUFFLED = "shuffled"
"""The check whose classifiers learn permuted labels: it is compared with chance, not with another cell."""
UNGUARDED = ("identity", SHUFFLED)
"""Not estimated as a `statistics.difference`: the one must be 0 exactly, the other is none of correctness."""


def controls() -> Contrasts:
    """Returns what reconstruction costs beyond each simpler way to lose detail in the table of views."""
    return {
        f"reconstruction_against_{view}": ((view, VIEWS[view].own_test_view), RECONSTRUCTION)
        for view in named(compared=True)
    }


def checks() -> Contrasts:
    """Returns the differences that should be nothing; `SHUFFLED`, which is none of two cells, is not among them."""
    views = [view for view in named(check=True) if view != SHUFFLED]
    return {view: (ORIGINAL, (view, VIEWS[view].own_test_view)) for view in views}


def decompose(correct: Mapping[Cell, np.ndarray], settings: ReportConfig) -> dict[str, Any]:
    """Splits the loss of accuracy into its causes, as far as the cells are there.

        on_reconstructions = information + leakage
        on_originals       = information + leakage + test_view

    hold exactly for every trial and image. The totals keep their own p, the causes are corrected
    as a family.

    Args:
      correct: bool[T,N] for each cell.
      settings: confidence and margin.

    Returns:
      Term -> JUDGED of docs/run_directory.md.
    """
    totals, causes = costs(correct)
    return _judged(totals, settings, is_family=False) | _judged(causes, settings)


def costs(
    correct: Mapping[Cell, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns the totals and their causes, as far as the cells are there: f64[T,N] by name, whose means are the terms.

    Args:
      correct: bool[T,N] for each cell.
    """
    totals, causes = _differences(correct, TOTALS), _differences(correct, CAUSES)
    if PRIMARY in totals and "leakage" in causes:
        information = totals[PRIMARY] - causes["leakage"]
        causes = {"information": information, **causes}
    return totals, causes


def compare(
    correct: Mapping[Cell, np.ndarray],
    shuffled: Arrays | None,
    num_classes: int,
    settings: ReportConfig,
    *,
    on_code: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Computes the other contrasts whose cells are there; controls, checks and warm starts are a family each.

    Args:
      correct: bool[T,N] for each cell.
      on_code: bool[T,N] for each probe that had the labels which classifiers had.
      shuffled: `label` and `prediction` of classifiers trained on shuffled labels, where there are any.
      num_classes: K.
      settings: confidence and margin.

    Returns:
      Name -> JUDGED, or ESTIMATE with `definition`, of docs/run_directory.md.
    """
    checked = _differences(correct, checks())
    if shuffled is not None:
        labels, predictions = shuffled["label"], shuffled["prediction"]
        checked[SHUFFLED] = above_chance(labels, predictions, num_classes)
    compared = _judged(_differences(correct, controls()), settings) | _judged(checked, settings)
    compared |= _judged(_differences(correct, WARM_STARTS), settings, is_gain=True)
    beside = _differences(correct, UNADJUSTED)
    if RECONSTRUCTION in correct:
        beside |= {
            ON_CODE[probe]: statistics.paired(answers, correct[RECONSTRUCTION])
            for probe, answers in on_code.items()
        }
    unadjusted = _judged(beside, settings)
    estimate = ("mean", "interval", "interval_trials", "per_trial", "definition")
    for name, entry in unadjusted.items():
        compared[name] = {key: entry[key] for key in estimate}
    if shuffled is not None:  # positive is no cost here, so a verdict would mislead
        compared[SHUFFLED] = {key: compared[SHUFFLED][key] for key in (*estimate, "p")}
    return compared


def above_chance(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> np.ndarray:
    """Computes how much better than chance each answer is; the mean over images is accuracy minus chance.

    Chance is the accuracy of answers that are given as often, but blindly: the sum over classes of
    the share of labels times the share of predictions, in each trial. Accuracy minus chance is thus
    a sum of covariances, and an image's part in it sum_k (p_k - mean p_k)(l_k - mean l_k) with p and
    l the prediction and the label as indicators.

    Args:
      labels: i32[N].
      predictions: i32[T,N].
      num_classes: K.

    Returns:
      f64[T,N].
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    label_shares = np.bincount(labels, minlength=num_classes) / labels.size
    above = []
    for row in predictions:
        shares = np.bincount(row, minlength=num_classes) / row.size
        # The sum over classes, multiplied out; in pairs that cancel exactly where all answers are one.
        known = (row == labels) - shares[labels]
        above.append(known + (label_shares @ shares - label_shares[row]))
    return np.stack(above)


def definition(name: str) -> str:
    """Returns the formula of a contrast, such as acc(crossfit→crossfit) - acc(infold→crossfit)."""
    if name == "information":
        return f"{definition(PRIMARY)} - leakage"
    for probe in (probe for probe, contrast in ON_CODE.items() if contrast == name):
        return f"acc({probe} on code) - acc(reconstruction→reconstruction)"
    if name == SHUFFLED:
        return f"acc({SHUFFLED}→original) - chance"
    pair = (TOTALS | CAUSES | UNADJUSTED | WARM_STARTS | controls() | checks())[name]
    return " - ".join(f"acc({train}→{test})" for train, test in pair)


def _differences(correct: Mapping[Cell, np.ndarray], contrasts: Contrasts) -> dict[str, np.ndarray]:
    return {
        name: statistics.paired(correct[first], correct[second])
        for name, (first, second) in contrasts.items()
        if first in correct and second in correct
    }


def _judged(
    terms: Mapping[str, np.ndarray],
    settings: ReportConfig,
    *,
    is_family: bool = True,
    is_gain: bool = False,
) -> dict[str, Any]:
    """Estimates and judges terms, f64[T,N] each; p is corrected for their number where they are a family."""
    estimates = {
        name: (statistics.estimate if name in UNGUARDED else statistics.difference)(
            values, settings.confidence
        )
        for name, values in terms.items()
    }
    p = {name: statistics.two_sided_p(estimate) for name, estimate in estimates.items()}
    p = statistics.holm(p) if is_family else p
    margin, alpha = settings.margin / 100, 1 - settings.confidence
    return {
        name: estimate.as_json()
        | {"definition": definition(name)}
        | verdict(estimate, margin, alpha, p=p[name], is_gain=is_gain)._asdict()
        for name, estimate in estimates.items()
    }
