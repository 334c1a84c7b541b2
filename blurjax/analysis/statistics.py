"""Estimates with intervals, and p values.

Trials and test images are crossed: every trial meets the same images. So an uncertainty has two
parts, new trials and new test images, estimated as two-way variance components and joined as the
root of their sum of squares. docs/statistics.md says in plain English what each number means.
Axes: T trials, N test images.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

FEWEST_TRIALS = 3
"""With fewer, the spread between trials is not estimated: intervals cover test images only."""
FEWEST_DISCORDANT = 4
"""A difference is never more certain than if so many images were answered differently in every trial."""

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over trials and test images with its uncertainty."""

    mean: float
    interval: tuple[float, float]
    """Covers new trials and new test images; with fewer than 3 trials new test images only."""
    interval_trials: tuple[float, float] | None
    """Covers new trials on this test set; None with fewer than 3 trials."""
    per_trial: tuple[float, ...]
    """The mean of each trial, in the order given."""
    standard_error_trials: float | None
    """sd(r) / sqrt(T), r the means of the trials; None with fewer than 3 trials."""
    standard_error_images: float
    """The part of the standard error that comes from the choice of test images."""
    least_standard_error: float = 0.0
    """Half of the interval is at least z times this; more than 0 only in a `difference`."""
    variance_growth: float = 0.0
    """By how much the squares of these two grow with the distance of the true mean from 0, in a `difference`."""

    @property
    def num_trials(self) -> int:
        """The number of trials, T."""
        return len(self.per_trial)

    def half_width(
        self, alpha: float, num_trials: ArrayLike | None = None, *, outward: bool = False
    ) -> Any:
        """Computes how far the interval of level 1 - alpha reaches towards 0, before Wilson's form.

        Args:
          alpha: share of intervals allowed to miss.
          num_trials: forecasts the width for other numbers of trials (scalar or array; inf: the
            part of the test images alone), if they spread as these do; None: the actual number.
          outward: how far it reaches away from 0 instead, which is more only in a `difference`.

        Returns:
          A float, or an array shaped as num_trials.
        """
        z = z_value(alpha / 2)
        shift = z**2 * self.variance_growth / 2 if outward else 0.0
        errors = self.standard_error_images, self.least_standard_error
        images, least = (shift + math.hypot(z * error, shift) for error in errors)
        if self.standard_error_trials is None:
            return max(images, least)
        trials = np.asarray(self.num_trials if num_trials is None else num_trials, np.float64)
        standard_error = self.standard_error_trials * np.sqrt(self.num_trials / trials)
        half_trials = t_value(alpha / 2, trials - 1) * standard_error
        return np.maximum(np.hypot(half_trials, images), least)

    def bounds(self, alpha: float) -> tuple[float, float]:
        """Returns the interval of level 1 - alpha, before Wilson's form."""
        low, high = (float(self.half_width(alpha, outward=outward)) for outward in (False, True))
        if self.mean < 0:
            low, high = high, low
        return self.mean - low, self.mean + high

    def as_json(self) -> dict[str, Any]:
        """Returns the ESTIMATE of docs/run_directory.md."""
        names = ("mean", "interval", "interval_trials", "per_trial")
        return {name: getattr(self, name) for name in names}


def estimate(values: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Computes the mean of values[T,N] with a two-part interval.

    With row means r, column means c, mean m and noise = sum (D - r - c + m)^2 / ((T-1)(N-1)),

        half_trials = t(T-1) * sd(r) / sqrt(T)        interval_trials = m +- half_trials
        half_images = z * sqrt(max(T*var(c) - noise, 0) / (T*N))
        interval = m +- hypot(half_trials, half_images)

    With T < 3 it is the interval of these very models on new images: m +- z * sd(c) / sqrt(N).

    Args:
      values: real[T,N] or bool[T,N]: losses, correctness, or a paired difference of losses.
      confidence: the level, in (0, 1).

    Raises:
      ValueError: values is not two-dimensional, has no trial, or has fewer than two images.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or values.shape[0] < 1 or values.shape[1] < 2:
        raise ValueError(f"values must be [T,N] with T >= 1 and N >= 2, not {values.shape}")
    mean = float(values.mean())
    errors = _standard_errors(values)
    half_trials, half_images = _halves(*errors, len(values), confidence)
    half = math.hypot(half_trials or 0.0, half_images)
    return Estimate(
        mean=mean,
        interval=(mean - half, mean + half),
        interval_trials=None if half_trials is None else (mean - half_trials, mean + half_trials),
        per_trial=tuple(values.mean(axis=1).tolist()),
        standard_error_trials=errors[0],
        standard_error_images=errors[1],
    )


def accuracy(correct: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Computes the mean of correct[T,N], a share, with Wilson's form of the two-part interval.

    Wilson's bounds are the two shares p with (p - m)^2 = z^2 / n * p(1 - p). Here n is n_eff, the
    number of independent images that would be as uncertain: z^2 m(1 - m) / n_eff = half_width^2.
    It is at most T*N; where m is 0 or 1, and the half-width therefore 0, it is N: all trials may
    err on the same images. Both intervals stay in [0, 1], and `interval_trials` (its n_eff from
    half_trials alone, without limit) lies inside `interval`.

    Arguments and errors are those of `estimate`; correct is bool[T,N], or 0 and 1.
    """
    plain = estimate(correct, confidence)
    num_trials, num_images = np.shape(correct)
    mean, variance = plain.mean, plain.mean * (1 - plain.mean)
    z_squared = z_value((1 - confidence) / 2) ** 2
    errors = plain.standard_error_trials, plain.standard_error_images
    of_trials, half_images = _halves(*errors, num_trials, confidence)
    half_trials = of_trials or 0.0
    if variance == 0:
        spread, spread_trials = z_squared / num_images, 0.0
    else:
        least = z_squared / (num_trials * num_images)
        spread = max((half_trials**2 + half_images**2) / variance, least)
        spread_trials = half_trials**2 / variance
    trials = None if of_trials is None else _wilson(mean, spread_trials)
    return dataclasses.replace(plain, interval=_wilson(mean, spread), interval_trials=trials)


def difference(values: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Computes the mean of values[T,N], a paired difference of correctness, also where few answers differ.

    Near perfect accuracies few images decide, and the spread that they show is small by chance
    just where their number is. So the interval of `estimate` is changed in two ways. Half of it is
    at least z * sqrt(4) / N, as with 4 images on which all trials differ. And away from 0 its
    variance of images grows with the difference, by |m| / (q N), q being the share of answers that
    differ: the first-order growth in Tango's score interval of paired proportions (1998, Statistics
    in Medicine 17, 891-908). `interval_trials` is that of `estimate`.

    Arguments and errors are those of `estimate`; values are -1, 0 and 1 (-2 to 2 in a difference
    of two differences).
    """
    plain = estimate(values, confidence)
    num_images = np.shape(values)[1]
    discordant = float(np.abs(values).mean())
    guarded = dataclasses.replace(
        plain,
        least_standard_error=math.sqrt(FEWEST_DISCORDANT) / num_images,
        variance_growth=abs(plain.mean) / (discordant * num_images) if discordant else 0.0,
    )
    return dataclasses.replace(guarded, interval=guarded.bounds(1 - confidence))


def paired(a: ArrayLike, b: ArrayLike) -> Floats:
    """Returns a[T,N] - b[T,N], f64: paired by trial and image.

    Raises:
      ValueError: a and b differ in shape.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"pairs must have one shape, not {first.shape} and {second.shape}")
    return first - second


def over_trials(values: ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats | None]:
    """Computes the mean of one number per trial, with the t interval over trials.

    Args:
      values: real[T,...]: several such numbers may stand side by side.
      confidence: the level, in (0, 1).

    Returns:
      f64[...] and f64[...,2]; None instead of the interval with fewer than 3 trials.
    """
    values = np.asarray(values, np.float64)
    mean, num_trials = values.mean(axis=0), len(values)
    if num_trials < FEWEST_TRIALS:
        return mean, None
    t = t_value((1 - confidence) / 2, num_trials - 1)
    half = t * values.std(axis=0, ddof=1) / math.sqrt(num_trials)
    return mean, np.stack([mean - half, mean + half], axis=-1)


def flips(a: ArrayLike, b: ArrayLike) -> NDArray[np.int32]:
    """Counts the trials in which an image's answer is right in exactly one of two views, bool[T,N] each: i32[N]."""
    return np.abs(paired(a, b)).sum(axis=0).astype(np.int32)


def z_value(tail: float) -> float:
    """Returns what a standard normal variable exceeds with a probability of tail."""
    return -float(special.ndtri(tail))


def t_value(tail: float, degrees_of_freedom: ArrayLike) -> Any:
    """Returns what Student's t exceeds with a probability of tail, shaped as degrees_of_freedom (inf: normal)."""
    return -special.stdtrit(degrees_of_freedom, tail)


def two_sided_p(estimate: Estimate) -> float | None:
    """Computes the alpha at which the interval of level 1 - alpha touches 0; None with fewer than 3 trials.

    Found by root search, since the quantiles of t and z do not shrink together. 0.0 stands for
    less than 1e-100, beyond which scipy's quantiles of t fail.
    """
    if estimate.interval_trials is None:
        return None
    if estimate.mean == 0:
        return 1.0

    def beyond_zero(log_alpha: float) -> float:
        return float(estimate.half_width(math.exp(log_alpha))) - abs(estimate.mean)

    least = math.log(1e-100)
    if beyond_zero(least) < 0:
        return 0.0
    found = optimize.root_scalar(beyond_zero, bracket=(least, 0.0), method="brentq")
    return math.exp(found.root)


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Adjusts the p of a family of comparisons (Holm 1979, step-down); a missing p stays so and is not counted."""
    present = {name: p for name, p in p_values.items() if p is not None}
    adjusted: dict[str, float | None] = dict.fromkeys(p_values)
    largest = 0.0
    for rank, (name, p) in enumerate(sorted(present.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(present) - rank) * p))
        adjusted[name] = largest
    return adjusted


def _standard_errors(values: Floats) -> tuple[float | None, float]:
    """Returns the standard errors (of trials, None with too few; of images) from two-way variance components."""
    num_trials, num_images = values.shape
    per_image, per_trial = values.mean(axis=0), values.mean(axis=1)
    if num_trials < FEWEST_TRIALS:
        return None, float(per_image.std(ddof=1)) / math.sqrt(num_images)
    residuals = values - per_trial[:, None] - per_image + values.mean()
    noise = np.square(residuals).sum() / ((num_trials - 1) * (num_images - 1))
    of_images = max(num_trials * per_image.var(ddof=1) - noise, 0.0)
    return (
        float(per_trial.std(ddof=1)) / math.sqrt(num_trials),
        math.sqrt(of_images / (num_trials * num_images)),
    )


def _halves(
    error_trials: float | None, error_images: float, num_trials: int, confidence: float
) -> tuple[float | None, float]:
    """Returns half of `interval_trials`, and the part of the test images in half of `interval`."""
    tail = (1 - confidence) / 2
    half_images = z_value(tail) * error_images
    if error_trials is None:
        return None, half_images
    return t_value(tail, num_trials - 1) * error_trials, half_images


def _wilson(mean: float, spread: float) -> tuple[float, float]:
    """Returns the two p with (p - mean)^2 = spread * p(1 - p), where spread is z^2 / n."""
    centre = mean + spread / 2
    half = math.sqrt(spread * mean * (1 - mean) + spread**2 / 4)
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    # Rounding alone could leave [0, 1] or exclude a mean of 0 or 1.
    return min(max(low, 0.0), mean), max(min(high, 1.0), mean)
