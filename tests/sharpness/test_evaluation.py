"""Evaluation of detectors against scikit-learn, closed forms, and simulations of what intervals promise."""

import math

import numpy as np
import pytest
from detector import evaluation
from detector.evaluation import auc_difference, evaluate, reliability
from sklearn import metrics

from blurjax.analysis import scores as analysis_scores
from blurjax.runtime.errors import UserError


def drawn(rng, num_photographs, separation):
    """A sharp and a blurred version of each photograph, whose scores have the photograph's offset in common."""
    blurry = np.tile([False, True], num_photographs)
    photographs = np.repeat(np.arange(num_photographs), 2)
    offset = rng.normal(size=num_photographs)[photographs]
    scores = (offset + rng.normal(size=blurry.size)) / math.sqrt(2) + separation * blurry
    return scores, blurry, photographs


# Values


def test_values_by_hand():
    # Of 2 x 3 pairs the blurry image is higher in 4 and as high in 1.
    # From above: 0.9 is blurry, precision 1; then a sharp one; then one of each at 0.4, precision 2/4.
    scores, blurry = [0.9, 0.4, 0.4, 0.7, 0.1], [True, True, False, False, False]
    result = evaluate(scores, blurry, range(5), are_probabilities=True)
    assert result.auc.value == pytest.approx(4.5 / 6)
    assert result.average_precision.value == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 4)
    # Each score is in a bin of its own but for those of 0.4: gaps 0.1, |1 - 0.8|, 0.7 and 0.1.
    assert result.ece is not None
    assert result.ece.value == pytest.approx((0.1 + 0.2 + 0.7 + 0.1) / 5)
    assert (result.num_images, result.num_photographs) == (5, 5)


@pytest.mark.parametrize("decimals", [1, 8])
def test_values_agree_with_scikit_learn(rng, decimals):
    """With one decimal many scores are equal."""
    scores, blurry, photographs = drawn(rng, 60, 0.7)
    scores = np.round(1 / (1 + np.exp(-scores)), decimals)
    result = evaluate(scores, blurry, photographs, are_probabilities=True)
    assert result.auc.value == pytest.approx(metrics.roc_auc_score(blurry, scores))
    expected = metrics.average_precision_score(blurry, scores)
    assert result.average_precision.value == pytest.approx(expected)
    assert result.ece is not None
    error = analysis_scores.expected_calibration_error(scores, blurry)
    assert result.ece.value == pytest.approx(error)


def test_a_resample_is_weighted_as_scikit_learn_weights(rng):
    scores, blurry, _ = drawn(rng, 30, 0.5)
    scores = np.round(scores, 1)
    weights = rng.integers(0, 3, (4, scores.size)).astype(np.float64)
    found = evaluation._ranking(scores, blurry, weights)
    for column, theirs in enumerate((metrics.roc_auc_score, metrics.average_precision_score)):
        expected = [theirs(blurry, scores, sample_weight=row) for row in weights]
        np.testing.assert_allclose(found[:, column], expected)


def test_the_auc_of_two_normal_distributions(rng):
    """Phi(d / sqrt(2)) for scores of standard deviation 1 whose means are d apart."""
    result = evaluate(*drawn(rng, 8_000, 1.0))
    expected = 0.5 * (1 + math.erf(1 / 2))
    assert result.auc.value == pytest.approx(expected, abs=0.01)
    low, high = result.auc.interval
    assert low < expected < high < low + 0.02


def test_scores_of_a_measure_have_no_calibration():
    assert evaluate([3.0, -2.0], [True, False], [0, 1]).ece is None


# Reliability


def test_reliability_by_hand():
    # 1/15 is in the first bin, closed above; 0.5 in the eighth; 1 in the last.
    probabilities, blurry = [0.0, 1 / 15, 0.5, 0.52, 1.0], [False, True, True, False, True]
    diagram = reliability(probabilities, blurry, range(5))
    occupied = [0, 7, 14]
    assert diagram.count.tolist() == [2, *[0] * 6, 2, *[0] * 6, 1]
    np.testing.assert_allclose(diagram.probability[occupied], [1 / 30, 0.51, 1])
    np.testing.assert_allclose(diagram.share_blurry[occupied], [0.5, 0.5, 1])
    np.testing.assert_array_equal(diagram.interval[occupied], [[0, 1], [0, 1], [1, 1]])
    empty = np.delete(np.arange(15), occupied)
    assert np.isnan(diagram.probability[empty]).all()
    assert np.isnan(diagram.interval[empty]).all()


def test_intervals_of_calibrated_probabilities_cover_the_diagonal():
    """95 of 100 in the mean, a little fewer in the first and the last bin."""
    covered = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        probabilities = rng.random(6000)
        diagram = reliability(probabilities, rng.random(6000) < probabilities, range(6000))
        low, high = diagram.interval.T
        covered += ((low <= diagram.probability) & (diagram.probability <= high)).sum()
    assert 0.9 <= covered / 150 <= 0.99


def test_intervals_of_reliability_are_as_wide_as_those_of_shares(rng):
    probabilities = rng.random(15_000)
    diagram = reliability(probabilities, rng.random(15_000) < probabilities, range(15_000))
    low, high = diagram.interval.T
    # A binomial share p of 1,000 has the standard error sqrt(p (1 - p) / 1000).
    standard_error = np.sqrt(diagram.share_blurry * (1 - diagram.share_blurry) / diagram.count)
    np.testing.assert_allclose(high - low, 2 * 1.96 * standard_error, rtol=0.15)


# Intervals


def test_copies_of_a_photograph_are_no_further_evidence(rng):
    """Five equal copies of all change nothing in the same groups; as other groups they divide intervals by sqrt(5)."""
    scores, blurry, photographs = drawn(rng, 80, 0.7)
    copies = [np.tile(values, 5) for values in (scores, blurry, photographs)]
    once, grouped = evaluate(scores, blurry, photographs), evaluate(*copies)
    alone = evaluate(*copies[:2], copies[2] + 80 * np.repeat(np.arange(5), scores.size))
    assert grouped.auc.value == pytest.approx(once.auc.value)
    assert grouped.auc.interval == pytest.approx(once.auc.interval)
    width, narrow = (np.ptp(result.auc.interval) for result in (once, alone))
    assert narrow == pytest.approx(width / math.sqrt(5), rel=0.1)


def test_intervals_of_the_auc_cover_it_as_often_as_promised():
    """95 of 100 in the mean; the probability that fewer than 88 or more than 99 cover is below 1%."""
    expected = 0.5 * (1 + math.erf(0.8 / 2))
    covered = 0
    for seed in range(100):
        low, high = evaluate(*drawn(np.random.default_rng(seed), 60, 0.8)).auc.interval
        covered += low <= expected <= high
    assert 88 <= covered <= 99


def test_intervals_of_the_calibration_error_reach_0_where_it_is_0():
    """The error that is found is never 0; the interval says how much of it is chance."""
    reached, excluded = 0, 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        probabilities = rng.random(400)
        calibrated = rng.random(400) < probabilities
        overconfident = rng.random(400) < 0.5 + 0.5 * (probabilities - 0.5)
        for labels in (calibrated, overconfident):
            result = evaluate(probabilities, labels, range(400), are_probabilities=True)
            assert result.ece is not None
            assert result.ece.value > 0.02
            if labels is calibrated:
                reached += result.ece.interval[0] == 0
            else:
                excluded += result.ece.interval[0] > 0
    assert reached >= 28
    assert excluded >= 28


def test_a_perfect_auc_of_few_photographs_is_not_certain():
    """Newcombe's lower bound solves (1 - a)^2 = z^2 a (1 - a) (1 + k ((1 - a) / (2 - a) + a / (1 + a))) / (m n)."""
    result = evaluate(range(9), [False] * 5 + [True] * 4, range(9))
    assert result.auc.value == 1
    low, high = result.auc.interval
    variance = low * (1 - low) * (1 + 3.5 * ((1 - low) / (2 - low) + low / (1 + low))) / 20
    assert (1 - low) ** 2 == pytest.approx(1.96**2 * variance, rel=0.01)
    assert high == 1
    many = evaluate(range(400), [False] * 200 + [True] * 200, range(400))
    assert low < 0.7 < 0.97 < many.auc.interval[0] < 1


def test_intervals_of_the_auc_of_few_photographs_cover_it_as_often_as_promised():
    """Five photographs of each label, where the bootstrap alone covers it 83 times in 100."""
    expected = 0.5 * (1 + math.erf(1.2 / 2))
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        blurry = np.arange(10) < 5
        low, high = evaluate(rng.normal(size=10) + 1.2 * blurry, blurry, range(10)).auc.interval
        covered += low <= expected <= high
    assert covered / 200 >= 0.92


def test_a_difference_is_paired_by_photograph(rng):
    scores, blurry, photographs = drawn(rng, 200, 0.8)
    worse = scores + 0.3 * rng.normal(size=scores.size)
    found = auc_difference(scores, worse, blurry, photographs)
    by_sklearn = [metrics.roc_auc_score(blurry, values) for values in (scores, worse)]
    assert found.value == pytest.approx(by_sklearn[0] - by_sklearn[1])
    unpaired = evaluate(scores, blurry, photographs).auc.interval
    assert np.ptp(found.interval) < 0.5 * np.ptp(unpaired)
    same = auc_difference(scores, 2 * scores + 1, blurry, photographs)
    assert same == (0, (0, 0))


def test_blocks_of_resamples_change_nothing(rng, monkeypatch):
    data = drawn(rng, 40, 0.7)
    whole = evaluate(*data)
    monkeypatch.setattr(evaluation, "WEIGHTS_AT_ONCE", 80 * 7)
    assert evaluate(*data).auc.interval == pytest.approx(whole.auc.interval)


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.1, 0.2], [True], [0, 1]), "one length"),
        (([0.1, math.nan], [True, False], [0, 1]), "NaN"),
        (([0.1, 1.2], [True, False], [0, 1]), r"\[0, 1\]"),
        (([0.1, 0.2], [True, True], [0, 1]), "not 2 images of 2 photographs, 2 of"),
        (([], [], []), "not 0 images"),
        (([0.1, 0.2], [True, False], [7, 7]), "at least two photographs"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        evaluate(*arguments, are_probabilities=True)
