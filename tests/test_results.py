"""results.json is what scikit-learn and a pocket calculator make of the predictions."""

import json
import math

import numpy as np
import pytest
from sklearn import metrics
from synthetic_run import Synthetic, write_run

from blurjax import results, statistics
from blurjax.errors import UserError
from blurjax.run_directory import read_json, read_npz, write_json, write_npz

SMALL = Synthetic(seeds=4, class_names=("cat", "dog", "owl"), images=60, epochs=3)


def collect(path, made_up):
    run, config = write_run(path / "run", made_up)
    return run, results.collect(run, config)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("small"), SMALL)


def test_points_are_the_product_of_what_is_swept():
    made_up = Synthetic(bottlenecks=(4, 8), learning_rates=(1e-3, 1e-2))
    points = results.points_of(made_up.config)
    assert [point[:2] for point in points] == [(4, 1e-3), (4, 1e-2), (8, 1e-3), (8, 1e-2)]


@pytest.mark.parametrize("cell", [("original", "original"), ("reconstruction", "original")])
def test_scores_are_those_of_scikit_learn(small, cell):
    run, collected = small
    (point,) = collected["points"]
    arrays = read_npz(run / "predictions" / f"{cell[0]}-on-{cell[1]}.npz")
    label, predictions = arrays["label"], arrays["prediction"]
    at = {
        name: point[name][cell[0]][cell[1]]
        for name in ("accuracy", "loss", "ece", "per_class", "confusion")
    }
    accuracies = [metrics.accuracy_score(label, row) for row in predictions]
    assert at["accuracy"]["per_trial"] == pytest.approx(accuracies)
    assert at["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert at["loss"]["per_trial"] == pytest.approx(arrays["loss"].mean(axis=1), rel=1e-5)
    f1 = np.mean([metrics.f1_score(label, row, average=None) for row in predictions], axis=0)
    assert at["per_class"]["f1"] == pytest.approx(f1)
    assert (
        at["confusion"] == sum(metrics.confusion_matrix(label, row) for row in predictions).tolist()
    )
    expected = statistics.accuracy(predictions == label, 0.95)
    assert at["accuracy"]["interval"] == list(expected.interval)
    ece = statistics.expected_calibration_error(arrays["confidence"][1], predictions[1] == label)
    assert at["ece"]["per_trial"][1] == ece


def test_psnr_is_of_the_pooled_error_and_ssim_a_mean(small):
    run, collected = small
    arrays = read_npz(run / "predictions" / "reconstruction-test.npz")
    reconstruction = collected["points"][0]["reconstruction"]
    pooled = [10 * math.log10(1 / float(np.mean(row, dtype=np.float64))) for row in arrays["mse"]]
    assert reconstruction["psnr"]["test"]["per_trial"] == pytest.approx(pooled)
    assert reconstruction["psnr"]["test"]["mean"] == pytest.approx(np.mean(pooled))
    assert reconstruction["ssim"]["test"]["mean"] == pytest.approx(arrays["ssim"].mean(), rel=1e-5)


def test_comparisons_are_paired_differences(small):
    _, collected = small
    (point,) = collected["points"]
    accuracy, comparisons = point["accuracy"], point["comparisons"]
    original = np.array(accuracy["original"]["original"]["per_trial"])
    for name, test in (("on_reconstructions", "reconstruction"), ("on_originals", "original")):
        other = np.array(accuracy["reconstruction"][test]["per_trial"])
        assert comparisons[name]["per_trial"] == pytest.approx(original - other)
        assert comparisons[name]["margin"] == 0.01
    total = comparisons["on_reconstructions"]["mean"] + comparisons["test_view"]["mean"]
    assert comparisons["on_originals"]["mean"] == pytest.approx(total)


def test_gap_is_train_minus_validation_after_the_last_epoch(small):
    _, collected = small
    (point,) = collected["points"]
    last = {
        side: np.array(point["history"]["classifier"]["mixed"][side]["accuracy"][-1])
        for side in ("train", "validation")
    }
    gap = point["generalisation_gap"]["mixed"]
    assert gap["per_trial"] == pytest.approx(last["train"] - last["validation"])
    half = 3.182446305 * np.std(gap["per_trial"], ddof=1) / 2  # t(3), sqrt(4)
    assert gap["interval_trials"] == pytest.approx([gap["mean"] - half, gap["mean"] + half])


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


def test_rows_are_found_by_what_they_are_not_where(small, tmp_path):
    _, before = small
    run, config = write_run(tmp_path / "run", SMALL)
    path = run / "predictions" / "mixed-on-original.npz"
    arrays = read_npz(path)
    for name, array in arrays.items():
        if name not in ("label", "index", "name"):
            arrays[name] = array[::-1]
    write_npz(path, **arrays)
    assert results.collect(run, config) == before


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


def test_without_the_code_there_are_no_reconstructions(tmp_path):
    made_up = Synthetic(seeds=3, images=40, train_views=("original",), test_views=("original",))
    _, collected = collect(tmp_path, made_up)
    assert collected["points"][0]["reconstruction"] == {"psnr": {}, "ssim": {}}
    assert collected["points"][0]["comparisons"] == {}


def test_only_trials_asked_for_count(tmp_path):
    run, _ = write_run(tmp_path / "run", Synthetic(seeds=4, images=40))
    fewer = Synthetic(seeds=3, images=40).config
    assert results.collect(run, fewer)["points"][0]["trials"] == [0, 1, 2]


def test_a_missing_cell_or_seed_is_said_to_be_unfinished(tmp_path):
    run, config = write_run(tmp_path / "run", Synthetic(seeds=2, images=40))
    with pytest.raises(UserError, match=r"not finished.*seed 2.*run the same command again"):
        results.collect(run, Synthetic(seeds=3, images=40).config)
    (run / "predictions" / "mixed-on-original.npz").unlink()
    with pytest.raises(UserError, match=r"not finished .*mixed-on-original"):
        results.collect(run, config)


def test_equal_runs_give_equal_files_that_read_back(small, tmp_path):
    run, collected = small
    again, same = collect(tmp_path, SMALL)
    for directory, content in ((run, collected), (again, same)):
        write_json(directory / "results.json", content)
    assert (run / "results.json").read_bytes() == (again / "results.json").read_bytes()
    assert read_json(run / "results.json") == json.loads(json.dumps(collected)) == collected
    assert collected["seconds"] == {"autoencoders": 20.5, "classifiers": 31.25}
