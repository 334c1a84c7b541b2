"""What answers are worth: against chance, and against the confidence they were given with.

Axes: T trials, N test images, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 15
"""Of confidence."""

Floats = NDArray[np.float64]


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike) -> float:
    """How far confidence is from accuracy: |accuracy - confidence| of each bin, weighted by size.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2: bins of equal width,
    each open below and closed above.

    Args:
      confidence: f32[N] in [0, 1], the probability of the predicted class.
      correct: bool[N].
    """
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    inner_edges = np.arange(1, BINS) / BINS
    which = np.digitize(confidence, inner_edges, right=True)
    gaps = np.bincount(which, weights=correct - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / confidence.size)


def above_chance(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> Floats:
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
