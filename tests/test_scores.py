"""Scores of answers are what hand computation and scikit-learn make of them."""

import numpy as np
import pytest

from blurjax import measures, scores, statistics


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


# Calibration and classes


def test_calibration_error_by_hand():
    # Bins (4/15, 5/15] and (12/15, 13/15]: |0.5 - 0.31| * 2/5 + |2/3 - 0.82| * 3/5.
    confidence, correct = [0.3, 0.32, 0.81, 0.82, 0.83], [True, False, True, True, False]
    error = scores.expected_calibration_error(confidence, correct)
    assert error == pytest.approx(0.19 * 2 / 5 + (0.82 - 2 / 3) * 3 / 5)


def test_calibration_error_by_its_definition(rng):
    confidence = rng.random(500)
    correct = rng.random(500) < confidence**2
    expected = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        gap = abs(correct[inside].mean() - confidence[inside].mean())
        expected += gap * inside.sum() / 500
    error = scores.expected_calibration_error(confidence, correct)
    assert error == pytest.approx(expected)
    order = rng.permutation(500)
    again = scores.expected_calibration_error(confidence[order], correct[order])
    assert again == pytest.approx(error)


def test_calibration_error_at_its_ends():
    assert scores.expected_calibration_error([1.0, 1.0], [True, True]) == 0
    assert scores.expected_calibration_error([1.0, 1.0], [False, False]) == 1
    assert scores.expected_calibration_error([0.0], [False]) == 0
    # float32 softmax may exceed 1 by a rounding.
    just_over = np.float32(1) + np.finfo(np.float32).eps
    assert scores.expected_calibration_error([just_over], [True]) < 1e-6


def test_precision_recall_and_f1_by_hand():
    # Class 0: 2 of 3 predicted right, 2 of 2 found; class 1: 1 of 1, 1 of 2; 2 and 3 never occur.
    found = measures.per_class(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]), num_classes=4)
    assert_close(found["precision"], [2 / 3, 1, 0, 0])
    assert_close(found["recall"], [1, 1 / 2, 0, 0])
    assert_close(found["f1"], [4 / 5, 2 / 3, 0, 0])


# Chance


def test_above_chance_is_accuracy_minus_what_blind_answers_reach(rng):
    labels, predictions = rng.integers(0, 3, 50), rng.integers(0, 3, (2, 50))
    above = scores.above_chance(labels, predictions, 4)
    for row, values in zip(predictions, above, strict=True):
        chance = sum(np.mean(labels == k) * np.mean(row == k) for k in range(4))
        assert values.mean() == pytest.approx(np.mean(row == labels) - chance)


def test_a_constant_answer_is_at_chance_without_doubt(rng):
    labels = rng.integers(0, 3, 50)
    estimate = statistics.estimate(scores.above_chance(labels, np.ones((3, 50), int), 3))
    assert (estimate.mean, *estimate.interval) == (0, 0, 0)


def test_blind_answers_are_at_chance_19_times_in_20(rng):
    draws = (rng.integers(0, 3, (5, 200)) for _ in range(1000))  # labels, and answers of 4 trials
    estimates = (statistics.estimate(scores.above_chance(d[0], d[1:], 3)) for d in draws)
    assert 0.94 <= np.mean([e.interval[0] <= 0 <= e.interval[1] for e in estimates]) <= 0.985
