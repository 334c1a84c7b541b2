"""Loads data sets in tests, with a cache of the test's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blurjax.config.sections import DataConfig
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
    return {name: len(split.labels) for name, split in dataset.splits.items()}


def by_name(dataset: Dataset) -> dict[str, tuple[np.ndarray, str]]:
    """Name -> (pixels, class name), over all splits."""
    return {
        name: (split.images[row], dataset.class_names[split.labels[row]])
        for split in dataset.splits.values()
        for row, name in enumerate(split.names)
    }
