"""Whether models were trained long enough, by hand."""

import dataclasses

import numpy as np
import pytest
from synthetic_run import Synthetic, collect

from blurjax.analysis.training_length import last_fifth_change
from blurjax.report.cautions import doubts_about


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([1.0, 0.5], 0.5),
        ([4, 3, 2, 1.0, 0.99], 0.01),
        # Ten epochs: the fall over the last two.
        ([9, 8, 7, 6, 5, 4, 3, 2.0, 1.97, 1.9], 0.05),
        ([1.0, 1.5], -0.5),
        ([1.0], None),
    ],
)
def test_how_much_the_last_fifth_of_the_epochs_changed(losses, expected):
    # Two trials whose mean is the loss.
    curves = {"validation.loss": np.outer([0.5, 1.5], losses)}
    assert last_fifth_change(curves) == (expected and pytest.approx(expected))


CHECKED = Synthetic(
    seeds=3,
    class_names=("a", "b"),
    images=40,
    epochs=2,
    bottlenecks=(4, 8),
    check=True,
    train_views=("original", "reconstruction", "blur"),
)


def test_the_first_trials_are_compared_with_themselves_after_twice_the_steps(tmp_path):
    run, results = collect(tmp_path, CHECKED)
    ends = {}
    for line in run.metrics():
        ends[line["job"]] = line["validation"]
    # Trials of the autoencoder jobs: 3 seeds at 4 floats, then at 8; 2 seeds where they are trained for longer.
    short, long = (
        np.array(ends[f"{job}/job-0"]["loss"]) for job in ("autoencoder", "longer_autoencoder")
    )
    for number, point in enumerate(results["points"]):
        block = point["training_length"]
        twice = block["autoencoder"]["twice_the_steps"]
        before, after = short[3 * number : 3 * number + 2], long[2 * number : 2 * number + 2]
        assert twice["before"] == pytest.approx(-10 * np.log10(before))
        assert twice["after"] == pytest.approx(-10 * np.log10(after))
        assert twice["gain"] == pytest.approx(np.mean(10 * np.log10(before / after)))
        assert block["classifier"].keys() == {"original", "reconstruction"}
        first = block["classifier"]["original"]
        assert first["before"] == ends["classifier/original/job-0"]["accuracy"][:2]
        assert first["after"] == ends["longer_classifier/original/job-0"]["accuracy"]


def test_without_a_check_nothing_is_said_of_longer_training(tmp_path):
    run, results = collect(tmp_path, dataclasses.replace(CHECKED, check=False))
    del run
    for point in results["points"]:
        assert point["training_length"]["classifier"] == {}
        assert point["training_length"]["autoencoder"].keys() == {"last_fifth_change"}
    assert not [d for d in doubts_about(results["points"]) if "twice" in d.sentence]


@pytest.mark.parametrize("seed", [0, 2])
def test_a_frozen_trial_is_not_compared(tmp_path, seed):
    _, results = collect(tmp_path, dataclasses.replace(CHECKED, failed_autoencoder=seed))
    compared = [bool(point["training_length"]["classifier"]) for point in results["points"]]
    assert compared == [seed == 2] * 2


def test_what_longer_training_gives_is_cautioned_against(tmp_path):
    _, results = collect(tmp_path, CHECKED)
    point = results["points"][1]

    def said(decibels, accuracy):
        twice = {
            "before": [18.0, 18.2],
            "after": [18 + decibels, 18.2 + decibels],
            "gain": decibels,
        }
        point["training_length"]["autoencoder"]["twice_the_steps"] = twice
        of_view = {"before": [0.9, 0.9], "after": [0.9 + accuracy] * 2, "gain": accuracy}
        point["training_length"]["classifier"] = {"reconstruction": of_view}
        return " ".join(doubt.sentence for doubt in doubts_about([point]))

    margin = 0.01
    assert said(0.09, margin) == ""
    assert said(0.11, margin) == (
        "with twice the steps, autoencoders of 8 floats reach 18.21 dB on validation in place of 18.10 "
        "(2 trials): trained longer they would keep more, and the answer may be another."
    )
    assert said(0.0, 0.02) == (
        "with twice the steps, classifiers trained on reconstruction are right for 92.0% of validation in "
        "place of 90.0% (2 trials): they were not trained long enough to show what can be learned."
    )
