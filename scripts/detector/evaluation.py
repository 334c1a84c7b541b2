"""How well scores tell blurry images from sharp ones, with intervals that count photographs, not images.

Versions of one photograph are no independent evidence: they are one group, and intervals are bootstrapped
over groups (Efron and Tibshirani 1993, "An Introduction to the Bootstrap"). Axes: N images, G groups,
B resamples, K bins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blurjax.analysis.scores import CONFIDENCE_BINS as BINS
from blurjax.runtime.errors import UserError

RESAMPLES = 2000
"""They are the same in every call: numbers of the same photographs differ by the scores alone."""
TAILS, Z = (0.025, 0.975), 1.959964
FEWEST = 15
"""With fewer photographs of a label, the bootstrap's interval of the AUC is too narrow."""
WEIGHTS_AT_ONCE = 2**21
"""Resamples are worked off in blocks of so many weights of images."""

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]
Groups = NDArray[np.int64]


class Bounded(NamedTuple):
    """A number with its 95% interval over photographs."""

    value: float
    interval: tuple[float, float]


class Evaluation(NamedTuple):
    """How well scores of N images of G photographs tell which are blurry."""

    auc: Bounded
    """Probability that a blurry image has a higher score than a sharp one; equal scores count one half."""
    average_precision: Bounded
    """Mean precision over recall, scikit-learn's `average_precision_score`; by chance, the share of blurry images."""
    ece: Bounded | None
    """Expected calibration error; None for scores that are no probabilities."""
    num_images: int
    num_photographs: int


class Reliability(NamedTuple):
    """A reliability diagram: mean probability, f64[K], and share that is blurry of each bin; NaN without images."""

    probability: Floats
    share_blurry: Floats
    interval: Floats
    """95% interval of that share over photographs, f64[K,2]."""
    count: NDArray[np.int64]


def evaluate(
    scores: ArrayLike, blurry: ArrayLike, photographs: ArrayLike, *, are_probabilities: bool = False
) -> Evaluation:
    """Computes ROC AUC, average precision and expected calibration error with 95% intervals.

    The error is that of Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2, for two
    classes: |share of blurry images - mean probability| of each bin, weighted by its size. Intervals are
    the middle 95% of resamples, without those of one label. In two cases these would promise too much:

    - Where the AUC is 1, or one label has fewer than 15 photographs, resamples agree too well. The
      interval of the AUC is then Newcombe's (2006, Statistics in Medicine 25, 559-573, method 5), of
      as many images as photographs. The average precision has no such guard.
    - Chance adds to the calibration error, never takes from it. Its lower bound is the error minus
      the error that chance alone exceeds with a probability of 2.5%, at least 0.

    Args:
      scores: f64[N], higher for blurrier images: of a measure of sharpness, its negative.
      blurry: bool[N].
      photographs: [N] of any type that sorts: which photograph an image was made from.
      are_probabilities: whether scores are probabilities of being blurry.

    Raises:
      UserError: shapes differ, scores are not finite or no probabilities, all images have one label, or
        all are of one photograph.
    """
    values, labels, group = _checked(scores, blurry, photographs, are_probabilities)
    found, resampled = _bootstrap(lambda weights: _ranking(values, labels, weights), group)
    (low, least), (high, most) = np.nanquantile(resampled, TAILS, axis=0).tolist()
    auc, precision, num_groups = *found.tolist(), int(group.max()) + 1
    counts = [np.unique(group[labels == label]).size for label in (True, False)]
    if auc == 1 or min(counts) < FEWEST:
        low, high = _newcombe(auc, *counts)
    ece = _calibration(values, labels, group) if are_probabilities else None
    found = Bounded(auc, (low, high)), Bounded(precision, (least, most))
    return Evaluation(*found, ece, values.size, num_groups)


def auc_difference(
    scores: ArrayLike, others: ArrayLike, blurry: ArrayLike, photographs: ArrayLike
) -> Bounded:
    """Computes the AUC of scores minus that of others, f64[N] both, with a 95% interval paired by photograph.

    Arguments and errors are those of `evaluate`.
    """
    a, labels, group = _checked(scores, blurry, photographs, False)
    b, _, _ = _checked(others, blurry, photographs, False)
    found, resampled = _bootstrap(lambda w: _ranking(a, labels, w) - _ranking(b, labels, w), group)
    low, high = np.nanquantile(resampled[:, 0], TAILS).tolist()
    return Bounded(float(found[0]), (low, high))


@np.errstate(invalid="ignore")
def reliability(probabilities: ArrayLike, blurry: ArrayLike, photographs: ArrayLike) -> Reliability:
    """Computes a reliability diagram in 15 bins of equal width; arguments and errors are those of `evaluate`."""
    values, labels, group = _checked(probabilities, blurry, photographs, True)
    inside, interval = _in_bins(values), np.full((BINS, 2), np.nan)
    count = np.count_nonzero(inside, axis=0)
    shares, resampled = _bootstrap(lambda w: (w * labels) @ inside / (w @ inside), group)
    interval[count > 0] = np.nanquantile(resampled[:, count > 0], TAILS, axis=0).T
    return Reliability(values @ inside / count, shares, interval, count)


def _newcombe(auc: float, num_blurry: int, num_sharp: int) -> tuple[float, float]:
    """Returns the least and the largest AUC whose standard error explains the one that is found."""
    true, others = np.linspace(0, 1, 10_001), (num_blurry + num_sharp) / 2 - 1
    spread = 1 + others * ((1 - true) / (2 - true) + true / (1 + true))
    variance = true * (1 - true) * spread / (num_blurry * num_sharp)
    near = true[np.square(auc - true) <= Z**2 * variance + 1e-12]
    return float(near[0]), float(near[-1])


def _calibration(scores: Floats, blurry: Labels, group: Groups) -> Bounded:
    """Computes the expected calibration error with its interval; see `evaluate`."""
    by_image = _in_bins(scores) * (blurry - scores)[:, None]
    gaps, resampled = _bootstrap(lambda w: w @ by_image / w.sum(axis=1)[:, None], group)
    error = float(np.abs(gaps).sum())
    errors = np.abs([resampled - gaps, resampled]).sum(axis=2)
    by_chance, most = np.quantile(errors, TAILS[1], axis=1).tolist()
    return Bounded(error, (max(0.0, error - by_chance), most))


@np.errstate(invalid="ignore")
def _ranking(scores: Floats, blurry: Labels, weights: Floats) -> Floats:
    """Computes AUC and average precision, f64[B,2], of images weighted f64[B,N]; NaN with one label only."""
    order = np.argsort(-scores)
    firsts = np.flatnonzero(np.diff(-scores[order], prepend=-np.inf))
    blurred, sharp = (  # of each score, from the highest on
        np.add.reduceat(weights[:, order] * label[order], firsts, axis=1)
        for label in (blurry, ~blurry)
    )
    found, wrong = np.cumsum(blurred, axis=1), np.cumsum(sharp, axis=1)
    pairs = found[:, -1] * wrong[:, -1]
    auc = 1 - (blurred * (wrong - sharp / 2)).sum(axis=1) / pairs
    precision = (blurred * found / np.maximum(found + wrong, 1)).sum(axis=1) / found[:, -1]
    return np.stack([auc, np.where(pairs > 0, precision, np.nan)], axis=1)


def _in_bins(probabilities: Floats) -> Floats:
    """Returns which bin each image is in, f64[N,K] of 0 and 1."""
    return np.eye(BINS)[np.digitize(probabilities, np.arange(1, BINS) / BINS, right=True)]


def _bootstrap(statistic: Callable[[Floats], Floats], group: Groups) -> tuple[Floats, Floats]:
    """Returns the statistic of all images, and f64[B,...] of resamples of their groups, i64[N] below G.

    The statistic takes weights f64[b,N]: how often each of b resamples contains each image.
    """
    rng, num_groups = np.random.default_rng(0), int(group.max()) + 1
    block = max(1, WEIGHTS_AT_ONCE // group.size)
    values = [statistic(np.ones((1, group.size)))]
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        drawn = rng.integers(num_groups, size=(size, num_groups))
        drawn += num_groups * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=drawn.size)
        values.append(statistic(times.reshape(size, num_groups)[:, group].astype(np.float64)))
    return values[0][0], np.concatenate(values[1:])


def _checked(
    scores: ArrayLike, blurry: ArrayLike, photographs: ArrayLike, are_probabilities: bool
) -> tuple[Floats, Labels, Groups]:
    """Returns scores, labels and the number of each image's group; see `evaluate`."""
    values, labels = np.asarray(scores, np.float64), np.asarray(blurry, np.bool_)
    names = np.asarray(photographs)
    if values.ndim != 1 or not values.shape == labels.shape == names.shape:
        shapes = f"{values.shape}, {labels.shape} and {names.shape}"
        raise UserError(f"Scores, labels and photographs must be of one length, not {shapes}.")
    if not np.isfinite(values).all():
        raise UserError("Some scores are NaN or infinite: leave these images out.")
    unique, group = np.unique(names, return_inverse=True)
    if labels.all() or not labels.any() or unique.size < 2:
        given = f"{values.size} images of {unique.size} photographs, {labels.sum()} of them blurry"
        raise UserError(f"Give blurry and sharp images of at least two photographs, not {given}.")
    if are_probabilities and not (values.min() >= 0 and values.max() <= 1):
        raise UserError("Some scores are not in [0, 1]: they are no probabilities.")
    return values, labels, group
