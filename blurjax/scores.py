"""What answers are worth: by class, against chance, against the confidence they were given with.

Axes: T trials, N test images, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """How far confidence is from accuracy: |accuracy - confidence| of each bin, weighted by size.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2: bins of equal width,
    each open below and closed above.

    Args:
      confidence: f32[N] in [0, 1], the probability of the predicted class.
      correct: bool[N].
      bins: how many.
    """
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    inner_edges = np.arange(1, bins) / bins
    which = np.digitize(confidence, inner_edges, right=True)
    gaps = np.bincount(which, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / confidence.size)


def per_class(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> dict[str, Floats]:
    """Precision, recall and F1 of every class, each f64[K]; 0 where undefined.

    Args:
      labels: i32[N], true classes in 0..K-1.
      predictions: i32[N].
      num_classes: K.
    """
    counts = confusion(labels, predictions, num_classes)
    right, predicted, there = counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1)
    return {
        "precision": right / np.maximum(predicted, 1),
        "recall": right / np.maximum(there, 1),
        "f1": 2 * right / np.maximum(predicted + there, 1),
    }


def confusion(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    """Counts, i64[K,K], of labels i32[N] and predictions i32[N]: rows true, columns predicted."""
    cells = np.asarray(labels, np.int64) * num_classes + np.asarray(predictions, np.int64)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


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
    indicators = np.eye(num_classes)
    label = indicators[np.asarray(labels)]
    label = label - label.mean(axis=0)
    rows = (indicators[row] for row in np.asarray(predictions))
    return np.stack([((row - row.mean(axis=0)) * label).sum(axis=1) for row in rows])
