"""Trials: which an experiment has, in which order, and the keys under which files hold them."""

import pytest

from blurjax.config import loading
from blurjax.config.trials import (
    Point,
    Trial,
    all_autoencoder_trials,
    autoencoder_trials,
    classifier_trial,
    classifier_trials,
    measured_views,
    num_folds,
    points,
    quality_trials,
    views_in_use,
)

SEEDS = (5, 6, 7)
SWEEP = {
    "sweep.num_seeds": 3,
    "sweep.first_seed": 5,
    "sweep.bottleneck": [4, 8],
    "sweep.learning_rate": [1e-3, 3e-4],
    "autoencoder.max_bottleneck": 8,
    "autoencoder.folds": 3,
}


def config(train=("original", "reconstruction"), test=("original",), **more):
    return loading.load(None, SWEEP | {"views.train": list(train), "views.test": list(test)} | more)


@pytest.mark.parametrize(
    ("trial", "key"),
    [
        (Trial(3), "seed=3"),
        (Trial(3, 8), "seed=3 bottleneck=8"),
        (Trial(3, 8, fold=0), "seed=3 bottleneck=8 fold=0"),
        (Trial(0, None, None, 1e-05, 0.0), "seed=0 learning_rate=1e-05 weight_decay=0.0"),
        (
            Trial(2**31 - 1, 128, None, 0.0003, 0.1),
            "seed=2147483647 bottleneck=128 learning_rate=0.0003 weight_decay=0.1",
        ),
        (
            Trial(1, None, None, 0.1 + 0.2, 1.0),
            "seed=1 learning_rate=0.30000000000000004 weight_decay=1.0",
        ),
        (
            Trial(1, None, None, 0.001, 0.0, 100),
            "seed=1 learning_rate=0.001 weight_decay=0.0 train_examples=100",
        ),
    ],
    ids=str,
)
def test_a_key_names_what_applies_and_reads_back_the_same(trial, key):
    assert trial.key == key
    found = Trial.from_key(key)
    assert found == trial
    assert [type(value) for value in found] == [type(value) for value in trial]


def test_keys_of_all_trials_of_an_experiment_differ_and_read_back():
    sweep = config(train=("original", "crossfit"))
    trials = all_autoencoder_trials(sweep) + [
        trial for view in ("original", "crossfit") for trial in classifier_trials(sweep, view)
    ]
    keys = [trial.key for trial in trials]
    assert len(set(keys)) == len(keys) == 3 * 2 * (1 + 3) + 3 * 2 + 3 * 2 * 2
    assert [Trial.from_key(key) for key in keys] == trials


def test_numbers_of_labels_are_of_points_and_classifiers_and_the_whole_split_has_no_name():
    few = config(**{"sweep.train_examples": ["100", "all"], "sweep.learning_rate": []})
    assert points(few) == [Point(b, 1e-3, 0.0, n) for b in (4, 8) for n in (100, None)]
    keys = [trial.key for trial in classifier_trials(few, "original") if trial.seed == 5]
    plain = "seed=5 learning_rate=0.001 weight_decay=0.0"
    assert keys == [f"{plain} train_examples=100", plain]
    assert autoencoder_trials(few) == autoencoder_trials(config())


def test_points_combine_all_values_the_bottleneck_slowest():
    assert points(config()) == [
        Point(4, 1e-3, 0.0),
        Point(4, 3e-4, 0.0),
        Point(8, 1e-3, 0.0),
        Point(8, 3e-4, 0.0),
    ]


def test_autoencoders_are_one_for_each_bottleneck_and_seed():
    expected = [Trial(seed, bottleneck) for bottleneck in (4, 8) for seed in SEEDS]
    assert autoencoder_trials(config()) == expected
    assert all_autoencoder_trials(config()) == expected
    assert autoencoder_trials(config(), fold=1) == [t._replace(fold=1) for t in expected]


def test_folds_have_autoencoders_of_their_own_where_a_view_needs_them():
    folded = config(test=("original", "crossfit"))
    assert (num_folds(config()), num_folds(folded)) == (0, 3)
    trials = all_autoencoder_trials(folded)
    assert [trial.fold for trial in trials[::6]] == [None, 0, 1, 2]
    assert trials[6:12] == autoencoder_trials(folded, fold=0)


def test_classifiers_of_the_code_are_one_for_each_point_and_seed():
    expected = [
        Trial(seed, bottleneck, None, rate, 0.0)
        for bottleneck in (4, 8)
        for rate in (1e-3, 3e-4)
        for seed in SEEDS
    ]
    assert classifier_trials(config(), "reconstruction") == expected
    assert classifier_trials(config(), "original", "reconstruction") == expected


def test_classifiers_without_the_code_are_one_for_each_rate_and_seed():
    expected = [Trial(seed, None, None, rate, 0.0) for rate in (1e-3, 3e-4) for seed in SEEDS]
    assert classifier_trials(config(), "original") == expected
    assert classifier_trials(config(), "original", "identity") == expected


def test_a_classifier_of_a_point_has_the_bottleneck_where_a_view_depends_on_it():
    point = Point(8, 3e-4, 0.5)
    assert classifier_trial(point, 2, "original") == Trial(2, None, None, 3e-4, 0.5)
    assert classifier_trial(point, 2, "original", "pca") == Trial(2, 8, None, 3e-4, 0.5)


def test_image_quality_has_one_row_for_all_where_it_does_not_depend_on_the_code():
    assert quality_trials(config(), "original") == [Trial(5)]
    assert quality_trials(config(), "blur") == autoencoder_trials(config())


def test_views_in_use_begin_with_the_original_and_have_the_reconstruction_to_be_matched():
    assert views_in_use(config(train=("identity",), test=("original",))) == ("original", "identity")
    in_use = views_in_use(config(train=("blur",), test=("crossfit", "blur")))
    assert in_use == ("original", "blur", "crossfit", "reconstruction")
    measured = measured_views(config(train=("blur", "mixed", "identity"), test=("crossfit",)))
    assert measured == ["original", "reconstruction", "crossfit", "blur"]
