"""What intervals and p are, by hand-computed numbers, oracles and simulation."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from blurjax.analysis import statistics
from blurjax.analysis.verdicts import verdict

# Row means 2, 4, 9, column means 3, 7, mean 5; residuals +-2, 0, +-2: noise 16 / (2 * 1) = 8.
SMALL = np.array([[2.0, 2.0], [2.0, 6.0], [5.0, 13.0]])


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


# Estimates


def test_the_two_parts_of_an_interval_by_hand():
    estimate = statistics.estimate(SMALL, confidence=0.95)
    # var(r) = (9 + 1 + 16) / 2 = 13; var(c) = 8, T*var(c) - noise = 24 - 8 = 16.
    half_trials = 4.302652729749462 * math.sqrt(13 / 3)
    half_images = 1.959963984540054 * math.sqrt(16 / 6)
    assert estimate.mean == 5
    assert estimate.per_trial == (2, 4, 9)
    assert estimate.num_trials == 3
    assert_close(estimate.standard_error_trials, math.sqrt(13 / 3))
    assert_close(estimate.standard_error_images, math.sqrt(16 / 6))
    assert_close(estimate.interval_trials, (5 - half_trials, 5 + half_trials))
    half = math.sqrt(half_trials**2 + half_images**2)
    assert_close(estimate.interval, (5 - half, 5 + half))


def test_images_that_differ_by_noise_alone_contribute_nothing():
    # A Latin square: column means equal, residuals not.
    estimate = statistics.estimate([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert estimate.standard_error_images == 0
    assert estimate.standard_error_trials == pytest.approx(0)


def test_equal_trials_leave_the_interval_to_the_images(rng):
    image = rng.normal(size=50)
    estimate = statistics.estimate(np.tile(image, (4, 1)))
    assert estimate.standard_error_trials == pytest.approx(0, abs=1e-12)
    # T*var(c) - 0, over T*N: the interval of one mean.
    assert_close(estimate.standard_error_images, stats.sem(image))


def test_one_value_a_trial_leaves_the_interval_to_the_trials(rng):
    trial = rng.normal(size=6)
    expected = stats.ttest_1samp(trial, 0).confidence_interval(0.9)
    estimate = statistics.estimate(np.tile(trial[:, None], (1, 40)), confidence=0.9)
    assert estimate.standard_error_images == pytest.approx(0, abs=1e-12)
    assert_close(estimate.interval, (expected.low, expected.high))
    p = stats.ttest_1samp(trial, 0).pvalue
    assert statistics.two_sided_p(estimate) == pytest.approx(p, rel=1e-6)


@pytest.mark.parametrize("num_trials", [1, 2])
def test_fewer_than_three_trials_cover_test_images_only(rng, num_trials):
    values = rng.normal(size=(num_trials, 30))
    estimate = statistics.estimate(values)
    half = 1.959963984540054 * stats.sem(values.mean(axis=0))
    assert_close(estimate.interval, (values.mean() - half, values.mean() + half))
    assert estimate.interval_trials is None
    assert estimate.standard_error_trials is None
    assert estimate.as_json()["interval_trials"] is None
    assert statistics.two_sided_p(estimate) is None


def test_the_order_of_trials_and_images_changes_nothing(rng):
    values = rng.normal(size=(5, 40))
    shuffled = values[rng.permutation(5)][:, rng.permutation(40)]
    a, b = statistics.estimate(values), statistics.estimate(shuffled)
    assert_close(a.interval, b.interval)
    assert_close(a.interval_trials, b.interval_trials)
    assert_close(sorted(a.per_trial), sorted(b.per_trial))


def test_an_interval_moves_and_scales_with_the_values(rng):
    values = rng.normal(size=(5, 40))
    a, b = statistics.estimate(values), statistics.estimate(3 - 2 * values)
    assert_close(b.interval, (3 - 2 * a.interval[1], 3 - 2 * a.interval[0]))
    assert_close(b.interval_trials, (3 - 2 * a.interval_trials[1], 3 - 2 * a.interval_trials[0]))


def test_a_difference_is_paired(rng):
    easy, trial = rng.normal(size=(1, 40)), rng.normal(size=(4, 1))
    a, b = easy + trial + 1, easy + trial
    assert_close(statistics.estimate(statistics.paired(a, b)).interval, (1, 1))
    assert statistics.paired([[True, False]], [[False, True]]).tolist() == [[1, -1]]


def test_the_width_forecast_for_other_numbers_of_trials():
    estimate = statistics.estimate(SMALL)
    assert_close(estimate.half_width(0.05), estimate.interval[1] - estimate.mean)
    # A quarter of the variance with 12 trials, and 11 degrees of freedom.
    half_trials = 2.200985160082949 * math.sqrt(13 / 12)
    forecast = estimate.half_width(0.05, [3, 12, math.inf])
    assert_close(forecast[0], estimate.half_width(0.05))
    half_images = 1.959963984540054 * math.sqrt(16 / 6)
    assert_close(forecast[1], math.hypot(half_trials, half_images))
    assert_close(forecast[2], half_images)


@pytest.mark.parametrize("shape", [(4,), (0, 4), (3, 1), (2, 3, 4)])
def test_values_must_be_trials_by_images(shape):
    with pytest.raises(ValueError, match=r"values must be \[T,N\]"):
        statistics.estimate(np.zeros(shape))


def test_pairs_must_have_one_shape():
    with pytest.raises(ValueError, match=r"one shape, not \(3, 4\) and \(1, 4\)"):
        statistics.paired(np.zeros((3, 4)), np.zeros((1, 4)))


# Accuracies


def test_accuracy_has_the_wilson_interval_of_its_effective_number_of_images(rng):
    correct = rng.random((5, 200)) < np.linspace(0.6, 1, 200)
    plain, accuracy = statistics.estimate(correct), statistics.accuracy(correct)
    half, m = plain.interval[1] - plain.mean, plain.mean
    z = 1.959963984540054
    n = z**2 * m * (1 - m) / half**2
    centre = (m + z**2 / (2 * n)) / (1 + z**2 / n)
    spread = z / (1 + z**2 / n) * math.sqrt(m * (1 - m) / n + z**2 / (4 * n**2))
    assert_close(accuracy.interval, (centre - spread, centre + spread))
    assert accuracy.mean == plain.mean


def test_where_all_are_right_accuracy_is_as_certain_as_one_trial():
    accuracy = statistics.accuracy(np.ones((4, 50), bool))
    oracle = stats.binomtest(50, 50).proportion_ci(method="wilson")
    assert_close(accuracy.interval, (oracle.low, 1))
    assert accuracy.interval_trials == (1, 1)
    none_right = statistics.accuracy(np.zeros((4, 50), bool))
    assert_close(none_right.interval, (0, 1 - oracle.low))


def test_an_accuracy_is_never_more_certain_than_all_its_answers_were_independent():
    # Every trial and every image is right once in three: neither part of the half-width is left.
    accuracy = statistics.accuracy(np.eye(3, dtype=bool))
    oracle = stats.binomtest(3, 9).proportion_ci(method="wilson")
    assert_close(accuracy.interval, (oracle.low, oracle.high))


def test_accuracy_intervals_stay_in_range_and_nested(rng):
    for share in (0.002, 0.01, 0.5, 0.99, 0.998):
        for num_trials in (1, 2, 3, 5):
            estimate = statistics.accuracy(rng.random((num_trials, 100)) < share)
            low, high = estimate.interval
            assert 0 <= low <= estimate.mean <= high <= 1
            if num_trials >= 3:
                inner_low, inner_high = estimate.interval_trials
                assert low <= inner_low <= estimate.mean <= inner_high <= high


def test_wrong_answers_mirror_right_ones(rng):
    correct = rng.random((4, 80)) < 0.9
    low, high = statistics.accuracy(correct).interval
    assert_close(statistics.accuracy(~correct).interval, (1 - high, 1 - low))


# Differences of correctness

Z = 1.959963984540054


def alike(num_trials, num_images, lost, gained):
    """A paired difference in which all trials differ on the same images."""
    row = np.zeros(num_images)
    row[:lost], row[lost : lost + gained] = 1, -1
    return np.tile(row, (num_trials, 1))


@pytest.mark.parametrize("num_trials", [1, 3])
def test_answers_that_never_differ_leave_what_four_images_would(num_trials):
    difference = statistics.difference(np.zeros((num_trials, 20)))
    assert_close(difference.interval, (-Z * 2 / 20, Z * 2 / 20))
    if num_trials == 3:
        assert difference.interval_trials == (0, 0)
        assert statistics.two_sided_p(difference) == 1
        assert verdict(difference, margin=0.16).verdict == "undecided"
        assert verdict(difference, margin=0.17).verdict == "equivalent"


def test_the_floor_is_of_the_whole_interval_and_adds_nothing_to_a_longer_one():
    # Latin squares: the spread of neither trials nor images is left, then that of the trials.
    difference = statistics.difference(np.eye(3, 30))
    assert difference.interval[0] == pytest.approx(3 / 90 - Z * 2 / 30)
    trials = np.repeat([[1], [0], [0]], 30, axis=1)
    assert statistics.difference(trials).interval[0] == statistics.estimate(trials).interval[0]


@pytest.mark.parametrize("sign", [1, -1])
def test_away_from_zero_the_interval_is_longer_by_hand(sign):
    difference = statistics.difference(sign * alike(5, 400, 12, 4))
    # m = 8 / 400, q = 16 / 400; var(c) / N = (0.04 - 0.02^2) / 399.
    images, shift = Z * math.sqrt(0.0396 / 399), Z**2 * 0.5 / (2 * 400)
    towards, away = 0.02 - images, 0.02 + shift + math.hypot(images, shift)
    assert_close(difference.interval, (towards, away) if sign > 0 else (-away, -towards))
    # Towards 0, and so in p, it is the interval of `estimate`.
    plain = statistics.estimate(alike(5, 400, 12, 4))
    p = statistics.two_sided_p(plain)
    assert statistics.two_sided_p(difference) == pytest.approx(p, rel=1e-9)
    for level in (0.05, 0.1):
        low, high = sorted(sign * np.array(difference.bounds(level)))
        judged = verdict(difference, margin=high * 1.0001, alpha=level / 2)
        assert (low, judged.verdict) == (pytest.approx(plain.bounds(level)[0]), "equivalent")
        assert verdict(difference, margin=high * 0.9999, alpha=level / 2).verdict != "equivalent"


def tango(lost, gained, num_images):
    """The upper bound of Tango's 95% score interval (1998), by root search."""

    def beyond(delta):
        b = -lost - gained + (2 * num_images - lost + gained) * delta
        c = -gained * delta * (1 - delta)
        p21 = (math.sqrt(b**2 - 8 * num_images * c) - b) / (4 * num_images)
        variance = num_images * (2 * p21 + delta * (1 - delta))
        return (num_images * delta - lost + gained) ** 2 - Z**2 * variance

    return optimize.brentq(beyond, (lost - gained) / num_images, 0.9)


def test_tango_in_one_direction_is_wilson():
    assert tango(6, 0, 2000) == pytest.approx(
        stats.binomtest(6, 2000).proportion_ci(method="wilson").high
    )


@pytest.mark.parametrize(("lost", "gained"), [(6, 0), (12, 0), (60, 20), (90, 90)])
def test_away_from_zero_it_is_nearly_the_score_interval(lost, gained):
    """Exactly in one direction; the second order, which it leaves out, is small with many in both."""
    values = alike(4, 5000, lost, gained)
    mean, oracle = values.mean(), tango(lost, gained, 5000)
    away = statistics.difference(values).interval[1] - mean
    assert away == pytest.approx(oracle - mean, rel=0.02)
    if lost > gained:  # which the symmetric interval is not
        assert statistics.estimate(values).interval[1] - mean < 0.95 * (oracle - mean)


# One number a trial; flips


def test_numbers_of_trials_have_t_intervals(rng):
    values = rng.normal(size=(6, 2))
    mean, interval = statistics.over_trials(values, 0.9)
    for k in range(2):
        expected = stats.ttest_1samp(values[:, k], 0).confidence_interval(0.9)
        assert_close(interval[k], (expected.low, expected.high))
    assert_close(mean, values.mean(axis=0))
    assert statistics.over_trials(values[:2])[1] is None


def test_flips_count_the_trials_whose_correctness_differs():
    a = np.array([[True, True, False], [True, False, False]])
    b = np.array([[True, False, True], [True, True, False]])
    assert statistics.flips(a, b).tolist() == [0, 2, 1]
    assert statistics.flips(a, b).dtype == np.int32


# p and Holm


def test_p_is_the_alpha_at_which_the_interval_touches_zero(rng):
    values = rng.normal(0.3, 1, size=(4, 60)) + rng.normal(size=(1, 60)) / 2
    p = statistics.two_sided_p(statistics.estimate(values))
    assert 0 < p < 1
    assert statistics.estimate(values, confidence=1 - p).interval[0] == pytest.approx(0, abs=1e-9)
    assert statistics.two_sided_p(statistics.estimate(-values)) == pytest.approx(p)
    assert statistics.two_sided_p(statistics.estimate(7 * values)) == pytest.approx(p)


def test_p_at_its_ends():
    assert statistics.two_sided_p(statistics.estimate(np.zeros((3, 4)))) == 1
    assert statistics.two_sided_p(statistics.estimate(np.ones((3, 4)))) == 0


def test_holm_by_hand():
    # Sorted: 0.01 * 4, 0.02 * 3, 0.03 * 2 (already 0.06), 0.5 * 1.
    adjusted = statistics.holm({"a": 0.5, "b": 0.01, "c": 0.03, "d": 0.02})
    assert adjusted == pytest.approx({"a": 0.5, "b": 0.04, "c": 0.06, "d": 0.06})
    assert list(adjusted) == ["a", "b", "c", "d"]
    assert statistics.holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert statistics.holm({"a": None, "b": 0.02}) == {"a": None, "b": 0.02}
    assert statistics.holm({}) == {}


# Coverage: the intervals hold what they promise

SHARED, TRIAL, IMAGE, NOISE = 1.0, 0.1, 0.5, 0.5
TOTAL = math.sqrt(SHARED**2 + TRIAL**2 + IMAGE**2 + NOISE**2)


def simulate(rng, skills, num_trials, num_images):
    """Correctness [T,N] in each view, whose true accuracy is Phi(skill / TOTAL).

    An answer is right where the sum of the skill, of what the image is worth in all views and in
    this one, of the trial's effect and of noise is positive.
    """
    shared = SHARED * rng.standard_normal((1, num_images))
    views = []
    for skill in skills:
        trial = TRIAL * rng.standard_normal((num_trials, 1))
        image = IMAGE * rng.standard_normal((1, num_images))
        noise = NOISE * rng.standard_normal((num_trials, num_images))
        views.append(skill + shared + trial + image + noise > 0)
    return views


def holds(estimate, truth):
    return estimate.interval[0] <= truth <= estimate.interval[1]


@pytest.mark.parametrize("skills", [(1.2, 1.2), (1.2, 1.0)], ids=["null", "effect"])
@pytest.mark.parametrize("num_trials", [3, 5, 8])
def test_intervals_of_differences_cover_the_truth(num_trials, skills):
    """`pytest -s` prints a row of the first table in docs/statistics.md."""
    rng, repeats, num_images = np.random.default_rng(num_trials), 1000, 300
    truth = np.subtract(*stats.norm.cdf(np.array(skills) / TOTAL))
    covered, covered_trials, pooled = 0, 0, 0
    for _ in range(repeats):
        a, b = simulate(rng, skills, num_trials, num_images)
        difference = statistics.difference(statistics.paired(a, b))
        covered += holds(difference, truth)
        low, high = difference.interval_trials
        covered_trials += low <= truth <= high
        values = a.astype(float) - b
        half = 1.96 * values.std() / math.sqrt(values.size)
        pooled += abs(values.mean() - truth) <= half
    shares = [f"{count / repeats:.1%}" for count in (covered, covered_trials, pooled)]
    print("|", num_trials, "|", f"{100 * truth:.1f} points", "|", " | ".join(shares), "|")
    assert 0.93 <= covered / repeats <= 0.985
    # As if trials x images were so many independent answers.
    assert pooled / repeats < 0.90


def at_the_margin(accuracy, num_trials, num_images, repeats):
    """How often a true difference of one point is called equivalent within one, and how often it is covered."""
    rng = np.random.default_rng(0)
    skills = TOTAL * stats.norm.ppf([accuracy, accuracy - 0.01])
    equivalent, covered = 0, 0
    for _ in range(repeats):
        views = simulate(rng, skills, num_trials, num_images)
        difference = statistics.difference(statistics.paired(*views))
        equivalent += max(np.abs(difference.bounds(0.1))) <= 0.01  # as in `verdict`, but quicker
        covered += holds(difference, 0.01)
    return equivalent / repeats, covered / repeats


@pytest.mark.parametrize("cell", [(0.991, 8, 359), (0.995, 8, 300), (0.995, 3, 50), (0.999, 3, 20)])
def test_a_difference_at_the_margin_is_rarely_equivalent(cell):
    equivalent, covered = at_the_margin(*cell, repeats=400)
    assert equivalent <= 0.03  # without the floor 7, 9, 19 and 72%
    assert covered >= 0.94


@pytest.mark.slow
@pytest.mark.parametrize("num_images", [20, 50, 300, 1000, 2000])
@pytest.mark.parametrize("accuracy", [0.95, 0.98, 0.991, 0.995, 0.999])
def test_equivalence_at_the_margin_near_the_ceiling(accuracy, num_images):
    """`pytest -s` prints a cell of the second table in docs/statistics.md."""
    cells = [at_the_margin(accuracy, t, num_images, repeats=2000) for t in (3, 5, 8)]
    equivalent, covered = max(e for e, _ in cells), min(c for _, c in cells)
    print(f"{accuracy:.1%}, {num_images} images: {equivalent:.1%}, {covered:.1%}")
    assert equivalent <= 0.065  # 5% and three standard errors of 2,000 experiments
    assert covered >= 0.94


@pytest.mark.parametrize("accuracy", [0.84, 0.95])
def test_away_from_the_ceiling_intervals_of_differences_stay_as_long(accuracy):
    rng, lengths = np.random.default_rng(0), []
    skills = TOTAL * stats.norm.ppf([accuracy, accuracy])
    for _ in range(200):
        values = statistics.paired(*simulate(rng, skills, 8, 300))
        intervals = statistics.difference(values).interval, statistics.estimate(values).interval
        lengths.append(np.ptp(intervals, axis=1))
    longer, as_before = np.mean(lengths, axis=0)
    assert 1 <= longer / as_before <= 1.05


@pytest.mark.parametrize(("skill", "most"), [(1.2, 0.985), (3.2, 0.99)], ids=["82%", "99.5%"])
def test_intervals_of_accuracies_cover_the_truth(skill, most):
    """Also near 1, where a trial errs on one or two of the images."""
    rng, repeats = np.random.default_rng(1), 1000
    truth = stats.norm.cdf(skill / TOTAL)
    correct = (simulate(rng, [skill], 5, 300)[0] for _ in range(repeats))
    covered = sum(holds(statistics.accuracy(each), truth) for each in correct)
    assert 0.93 <= covered / repeats <= most


def test_p_is_below_5_percent_just_where_the_interval_leaves_out_zero():
    rng = np.random.default_rng(2)
    significant = []
    for skills in [(1.2, 1.0)] * 100 + [(3.6, 2.5)] * 100:  # the second: 99.8% and 97.8%
        estimate = statistics.difference(statistics.paired(*simulate(rng, skills, 5, 300)))
        significant.append(statistics.two_sided_p(estimate) < 0.05)
        assert significant[-1] != holds(estimate, 0)
    assert all(0 < sum(half) < 100 for half in (significant[:100], significant[100:]))
