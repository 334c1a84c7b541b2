"""Seeded, stratified splits, subsets and folds.

scikit-learn's StratifiedShuffleSplit may leave a small class out of a split; here every class of three images or
more is in each.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from blurjax.config.settings import SPLITS, DataConfig
from blurjax.data.messages import printable
from blurjax.runtime.errors import UserError


def split_positions(
    labels: np.ndarray,
    shipped: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    config: DataConfig,
) -> dict[str, np.ndarray]:
    """Decides which images belong to train, validation and test.

    A split that ships is taken as it is; the others are stratified parts of train, test first.

    Args:
      labels: i32[N] of all images.
      shipped: split -> positions i64 of its images; has at least "train".
      class_names: for error messages.
      config: fractions and the seed.

    Returns:
      Split -> positions i64, ascending, for each of the three splits.

    Raises:
      UserError: a class has too few images to be in every split.
    """
    parts = dict(shipped)
    needed = ["train", *(name for name in ("validation", "test") if name not in shipped)]
    counts = np.bincount(labels[parts["train"]], minlength=len(class_names))
    rarest = int(np.argmin(counts))
    if counts[rarest] < len(needed):
        images = "1 image" if counts[rarest] == 1 else f"{counts[rarest]} images"
        raise UserError(
            f"Class {printable(class_names[rarest])} has {images} and needs at least {len(needed)}, "
            f"one each for {' and '.join(needed)}; add images or remove the class."
        )
    fractions = {"test": config.test_fraction, "validation": config.validation_fraction}
    for position, name in enumerate(name for name in fractions if name not in shipped):
        pool = parts["train"]
        count = round(fractions[name] * len(pool))
        leave = len(needed) - 1 - position
        chosen = _stratified(labels[pool], count, leave, generator(config.split_seed, name))
        parts[name], parts["train"] = pool[chosen], pool[~chosen]
    return {name: parts[name] for name in SPLITS}


def subset_of_train(
    rows: Mapping[str, np.ndarray], labels: np.ndarray, config: DataConfig
) -> dict[str, np.ndarray]:
    """Takes a stratified part of `train_examples` images of train, where that is set.

    Args:
      rows: split -> positions i64, ascending.
      labels: i32[N] of all images.
      config: train_examples and the seed.

    Raises:
      UserError: train has fewer images, or more classes.
    """
    count, pool = config.train_examples, rows["train"]
    if count is None:
        return dict(rows)
    num_classes = len(np.unique(labels[pool]))
    if count > len(pool):
        raise UserError(
            f"data.train_examples is {count:,}, but the train split has only "
            f"{len(pool):,} images; lower it."
        )
    if count < num_classes:
        raise UserError(
            f"data.train_examples is {count}, but each of the {num_classes} classes needs "
            "an image; raise it."
        )
    random = generator(config.split_seed, "train_examples")
    return {**rows, "train": pool[_stratified(labels[pool], count, 0, random)]}


def nested_subsets(labels: np.ndarray, seed: int) -> np.ndarray:
    """Orders images so that the first n are a stratified subset of n images, for every n.

    After one image of each class, the next image is of the class with the least (images taken + 1/2) / (its images):
    Webster's method of apportionment. Unlike the largest remainder, it never gives an image back as n grows, so subsets
    are nested. Which images of a class, and which of classes in a tie, is drawn.

    Args:
      labels: i32[N].
      seed: draws the order.

    Returns:
      i64[N], a permutation.
    """
    random = generator(seed, "labelled images")
    shuffled = random.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, first, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    taken = np.arange(len(labels)) - np.repeat(first, counts)
    priority = np.where(taken == 0, 0, (taken + 0.5) / np.repeat(counts, counts))
    return by_class[np.lexsort((random.random(len(labels)), priority))]


def fold_assignment(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Assigns images to folds by a seeded permutation.

    Args:
      labels: i32[N].
      folds: how many.
      seed: draws the permutation.

    Returns:
      i32[N], the fold of each image; fold sizes differ by at most one, over all images and within
      each class.
    """
    shuffled = generator(seed, "folds").permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    assigned = np.empty(len(labels), np.int32)
    assigned[by_class] = np.arange(len(labels)) % folds
    return assigned


def generator(seed: int, stream: str) -> np.random.Generator:
    """An independent random stream for each seed and name."""
    return np.random.default_rng([seed, zlib.crc32(stream.encode())])


def quotas(counts: np.ndarray, total: int, leave: int) -> np.ndarray:
    """Shares `total` among classes in proportion to their counts, by largest remainder.

    Args:
      counts: i64[classes], more than `leave` each.
      total: how many images to take; clipped to what the bounds allow.
      leave: how many of each class must remain.

    Returns:
      i64[classes], at least 1 and at most counts - leave, summing to total.
    """
    most = counts - leave
    total = int(np.clip(total, len(counts), most.sum()))
    ideal = counts * total / counts.sum()
    taken = np.clip(np.floor(ideal).astype(np.int64), 1, most)
    while missing := np.sign(total - taken.sum()):
        has_room = taken < most if missing > 0 else taken > 1
        taken[np.argmax(np.where(has_room, missing * (ideal - taken), -np.inf))] += missing
    return taken


def _stratified(
    labels: np.ndarray, count: int, leave: int, random: np.random.Generator
) -> np.ndarray:
    """Draws about `count` images, stratified by label: bool[N]."""
    classes, counts = np.unique(labels, return_counts=True)
    chosen = np.zeros(len(labels), bool)
    for label, quota in zip(classes, quotas(counts, count, leave), strict=True):
        members = random.permutation(np.flatnonzero(labels == label))
        chosen[members[:quota]] = True
    return chosen
