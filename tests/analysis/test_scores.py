"""Calibration, scores of classes and convergence, by hand and by definition."""

import math

import numpy as np
import pytest

from blurjax.analysis import scores


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


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
    found = scores.per_class(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]), num_classes=4)
    assert_close(found["precision"], [2 / 3, 1, 0, 0])
    assert_close(found["recall"], [1, 1 / 2, 0, 0])
    assert_close(found["f1"], [4 / 5, 2 / 3, 0, 0])


def test_psnr_of_each_class_is_that_of_its_pooled_images():
    cells = {("original", "original"): {"label": np.array([0, 1, 1, 3])}}
    mse = np.array([[0.01, 0.001, 0.003, 0.0], [0.1, 0.001, 0.001, 0.0]])
    recorded = {
        ("blur", "test"): {"mse": mse},
        ("blur", "train"): {"mse": mse * 9},
        ("original", "test"): {"mse": mse * 0},
    }
    found = scores.per_class_psnr(recorded, cells, num_classes=4)
    assert found.keys() == {"blur"}
    assert_close(found["blur"], [(20 + 10) / 2, (10 * math.log10(500) + 30) / 2, np.nan, np.inf])
    assert scores.per_class_psnr(recorded, {}, num_classes=4) == {}
