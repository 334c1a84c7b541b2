"""Files grow by the rows of trials that they lack."""

import numpy as np
from blurjax.experiment.trial_table import add_missing_rows, merge_rows, trials_of

from blurjax.engine.types import Trial
from blurjax.runtime.files import read_npz
from blurjax.runtime.run_directory import RunDirectory


def test_rows_are_appended_and_what_only_one_side_has_is_left_out():
    old = {"loss": np.array([[1.0]]), "label": np.array([7])}
    new = {"loss": np.array([[2.0], [3.0]]), "label": np.array([7]), "logits": np.zeros((2, 1, 4))}
    shared = frozenset({"label"})
    for one, other in ((old, new), (new, old)):
        merged = merge_rows(one, other, shared)
        assert merged.keys() == {"loss", "label"}
        np.testing.assert_array_equal(merged["loss"], np.concatenate([one["loss"], other["loss"]]))
        np.testing.assert_array_equal(merged["label"], [7])


def test_only_missing_rows_are_evaluated_and_shared_arrays_stay(tmp_path):
    run, asked = RunDirectory(tmp_path), []

    def evaluate(trials):
        asked.append([trial.seed for trial in trials])
        return {"value": np.array([10.0 * trial.seed for trial in trials])}

    trials = [Trial(seed, 1e-3, 0.0, 4) for seed in (3, 1, 2)]
    shared = {"label": np.array([7, 8])}
    assert add_missing_rows(run, "rows.npz", trials[:2], evaluate, shared)
    assert add_missing_rows(run, "rows.npz", trials, evaluate, shared)
    assert not add_missing_rows(run, "rows.npz", trials[:1], evaluate, shared)
    assert asked == [[3, 1], [2]]
    arrays = read_npz(run / "rows.npz")
    assert trials_of(arrays) == trials
    np.testing.assert_array_equal(arrays["value"], [30, 10, 20])
    np.testing.assert_array_equal(arrays["label"], [7, 8])
