"""The blocks of a point that are numbers: how accurate, how calibrated, how blurry, how far apart.

Axes: T trials, N images, K classes, E epochs, R radii of a spectrum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn import metrics

from blurjax.analysis import statistics
from blurjax.analysis.comparisons import ORIGINAL, RECONSTRUCTION, Cell
from blurjax.analysis.history import Arrays

BINS_OF_CONFIDENCE = 15
MOST_CLASSES_CONFUSED = 100
"""With more, their confusion matrices would make results.json too large; the predictions hold them."""
CONVERGED = 0.02
"""A validation loss that falls by less than this share of itself counts as levelled off."""


def evaluations(
    cells: Mapping[Cell, Arrays], num_classes: int, confidence: float
) -> dict[str, Any]:
    """The blocks that hold one entry a cell of the transfer matrix."""
    names = ("accuracy", "loss", "ece", "per_class", "confusion")
    blocks: dict[str, Any] = {name: {} for name in names}
    for (train_view, test_view), arrays in cells.items():
        for name, entry in _evaluation(arrays, num_classes, confidence).items():
            blocks[name].setdefault(train_view, {})[test_view] = entry
    return blocks


def _evaluation(arrays: Arrays, num_classes: int, confidence: float) -> dict[str, Any]:
    label, predictions = arrays["label"], arrays["prediction"]
    correct = predictions == label
    errors = [
        expected_calibration_error(*pair)
        for pair in zip(arrays["confidence"], correct, strict=True)
    ]
    by_class = [per_class(label, row, num_classes) for row in predictions]
    entry = {
        "accuracy": statistics.accuracy(correct, confidence).as_json(),
        "loss": statistics.estimate(arrays["loss"], confidence).as_json(),
        "ece": _per_trial(errors),
        "per_class": {
            name: np.mean([score[name] for score in by_class], axis=0)
            for name in ("precision", "recall", "f1")
        },
    }
    if num_classes <= MOST_CLASSES_CONFUSED:
        of_all = np.tile(label, len(predictions)), predictions.ravel()
        entry["confusion"] = metrics.confusion_matrix(*of_all, labels=range(num_classes))
    return entry


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike) -> float:
    """How far confidence is from accuracy: |accuracy - confidence| of each bin, weighted by size.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2: bins of equal width,
    each open below and closed above.

    Args:
      confidence: f32[N] in [0, 1], the probability of the predicted class.
      correct: bool[N].
    """
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    inner_edges = np.arange(1, BINS_OF_CONFIDENCE) / BINS_OF_CONFIDENCE
    which = np.digitize(confidence, inner_edges, right=True)
    gaps = np.bincount(which, weights=correct - confidence, minlength=BINS_OF_CONFIDENCE)
    return float(np.abs(gaps).sum() / confidence.size)


def per_class(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> dict[str, Any]:
    """Precision, recall and F1 of every class, each f64[K], of one trial's answers; 0 where undefined."""
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels,
        predictions,
        labels=range(num_classes),
        zero_division=0,  # pyright: ignore[reportArgumentType]
    )
    return {"precision": precision, "recall": recall, "f1": f1}


def quality(measured: Mapping[tuple[str, str], Arrays]) -> dict[str, Any]:
    """View -> measure -> split -> its mean over images, by trial.

    Args:
      measured: (view, split) -> `mse`, `ssim` and `laplacian_variance`, each f32[T,N].
    """
    blocks: dict[str, Any] = {}
    for (view, split), arrays in measured.items():
        means = {
            "psnr": _psnr(arrays["mse"]),
            "ssim": _mean_of_images(arrays["ssim"]),
            "laplacian_variance": _mean_of_images(arrays["laplacian_variance"]),
        }
        for name, values in means.items():
            blocks.setdefault(view, {}).setdefault(name, {})[split] = _per_trial(values)
    return blocks


def spectra(measured: Mapping[tuple[str, str], Arrays]) -> dict[str, np.ndarray]:
    """View -> radial power spectrum of its test images, f64[R], mean over trials."""
    return {
        view: arrays["spectrum"].astype(np.float64).mean(axis=0)
        for (view, split), arrays in measured.items()
        if split == "test"
    }


def blur(fitted: Arrays | None) -> dict[str, Any]:
    """The blur that has the autoencoder's distortion: its sigma in pixels, and whether one has."""
    if fitted is None:
        return {}
    return {
        "sigma": _per_trial(fitted["sigma"]),
        "reachable": fitted["reachable"],
    }


def probes(arrays: Mapping[str, Arrays], confidence: float) -> dict[str, Any]:
    """Probe -> accuracy of a classifier that reads the code itself."""
    return {
        name: statistics.accuracy(a["prediction"] == a["label"], confidence).as_json()
        for name, a in arrays.items()
    }


def generalisation_gap(curve: Mapping[str, Any], confidence: float) -> dict[str, Any]:
    """Accuracy on train minus on validation, in the classifier's own view, by epoch and at the end."""
    train, validation = (
        np.asarray(curve[side]["accuracy"], float) for side in ("train", "validation")
    )
    gap = (train - validation).T  # [T,E]
    mean, interval = statistics.over_trials(gap, confidence)
    return {
        "mean": mean[-1],
        "interval_trials": None if interval is None else interval[-1],
        "per_trial": gap[:, -1],
        "by_epoch": {"mean": mean, "interval_trials": interval},
    }


def autoencoder_converged(curve: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the mean validation loss still fell over the last fifth of the epochs.

    `last_fifth_change` is the fall as a share of the loss before. Nothing with fewer than two epochs.
    """
    if len(curve["epoch"]) < 2:
        return {}
    loss = np.asarray(curve["validation"]["loss"], float).mean(axis=1)
    before = loss[-1 - math.ceil((len(loss) - 1) / 5)]
    change = (before - loss[-1]) / before
    return {"last_fifth_change": change, "converged": change < CONVERGED}


def per_class_change(
    cells: Mapping[Cell, Arrays], num_classes: int, confidence: float
) -> dict[str, Any]:
    """Recall of each class, reconstruction on reconstruction minus original on original.

    Positive is a gain here. Nothing where one of the two is not there.
    """
    if RECONSTRUCTION not in cells or ORIGINAL not in cells:
        return {}
    painted, original = (
        np.array([per_class(a["label"], row, num_classes)["recall"] for row in a["prediction"]])
        for a in (cells[RECONSTRUCTION], cells[ORIGINAL])
    )
    mean, interval = statistics.over_trials(painted - original, confidence)
    return {"mean": mean, "interval_trials": interval, "per_trial": painted - original}


def _psnr(mse: np.ndarray) -> np.ndarray:
    """Of the mean squared error pooled over images, by trial."""
    with np.errstate(divide="ignore"):  # what equals the original has no finite PSNR
        return -10 * np.log10(_mean_of_images(mse))


def _mean_of_images(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64).mean(axis=1)


def _per_trial(numbers: ArrayLike) -> dict[str, Any]:
    values = np.asarray(numbers, np.float64)
    return {"mean": values.mean(), "per_trial": values}
