"""Splits, subsets and folds: stratified, seeded, and refused where a class is too small."""

import numpy as np
import pytest

from blurjax.config.settings import DataConfig
from blurjax.data import splits
from blurjax.runtime.errors import UserError

LABELS = np.repeat([0, 1, 2], [50, 30, 20]).astype(np.int32)
NAMES = ("a", "b", "c")


def made(labels=LABELS, shipped=None, names=NAMES, **settings):
    shipped = shipped or {"train": np.arange(len(labels))}
    config = DataConfig(**settings)
    return splits.subset_of_train(
        splits.split_positions(labels, shipped, names, config), labels, config
    )


def counts(rows, labels=LABELS):
    return np.bincount(labels[rows], minlength=3).tolist()


def test_test_is_a_part_of_all_and_validation_of_what_is_left():
    parts = made(test_fraction=0.2, validation_fraction=0.1)
    assert counts(parts["test"]) == [10, 6, 4]
    assert counts(parts["validation"]) == [4, 2, 2]  # 8 images: 4 + 2.4 + 1.6 by largest remainder
    assert counts(parts["train"]) == [36, 22, 14]


def test_every_image_is_in_exactly_one_split():
    parts = made()
    assert sorted(np.concatenate(list(parts.values()))) == list(range(100))
    assert all((np.diff(rows) > 0).all() for rows in parts.values())


def test_the_seed_decides():
    first, again, other = made(split_seed=1), made(split_seed=1), made(split_seed=2)
    np.testing.assert_array_equal(first["test"], again["test"])
    assert set(first["test"]) != set(other["test"])


def test_shipped_splits_are_kept():
    shipped = {"train": np.arange(0, 100, 2), "test": np.arange(1, 100, 2)}
    parts = made(shipped=shipped)
    np.testing.assert_array_equal(parts["test"], shipped["test"])
    assert set(parts["train"]) | set(parts["validation"]) == set(shipped["train"])
    assert counts(parts["validation"]) == [
        3,
        1,
        1,
    ]  # 5 images: 2.5 + 1.5 + 1, the tie to the first class


def test_a_shipped_validation_split_is_kept_and_test_taken_off_train():
    shipped = {"train": np.arange(0, 100, 2), "validation": np.arange(1, 100, 2)}
    parts = made(shipped=shipped, test_fraction=0.2)
    np.testing.assert_array_equal(parts["validation"], shipped["validation"])
    assert counts(parts["test"]) == [5, 3, 2]


def test_train_examples_is_a_stratified_part_of_train_after_validation():
    whole, part = made(), made(train_examples=24)
    assert counts(part["train"]) == [12, 7, 5]
    assert set(part["train"]) < set(whole["train"])
    for name in ("validation", "test"):
        np.testing.assert_array_equal(part[name], whole[name])


def test_larger_subsets_hold_the_smaller_ones():
    assert set(made(train_examples=10)["train"]) < set(made(train_examples=40)["train"])


def test_small_classes_keep_an_image_in_each_split():
    labels = np.repeat([0, 1], [97, 3])
    parts = made(labels, names=("a", "b"), test_fraction=0.01, validation_fraction=0.01)
    assert all(np.bincount(labels[rows], minlength=2)[1] == 1 for rows in parts.values())


def test_a_class_too_small_for_all_splits_is_named():
    labels = np.repeat([0, 1], [20, 2])
    with pytest.raises(
        UserError, match=r"Class rare has 2 images and needs at least 3, one each for"
    ):
        made(labels, names=("common", "rare"))


def test_a_class_needs_only_what_does_not_ship():
    labels = np.repeat([0, 1], [20, 3])
    shipped = {"train": np.arange(1, 22), "test": np.array([0, 22])}
    parts = made(labels, shipped, ("common", "rare"))
    assert [np.bincount(labels[parts[name]])[1] for name in parts] == [1, 1, 1]


def test_nested_subsets_take_one_of_each_class_and_then_by_websters_method():
    labels = np.array([0] * 6 + [1] * 3 + [2])
    order = splits.nested_subsets(labels, seed=0)
    assert sorted(order) == list(range(10))
    assert sorted(labels[order[:3]]) == [0, 1, 2]
    # Next (taken + 1/2) / images: of class 0 .25 .42 .58 .75 .92, of class 1 .50 .83.
    assert labels[order[3:]].tolist() == [0, 0, 1, 0, 0, 1, 0]


def test_nested_subsets_of_equal_classes_differ_by_one_and_ties_are_drawn():
    labels = np.repeat(np.arange(4), 25)
    orders = [splits.nested_subsets(labels, seed) for seed in range(20)]
    for order in orders:
        counts = [np.bincount(labels[order[:n]], minlength=4) for n in range(4, 101)]
        assert max(np.ptp(count) for count in counts) == 1
    assert {labels[order[4]] for order in orders} == {0, 1, 2, 3}
    firsts = {order[0] for order in orders}
    assert len(firsts) > 10
    np.testing.assert_array_equal(orders[3], splits.nested_subsets(labels, 3))


def test_more_train_examples_than_there_are():
    with pytest.raises(UserError, match=r"train_examples is 73, but the train split has only 72"):
        made(train_examples=73)


def test_fewer_train_examples_than_classes():
    with pytest.raises(UserError, match=r"train_examples is 2, but each of the 3 classes"):
        made(train_examples=2)


def test_quotas_by_largest_remainder():
    # Ideal shares 4.2, 3.5, 2.3: the one image left over goes to the largest remainder.
    assert splits.quotas(np.array([42, 35, 23]), 10, 1).tolist() == [4, 4, 2]


def test_quotas_stay_within_their_bounds_and_keep_their_sum():
    random = np.random.default_rng(0)
    for _ in range(200):
        counts = random.integers(3, 60, random.integers(2, 12))
        total = int(random.integers(len(counts), (counts - 2).sum() + 1))
        quota = splits.quotas(counts, total, 2)
        assert quota.sum() == total
        assert (quota >= 1).all()
        assert (quota <= counts - 2).all()


def test_folds_are_balanced_within_classes_and_over_all():
    folds = splits.fold_assignment(LABELS, 3, seed=0)
    assert folds.dtype == np.int32
    assert sorted(np.bincount(folds)) == [33, 33, 34]
    for label, size in enumerate([50, 30, 20]):
        in_class = np.bincount(folds[label == LABELS], minlength=3)
        assert in_class.sum() == size
        assert in_class.max() - in_class.min() <= 1


def test_folds_depend_on_the_seed_alone():
    first = splits.fold_assignment(LABELS, 2, seed=0)
    np.testing.assert_array_equal(first, splits.fold_assignment(LABELS, 2, seed=0))
    assert (first != splits.fold_assignment(LABELS, 2, seed=1)).any()
