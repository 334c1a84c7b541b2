"""The rows and curves of a run directory that count as a point's."""

import json

import numpy as np
import pytest
from synthetic_run import Synthetic, collect, write_run

from blurjax.analysis import collect_results
from blurjax.config.trials import points
from blurjax.runtime.errors import UserError
from blurjax.runtime.files import read_npz, write_npz


def test_points_are_the_product_of_what_is_swept():
    made_up = Synthetic(bottlenecks=(4, 8), learning_rates=(1e-3, 1e-2))
    found = points(made_up.config)
    assert [point[:2] for point in found] == [(4, 1e-3), (4, 1e-2), (8, 1e-3), (8, 1e-2)]


def test_history_follows_the_seeds_through_jobs(tmp_path):
    run, collected = collect(tmp_path, Synthetic(seeds=4, images=40, epochs=2, jobs=2))
    history = collected["points"][0]["history"]
    lines = [
        line for line in run.metrics() if line["view"] == "reconstruction" and line["epoch"] == 2
    ]
    even, odd = (line["validation_original"]["accuracy"] for line in lines)
    curve = history["classifier"]["reconstruction"]
    assert curve["epoch"] == [1, 2]
    assert curve["validation_original"]["accuracy"][1] == [even[0], odd[0], even[1], odd[1]]
    assert "validation_original" not in history["classifier"]["original"]
    # The job also holds the two fold autoencoders of each seed.
    assert np.shape(history["autoencoder"]["train"]["loss"]) == (2, 4)
    assert set(history["autoencoder"]["train"]) == {"loss"}


def test_rows_are_found_by_what_they_are_not_where(tmp_path):
    made_up = Synthetic(seeds=4, images=60, epochs=3)
    run, before = collect(tmp_path, made_up)
    path = run.predictions("mixed", "original")
    arrays = read_npz(path)
    for name, array in arrays.items():
        if name not in ("label", "index", "name"):
            arrays[name] = array[::-1]
    write_npz(path, **arrays)
    assert collect_results(run, made_up.config) == before


def test_a_frozen_trial_leaves_all_views_of_its_point(tmp_path):
    made_up = Synthetic(
        seeds=4, images=40, bottlenecks=(4, 8), failed_classifier=(2, "mixed"), failed_autoencoder=1
    )
    _, collected = collect(tmp_path, made_up)
    autoencoder = {"stage": "autoencoder", "view": None, "seed": 1, "step": 9}
    classifier = {"stage": "classifier", "view": "mixed", "seed": 2, "step": 17}
    for point in collected["points"]:
        assert point["trials"] == [0, 3]
        assert point["failures"] == [autoencoder, classifier]
        assert len(point["accuracy"]["original"]["original"]["per_trial"]) == 2
        assert len(point["reconstruction"]["psnr"]["test"]["per_trial"]) == 2
    assert collected["failures"] == [autoencoder, classifier]


def test_a_point_that_all_trials_left_says_so(tmp_path):
    made_up = Synthetic(seeds=1, images=40, failed_classifier=(0, "original"))
    _, collected = collect(tmp_path, made_up)
    (point,) = collected["points"]
    assert (point["trials"], point["accuracy"], point["comparisons"]) == ([], {}, {})
    assert collected["curves"] == []


def test_only_trials_asked_for_count(tmp_path):
    run, _ = write_run(tmp_path / "run", Synthetic(seeds=4, images=40))
    fewer = Synthetic(seeds=3, images=40).config
    assert collect_results(run, fewer)["points"][0]["trials"] == [0, 1, 2]


def test_a_missing_cell_or_seed_is_said_to_be_unfinished(tmp_path):
    run, config = write_run(tmp_path / "run", Synthetic(seeds=2, images=40))
    with pytest.raises(UserError, match=r"not finished.*seed=2.*run the same command again"):
        collect_results(run, Synthetic(seeds=3, images=40).config)
    run.predictions("mixed", "original").unlink()
    with pytest.raises(UserError, match=r"not finished .*mixed-on-original"):
        collect_results(run, config)


def test_curves_that_are_not_there_are_said_to_be_unfinished(tmp_path):
    run, config = write_run(tmp_path / "run", Synthetic(seeds=2, images=40, jobs=2))
    lines = [json.dumps(line) + "\n" for line in run.metrics()]
    part = [line for line in lines if '"classifier/mixed/job-1"' not in line]
    run.metrics_file.write_text("".join(part), encoding="utf-8")
    with pytest.raises(UserError, match=r"not finished.*seed=1.*run the same command again"):
        collect_results(run, config)
    none = [line for line in lines if '"mixed"' not in line]
    run.metrics_file.write_text("".join(none), encoding="utf-8")
    with pytest.raises(UserError, match=r"not finished.*metrics\.jsonl lacks .* mixed"):
        collect_results(run, config)


def test_the_curves_of_a_reseeded_pair_are_found_by_the_pairs_seed(tmp_path):
    views = ("original", "reseeded")
    _, collected = collect(tmp_path, Synthetic(seeds=4, images=40, epochs=3, train_views=views))
    curve = collected["points"][0]["history"]["classifier"]["reseeded"]
    assert np.shape(curve["train"]["accuracy"]) == (3, 4)
    assert None not in curve["train"]["accuracy"][0]
