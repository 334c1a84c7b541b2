"""Real runs that are compared: test images are the same where their content is, whatever was trained on."""

import pytest
from tiny import config

from blurjax import compare_runs, run_experiment
from blurjax.runtime.files import read_json

SETTINGS = {"views__train": ["original", "reconstruction"], "sweep__num_seeds": 3}


@pytest.fixture(scope="module")
def runs(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    changes = {
        "whole": {},
        "less": {"data__train_examples": 40},
        "other": {"data__split_seed": 1},
    }
    for name, change in changes.items():
        run_experiment(config(source, **SETTINGS, **change), folder / name)
    return folder


def test_the_digest_of_the_test_images_is_on_record(runs):
    whole, less, other = (read_json(runs / n / "dataset.json") for n in ("whole", "less", "other"))
    assert whole["fingerprint"] != less["fingerprint"]
    assert whole["test_images"] == less["test_images"] != other["test_images"]
    assert len(whole["test_images"]) == 64


def test_runs_on_fewer_training_images_are_paired_and_on_other_test_images_not(runs):
    found = compare_runs([runs / "whole", runs / "less", runs / "other"])
    (pair,) = found["pairs"]
    assert (pair["second"], pair["trials"]) == (str(runs / "less"), [0, 1, 2])
    names = [row["name"] for row in found["settings"]]
    assert {"data.train_examples", "data.split_seed", "train images"} <= {*names}
    assert any("not tested on the same images (by content)" in limit for limit in found["limits"])
    per_trial = [p["cost"]["per_trial"] for p in found["points"][:2]]
    difference = [b - a for a, b in zip(*per_trial, strict=True)]
    assert pair["cost"]["on_reconstructions"]["per_trial"] == pytest.approx(difference)
