"""Loads data sets in tests, with a cache of the test's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from blurjax.config.settings import SPLITS, DataConfig
from blurjax.data import sources
from blurjax.data.dataset import Dataset
from blurjax.runtime.errors import UserError


def settings(tmp_path: Path, source: object, **values: object) -> DataConfig:
    """Settings whose cache lies in tmp_path."""
    return DataConfig.model_validate(
        {"source": str(source), "cache_dir": tmp_path / "cache"} | values
    )


def refused(config: DataConfig, message: str) -> None:
    """Asserts that loading ends in one line that matches."""
    with pytest.raises(UserError, match=message) as caught:
        sources.load(config)
    assert "\n" not in str(caught.value)


def sizes(dataset: Dataset) -> dict[str, int]:
    """Images in each split."""
    return {name: len(positions) for name, positions in dataset.splits.items()}


def by_name(dataset: Dataset) -> dict[str, tuple[np.ndarray, str]]:
    """Name -> (pixels, class name), over all splits."""
    return {
        dataset.names[i]: (dataset.images[i], dataset.class_names[dataset.labels[i]])
        for positions in dataset.splits.values()
        for i in positions
    }


def images_of(dataset: Dataset, split: str) -> np.ndarray:
    """The images of a split."""
    return dataset.images[dataset.splits[split]]


def names_of(dataset: Dataset, split: str) -> tuple[str, ...]:
    """The names of the images of a split."""
    return tuple(dataset.names[i] for i in dataset.splits[split])


def dataset_of(
    splits: dict[str, tuple[np.ndarray, Sequence[int]]], class_names=("a", "b"), names=None
) -> Dataset:
    """A data set of {split: (images, labels)}."""
    ends = np.cumsum([len(splits[split][1]) for split in SPLITS])
    names = names or tuple(map(str, range(ends[-1])))
    return Dataset(
        name="made",
        class_names=class_names,
        images=np.concatenate([splits[split][0] for split in SPLITS]),
        labels=np.concatenate([splits[split][1] for split in SPLITS]).astype(np.int32),
        names=names,
        splits=dict(
            zip(SPLITS, np.split(np.arange(ends[-1], dtype=np.int32), ends[:-1]), strict=True)
        ),
        fingerprint="fingerprint",
    )
