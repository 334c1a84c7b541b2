"""Prediction files grow by rows."""

import numpy as np

from blurjax.evaluate import merge_rows


def test_rows_are_appended_and_what_only_one_side_has_is_left_out():
    old = {"loss": np.array([[1.0]]), "label": np.array([7])}
    new = {"loss": np.array([[2.0], [3.0]]), "label": np.array([7]), "logits": np.zeros((2, 1, 4))}
    shared = frozenset({"label"})
    for one, other in ((old, new), (new, old)):
        merged = merge_rows(one, other, shared)
        assert merged.keys() == {"loss", "label"}
        np.testing.assert_array_equal(merged["loss"], np.concatenate([one["loss"], other["loss"]]))
        np.testing.assert_array_equal(merged["label"], [7])
