"""A model of one's own, with batch statistics and dropout, through a whole experiment."""

import numpy as np
import pytest
from networks import NormalizedSettings, build_normalized
from same import final_states
from tiny import config

from blurjax import run_experiment
from blurjax.models import register


@pytest.fixture(autouse=True)
def _registered(registries):
    register("classifier", NormalizedSettings, build_normalized)


def run(source, out, **changes):
    settings = {
        "classifier__model": "normalized",
        "views__train": ["original", "reconstruction"],
        "views__test": ["original"],
        "classifier__epochs": 4,
    }
    (point,) = run_experiment(config(source, **settings | changes), out)["points"]
    job = out / "checkpoints" / "classifier" / "original" / "job-0"
    return point, final_states(job)


@pytest.mark.slow
@pytest.mark.parametrize("microbatches", [1, 2])
def test_alone_equals_among_others(source, tmp_path, microbatches):
    """Bit by bit: parameters, batch statistics, predictions."""
    among, states = run(source, tmp_path / "among", compute__microbatches=microbatches)
    seed = {"sweep__first_seed": 1, "sweep__num_seeds": 1}
    alone, own = run(source, tmp_path / "alone", compute__microbatches=microbatches, **seed)
    assert any("model_state/batch_stats" in name for name in states)
    for name, array in own.items():
        np.testing.assert_array_equal(array[0], states[name][1], err_msg=name)
    for view, cells in among["loss"].items():
        assert alone["loss"][view]["original"]["per_trial"] == [cells["original"]["per_trial"][1]]


def test_batch_statistics_move_differ_between_trials_and_are_used(source, tmp_path):
    point, states = run(source, tmp_path / "run", classifier__epochs=20)
    means = [
        array for name, array in states.items() if name.endswith("batch_stats/BatchNorm_0/mean")
    ]
    assert len(means) == 1
    assert (means[0] != 0).any(axis=1).all()
    assert (means[0][0] != means[0][1]).any()
    # Evaluated with the statistics of training: a network that had lost them would not know the stripes.
    assert point["accuracy"]["original"]["original"]["mean"] > 0.9


@pytest.mark.slow
def test_micro_batches_have_statistics_of_their_own(source, tmp_path):
    _, one = run(source, tmp_path / "one", compute__microbatches=1)
    _, two = run(source, tmp_path / "two", compute__microbatches=2)
    name = next(name for name in one if name.endswith("batch_stats/BatchNorm_0/mean"))
    assert (one[name] != two[name]).any()


@pytest.mark.slow
def test_a_frozen_trial_keeps_its_statistics(source, tmp_path):
    rates = {
        "sweep__learning_rate": [1e-3, 1e30],
        "sweep__num_seeds": 2,
        "views__train": ["original"],
    }
    results = run_experiment(
        config(source, classifier__model="normalized", views__test=["original"], **rates),
        tmp_path / "run",
    )
    assert [point["trials"] for point in results["points"]] == [[0, 1], []]
    states = final_states(tmp_path / "run" / "checkpoints" / "classifier" / "original" / "job-0")
    assert all(np.isfinite(array).all() for array in states.values() if array.dtype == np.float32)


@pytest.mark.slow
def test_the_average_of_the_weights_is_evaluated(source, tmp_path):
    plain, states = run(
        source, tmp_path / "plain", classifier__model="cnn", classifier__model__width=4
    )
    averaged, own = run(
        source,
        tmp_path / "averaged",
        classifier__model="cnn",
        classifier__model__width=4,
        classifier__average_decay=0.5,
    )
    name = next(name for name in states if name.startswith("/states/params"))
    np.testing.assert_array_equal(own[name], states[name])  # training is the same
    assert (own[name.replace("params", "average/params", 1)] != own[name]).any()
    assert averaged["loss"]["original"]["original"] != plain["loss"]["original"]["original"]
