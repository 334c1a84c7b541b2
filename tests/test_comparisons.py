"""The causes of a loss of accuracy, by hand."""

import numpy as np

from blurjax.comparisons import decomposition
from blurjax.config import ReportConfig

ANSWERS = {
    ("original", "original"): [1, 1, 1, 1],
    ("reconstruction", "reconstruction"): [1, 1, 0, 0],
    ("reconstruction", "original"): [1, 0, 0, 0],
    ("crossfit", "crossfit"): [1, 1, 1, 0],
    ("infold", "crossfit"): [1, 1, 0, 0],
}
CORRECT = {cell: np.array([row, row], bool) for cell, row in ANSWERS.items()}


def means(correct):
    return {name: term["mean"] for name, term in decomposition(correct, ReportConfig()).items()}


def test_the_causes_by_hand():
    assert means(CORRECT) == {
        "on_reconstructions": 0.5,
        "on_originals": 0.75,
        "information": 0.25,
        "leakage": 0.25,
        "test_view": 0.25,
    }


def test_only_terms_whose_cells_are_there():
    correct = dict(CORRECT)
    del correct["infold", "crossfit"]
    assert list(means(correct)) == ["on_reconstructions", "on_originals", "test_view"]
    del correct["original", "original"]
    assert list(means(correct)) == ["test_view"]
    assert means({}) == {}
