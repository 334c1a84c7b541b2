"""Verdicts on differences in accuracy, judged against a margin.

docs/statistics.md says what each verdict means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from blurjax.analysis.formatting import level, p_in_words
from blurjax.analysis.statistics import FEWEST_TRIALS, Estimate, t_value, two_sided_p

FEWEST_TRIALS_TO_FORECAST = 5
"""With fewer, their spread is known too poorly to say how many trials would be needed."""
MOST_TRIALS_FORECAST = 1000


class Verdict(NamedTuple):
    """The verdict on a difference in accuracy."""

    verdict: Literal["equivalent", "worse", "better", "undecided"] | None
    """None: fewer than 3 trials, no verdict."""
    p: float | None
    """The p on which the verdict rests: the adjusted one, where one was given."""
    margin: float
    """Smaller differences count as none; in the unit of the estimate (0.01 is one point)."""
    smallest_margin: float | None
    """The smallest margin within which this run shows equivalence."""
    trials_needed: int | None
    """If undecided: about how many trials would decide it; None where that cannot be forecast."""
    sentence: str


def verdict(
    estimate: Estimate,
    margin: float,
    alpha: float = 0.05,
    *,
    p: float | None = None,
    is_gain: bool = False,
) -> Verdict:
    """Judges a difference in accuracy against a margin.

    `equivalent` if the interval of level 1 - 2 alpha lies within +-margin (two one-sided tests,
    Schuirmann 1987); else `worse` (a cost) or `better` if p < alpha; else `undecided`, with the
    reason why. No verdict with fewer than 3 trials.

    Args:
      estimate: a `statistics.difference`.
      margin: in the unit of the estimate: 0.01 for one point.
      alpha: accepted share of false alarms.
      p: the adjusted p, where the comparison belongs to a family (`holm`); None: its own.
      is_gain: whether positive means a gain in place of a cost.
    """
    own_p = two_sided_p(estimate)
    if own_p is None:
        sentence = f"No verdict: fewer than {FEWEST_TRIALS} trials do not show how trials differ."
        return Verdict(None, None, margin, None, None, sentence)
    p = own_p if p is None else p
    mean, (low, high) = estimate.mean, estimate.bounds(2 * alpha)
    smallest = max(-low, high)
    if smallest <= margin:
        bounds = f"{100 * low:+.2f} to {100 * high:+.2f} points"
        sentence = f"Equivalent: its {level(1 - 2 * alpha)} interval, {bounds}, is within ±{100 * margin:g}."
        return Verdict("equivalent", p, margin, smallest, None, sentence)
    if p < alpha:
        value = "better" if (mean > 0) == is_gain else "worse"
        sentence = f"{value.capitalize()} by {100 * abs(mean):.2f} points ({p_in_words(p)})."
        return Verdict(value, p, margin, smallest, None, sentence)
    # An adjusted p falls below alpha when the own one falls below this.
    needed, limit = _forecast(estimate, margin, alpha, alpha * own_p / p)
    decidable = f"the smallest margin this run can decide is ±{100 * smallest:.2f} points"
    return Verdict("undecided", p, margin, smallest, needed, f"Undecided: {decidable}. {limit}")


def smallest_equivalent(verdicts: Mapping[int, str | None]) -> int | None:
    """Returns the smallest bottleneck equivalent to the original; None if the widest is not.

    Tested from the widest down, stopping at the first failure: a fixed sequence of tests needs no
    correction.

    Args:
      verdicts: bottleneck -> `Verdict.verdict`.
    """
    smallest = None
    for bottleneck in sorted(verdicts, reverse=True):
        if verdicts[bottleneck] != "equivalent":
            break
        smallest = bottleneck
    return smallest


def _forecast(
    estimate: Estimate, margin: float, alpha: float, alpha_difference: float
) -> tuple[int | None, str]:
    """Returns how many trials would decide it, and a sentence, if mean and spread stay as they are."""
    distance, now = abs(estimate.mean), estimate.num_trials
    numbers = np.append(np.arange(now + 1.0, MOST_TRIALS_FORECAST + 1), np.inf)
    equivalent = estimate.half_width(2 * alpha, numbers, outward=True) <= margin - distance
    different = estimate.half_width(alpha_difference, numbers) < distance
    decided = equivalent | different
    images = float(estimate.half_width(2 * alpha, np.inf, outward=True))
    part = f"points to its {level(1 - 2 * alpha)} interval"
    if not decided[-1]:
        share = f"Test images alone contribute ±{100 * images:.2f} {part}"
        return None, f"{share}: at this difference more trials cannot help."
    if now < FEWEST_TRIALS_TO_FORECAST:
        trials = t_value(alpha, now - 1) * (estimate.standard_error_trials or 0.0)
        share = f"The spread between trials contributes ±{100 * trials:.2f} {part}"
        return None, f"{share}: more trials help; how many, {now} trials cannot tell."
    if not decided[:-1].any():
        return None, f"More than {MOST_TRIALS_FORECAST} trials would be needed."
    needed = int(numbers[np.argmax(decided)])
    return needed, f"About {needed} trials would decide it at this difference."
