"""What a run says about a difference: its four verdicts, and what limits it where it cannot tell."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from blurjax.analysis import statistics, verdicts


def an_estimate(mean, *, trials=0.0, images=0.0, num_trials=8):
    """An estimate with these standard errors."""
    base = statistics.estimate(np.zeros((num_trials, 100)))
    return dataclasses.replace(
        base, mean=mean, standard_error_trials=trials, standard_error_images=images
    )


def test_equivalent_if_the_90_percent_interval_lies_within_the_margin():
    judged = verdicts.verdict(an_estimate(0.002, images=0.004), margin=0.01)
    assert judged.verdict == "equivalent"
    assert judged.smallest_margin == pytest.approx(0.002 + 1.6448536269514722 * 0.004)
    assert judged.sentence == "Equivalent: its 90% interval, -0.46 to +0.86 points, is within ±1."
    assert verdicts.verdict(an_estimate(0.002, images=0.004), margin=0.008).verdict == "undecided"


def test_a_difference_can_be_significant_and_equivalent():
    judged = verdicts.verdict(an_estimate(0.003, images=0.001), margin=0.01)
    assert judged.p < 0.05
    assert judged.verdict == "equivalent"


def test_positive_is_worse_and_negative_better():
    worse = verdicts.verdict(an_estimate(0.03, images=0.01), margin=0.01)
    better = verdicts.verdict(an_estimate(-0.03, images=0.01), margin=0.01)
    assert (worse.verdict, better.verdict) == ("worse", "better")
    assert worse.p == better.p == pytest.approx(2 * stats.norm.sf(3))
    assert worse.sentence == "Worse by 3.00 points (p = 0.003)."
    assert better.sentence == "Better by 3.00 points (p = 0.003)."
    gained = verdicts.verdict(an_estimate(0.03, images=0.01), margin=0.01, is_gain=True)
    lost = verdicts.verdict(an_estimate(-0.03, images=0.01), margin=0.01, is_gain=True)
    assert (gained.verdict, lost.verdict) == ("better", "worse")
    clear = verdicts.verdict(an_estimate(0.06, images=0.01), margin=0.01)
    assert clear.sentence == "Worse by 6.00 points (p < 0.001)."


def test_an_adjusted_p_replaces_its_own():
    estimate = an_estimate(0.03, images=0.01)
    assert verdicts.verdict(estimate, margin=0.01, p=0.06).verdict == "undecided"
    assert verdicts.verdict(estimate, margin=0.01, p=0.04).p == 0.04


def test_undecided_because_of_the_test_images():
    judged = verdicts.verdict(an_estimate(0.005, images=0.011, trials=0.001), margin=0.01)
    assert judged.verdict == "undecided"
    assert judged.trials_needed is None
    assert "Test images alone contribute ±1.81 points to its 90% interval" in judged.sentence
    assert "more trials cannot help" in judged.sentence
    assert f"±{100 * judged.smallest_margin:.2f} points" in judged.sentence


def test_undecided_for_want_of_trials_says_how_many():
    estimate = an_estimate(0.0, trials=0.01, num_trials=8)
    judged = verdicts.verdict(estimate, margin=0.01)
    assert judged.verdict == "undecided"
    needed = judged.trials_needed
    assert f"About {needed} trials" in judged.sentence
    spread = 0.01 * math.sqrt(8)
    half = [stats.t.isf(0.05, n - 1) * spread / math.sqrt(n) for n in (needed - 1, needed)]
    assert half[1] <= 0.01 < half[0]


def test_trials_that_would_show_a_difference_count_as_deciding_too():
    estimate = an_estimate(0.05, trials=0.03, num_trials=5)
    judged = verdicts.verdict(estimate, margin=0.01)
    spread = 0.03 * math.sqrt(5)
    half = [
        stats.t.isf(0.025, n - 1) * spread / math.sqrt(n)
        for n in (judged.trials_needed - 1, judged.trials_needed)
    ]
    assert half[1] < 0.05 <= half[0]
    # A family of comparisons asks for more.
    p = min(1.0, 4 * judged.p)
    assert verdicts.verdict(estimate, 0.01, p=p).trials_needed > judged.trials_needed


def test_more_trials_cannot_help_where_the_floor_alone_exceeds_the_margin():
    """100 images that all trials answer alike: z * 2 / 100 at 90%, whatever the number of trials."""
    judged = verdicts.verdict(statistics.difference(np.zeros((8, 100))), margin=0.01)
    assert (judged.verdict, judged.trials_needed) == ("undecided", None)
    assert judged.smallest_margin == pytest.approx(1.6448536269514722 * 2 / 100)
    assert "Test images alone contribute ±3.29 points to its 90% interval" in judged.sentence


def test_too_few_trials_forecast_nothing():
    judged = verdicts.verdict(an_estimate(0.0, trials=0.01, num_trials=4), margin=0.01)
    assert judged.verdict == "undecided"
    assert judged.trials_needed is None
    # t(3) at 90% is 2.35.
    assert "The spread between trials contributes ±2.35 points" in judged.sentence
    assert "how many, 4 trials cannot tell" in judged.sentence


def test_a_hopeless_forecast_is_not_a_number():
    judged = verdicts.verdict(an_estimate(0.0099, trials=0.01), margin=0.01)
    assert judged.trials_needed is not None
    hopeless = verdicts.verdict(an_estimate(0.0, trials=0.5), margin=0.01)
    assert hopeless.trials_needed is None
    assert hopeless.sentence.endswith("More than 1000 trials would be needed.")


@pytest.mark.parametrize("num_trials", [1, 2])
def test_fewer_than_three_trials_get_no_verdict(num_trials):
    judged = verdicts.verdict(statistics.estimate(np.eye(num_trials, 30)), margin=10)
    assert (judged.verdict, judged.p) == (None, None)
    assert judged.sentence.startswith("No verdict: fewer than 3 trials")


def test_the_smallest_equivalent_bottleneck_stops_at_the_first_failure():
    judged = {8: "equivalent", 64: "equivalent", 16: "worse", 32: "equivalent"}
    assert verdicts.smallest_equivalent(judged) == 32
    assert verdicts.smallest_equivalent({8: "equivalent", 64: None}) is None
