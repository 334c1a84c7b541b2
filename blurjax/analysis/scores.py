"""The numbers of one point that are no differences between views: accuracy, calibration, image quality, learning.

Every function returns a block of results.json (docs/run_directory.md).
Axes: T trials, N images, K classes, E epochs, R radii of a spectrum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn import metrics

from blurjax.analysis import statistics
from blurjax.analysis.contrasts import ORIGINAL, RECONSTRUCTION
from blurjax.analysis.types import Arrays, Block, Cell

CONFIDENCE_BINS = 15
MOST_CLASSES_CONFUSED = 100
"""With more, their confusion matrices would make results.json too large; the predictions hold them."""
UNBALANCED = 1.5
"""With a larger ratio of class sizes in the test split, balanced accuracy stands beside accuracy."""


def transfer_scores(cells: Mapping[Cell, Arrays], num_classes: int, confidence: float) -> Block:
    """Computes the blocks that hold one entry per cell of the transfer matrix.

    Returns:
      `accuracy`, `balanced_accuracy`, `loss`, `ece`, `per_class` and `confusion` -> train view ->
      test view -> entry.
    """
    names = ("accuracy", "balanced_accuracy", "loss", "ece", "per_class", "confusion")
    blocks: Block = {name: {} for name in names}
    for (train_view, test_view), arrays in cells.items():
        label, predictions = arrays["label"], arrays["prediction"]
        correct = predictions == label
        errors = map(expected_calibration_error, arrays["confidence"], correct)
        by_class = [per_class(label, row, num_classes) for row in predictions]
        present = np.unique(label)
        scores = {
            "accuracy": statistics.accuracy(correct, confidence).as_json(),
            "balanced_accuracy": mean_and_trials([s["recall"][present].mean() for s in by_class]),
            "loss": statistics.estimate(arrays["loss"], confidence).as_json(),
            "ece": mean_and_trials(list(errors)),
            "per_class": {
                name: np.mean([score[name] for score in by_class], axis=0) for name in by_class[0]
            },
        }
        if num_classes <= MOST_CLASSES_CONFUSED:
            answers = np.tile(label, len(predictions)), predictions.ravel()
            scores["confusion"] = metrics.confusion_matrix(*answers, labels=range(num_classes))
        for name, entry in scores.items():
            blocks[name].setdefault(train_view, {})[test_view] = entry
    return blocks


def against_chance(correct: np.ndarray, labels: np.ndarray, confidence: float) -> Block:
    """Computes whether answers are better than always naming the most frequent class of the test split.

    Args:
      correct: bool[T,N].
      labels: i32[N].
      confidence: level of the interval.

    Returns:
      `most_frequent`, the share of that class; `above`, the ESTIMATE of accuracy minus that share,
      paired by image; `learned`, whether its interval lies above 0; `unbalanced`, whether that
      class has more than 1.5 times the images of the rarest.
    """
    counts = np.bincount(labels)
    named = labels == counts.argmax()
    above = statistics.difference(correct - named.astype(np.float64), confidence)
    return {
        "most_frequent": named.mean(),
        "above": above.as_json(),
        "learned": above.interval[0] > 0,
        "unbalanced": counts.max() > UNBALANCED * counts[counts > 0].min(),
    }


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Computes how far confidence is from accuracy: |accuracy - confidence| of each bin, weighted by size.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2: bins of equal width,
    each open below and closed above.

    Args:
      confidence: f32[N] in [0, 1], the probability of the predicted class.
      correct: bool[N].
    """
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    inner_edges = np.arange(1, CONFIDENCE_BINS) / CONFIDENCE_BINS
    bins = np.digitize(confidence, inner_edges, right=True)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=CONFIDENCE_BINS)
    return float(np.abs(gaps).sum() / confidence.size)


def per_class(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> dict[str, Any]:
    """Computes precision, recall and F1 of every class, each f64[K], of one trial; 0 where undefined."""
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels,
        predictions,
        labels=range(num_classes),
        zero_division=0,  # pyright: ignore[reportArgumentType]
    )
    return {"precision": precision, "recall": recall, "f1": f1}


def per_class_change(cells: Mapping[Cell, Arrays], num_classes: int, confidence: float) -> Block:
    """Computes the recall of each class, reconstruction on reconstruction minus original on original.

    Positive is a gain here. Empty where one of the two cells is not there.
    """
    if not {ORIGINAL, RECONSTRUCTION} <= cells.keys():
        return {}
    rebuilt, original = (
        np.array([per_class(a["label"], row, num_classes)["recall"] for row in a["prediction"]])
        for a in (cells[RECONSTRUCTION], cells[ORIGINAL])
    )
    mean, interval = statistics.over_trials(rebuilt - original, confidence)
    return {"mean": mean, "interval_trials": interval, "per_trial": rebuilt - original}


def usual_answers(cells: Mapping[Cell, Arrays], images: np.ndarray) -> Block:
    """Returns the answer that most trials give to some test images, and how many do; of equals the lower class.

    Args:
      cells: with original on original and reconstruction on reconstruction.
      images: i32[F], positions in the test split.

    Returns:
      `original_answer`, `original_votes`, `reconstruction_answer`, `reconstruction_votes`, i64[F] each.
    """
    block: Block = {}
    for cell in (ORIGINAL, RECONSTRUCTION):
        answers = cells[cell]["prediction"][:, images]
        counts = np.stack(
            [np.bincount(of_image, minlength=answers.max() + 1) for of_image in answers.T]
        )
        block[f"{cell[0]}_answer"] = counts.argmax(axis=1)
        block[f"{cell[0]}_votes"] = counts.max(axis=1)
    return block


def image_quality(recorded: Mapping[tuple[str, str], Arrays]) -> Block:
    """Computes view -> measure -> split -> the mean over images, by trial.

    PSNR is that of the mean squared error pooled over images; infinite for the original.

    Args:
      recorded: (view, split) -> `mse`, `ssim` and `laplacian_variance`, each f32[T,N].
    """
    blocks: Block = {}
    for (view, split), arrays in recorded.items():
        names = ("mse", "ssim", "laplacian_variance")
        mse, ssim, laplacian = (arrays[name].astype(np.float64).mean(axis=1) for name in names)
        means = {"psnr": psnr(mse), "ssim": ssim, "laplacian_variance": laplacian}
        for name, values in means.items():
            blocks.setdefault(view, {}).setdefault(name, {})[split] = mean_and_trials(values)
    return blocks


def per_class_psnr(
    recorded: Mapping[tuple[str, str], Arrays], cells: Mapping[Cell, Arrays], num_classes: int
) -> Block:
    """Computes view -> PSNR of each class's test images, f64[K], mean over trials; the original is left out.

    It is that of the mean squared error pooled over the images of a class; NaN for a class that has none,
    infinite where nothing is changed.

    Args:
      recorded: as in `image_quality`.
      cells: any, for the labels.
      num_classes: K.
    """
    if not cells:
        return {}
    label = next(iter(cells.values()))["label"]
    block: Block = {}
    for (view, split), arrays in recorded.items():
        if split == "test" and view != "original":
            mse = arrays["mse"].astype(np.float64)
            of_classes = [mse[:, label == k] for k in range(num_classes)]
            pooled = [m.mean(axis=1) if m.size else np.full(len(m), np.nan) for m in of_classes]
            block[view] = psnr(np.stack(pooled)).mean(axis=1)
    return block


def psnr(mse: np.ndarray) -> np.ndarray:
    """Returns the PSNR in dB of mean squared errors of values in [0,1]; infinite where one is 0."""
    with np.errstate(divide="ignore"):
        return -10 * np.log10(mse)


def spectra(recorded: Mapping[tuple[str, str], Arrays]) -> dict[str, np.ndarray]:
    """Computes view -> radial power spectrum of its test images, f64[R], mean over trials."""
    return {
        view: arrays["spectrum"].astype(np.float64).mean(axis=0)
        for (view, split), arrays in recorded.items()
        if split == "test"
    }


def history(curves: Arrays) -> Block:
    """Returns curves, f64[T,E] by side and measure, as the HISTORY of docs/run_directory.md, [E][T]."""
    num_epochs = max((values.shape[1] for values in curves.values()), default=0)
    block: Block = {"epoch": list(range(1, num_epochs + 1))}
    for name, values in curves.items():
        side, measure = name.split(".")
        block.setdefault(side, {})[measure] = values.T
    return block


def generalisation_gap(curves: Arrays, confidence: float) -> Block:
    """Computes accuracy on train minus on validation, in the classifier's own view, by epoch and at the end."""
    gap = curves["train.accuracy"] - curves["validation.accuracy"]
    mean, interval = statistics.over_trials(gap, confidence)
    return {
        "mean": mean[-1],
        "interval_trials": None if interval is None else interval[-1],
        "per_trial": gap[:, -1],
        "by_epoch": {"mean": mean, "interval_trials": interval},
    }


def mean_and_trials(numbers: ArrayLike) -> Block:
    """Returns one number per trial, f64[T], and their mean."""
    values = np.asarray(numbers, np.float64)
    return {"mean": values.mean(), "per_trial": values}
