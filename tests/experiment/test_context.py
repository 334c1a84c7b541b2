"""Files with a row a trial grow by the rows of trials that they lack."""

import numpy as np
import pytest

from blurjax.config.trials import Trial
from blurjax.experiment.context import Context, merge_rows
from blurjax.runtime import RunDirectory, read_npz
from blurjax.runtime.errors import Interrupted


def test_rows_are_appended_and_what_only_one_side_has_is_left_out():
    old = {"loss": np.array([[1.0]]), "label": np.array([7])}
    new = {"loss": np.array([[2.0], [3.0]]), "label": np.array([7]), "logits": np.zeros((2, 1, 4))}
    shared = {"label": np.array([7])}
    for one, other in ((old, new), (new, old)):
        merged = merge_rows(one, other, shared)
        assert merged.keys() == {"loss", "label"}
        np.testing.assert_array_equal(merged["loss"], np.concatenate([one["loss"], other["loss"]]))
        np.testing.assert_array_equal(merged["label"], [7])


def context(path, interrupted=lambda: False):
    return Context(None, RunDirectory(path), None, None, interrupted)  # pyright: ignore


def test_only_missing_rows_are_evaluated_and_shared_arrays_stay(tmp_path):
    asked, path = [], tmp_path / "rows.npz"

    def evaluate(trials):
        asked.append([trial.seed for trial in trials])
        return {"value": np.array([10.0 * trial.seed for trial in trials])}

    trials = [Trial(seed, 4, None, 1e-3, 0.0) for seed in (3, 1, 2)]
    shared = {"label": np.array([7, 8])}
    for wanted in (trials[:2], trials, trials[:1]):
        context(tmp_path).complete(path, wanted, evaluate, shared)
    assert asked == [[3, 1], [2]]
    arrays = read_npz(path)
    assert [Trial.from_key(key) for key in arrays["trial"].tolist()] == trials
    np.testing.assert_array_equal(arrays["value"], [30, 10, 20])
    np.testing.assert_array_equal(arrays["label"], [7, 8])


def test_a_stop_is_answered_after_the_rows_are_written(tmp_path):
    path, trials = tmp_path / "rows.npz", [Trial(0)]
    with pytest.raises(Interrupted):
        context(tmp_path, lambda: True).complete(path, trials, lambda _: {"value": np.zeros(1)})
    assert read_npz(path)["trial"].tolist() == ["seed=0"]
    context(tmp_path, lambda: True).complete(path, trials, lambda _: {})  # nothing was missing
