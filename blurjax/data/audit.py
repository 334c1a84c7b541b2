"""Reports what may be wrong with a data set: duplicates, conflicting labels, unequal classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from blurjax.config.settings import SPLITS
from blurjax.data.dataset import Dataset
from blurjax.data.duplicates import content_groups, count_distinct
from blurjax.data.near_duplicates import MAX_RATIO, sample_of, shrink, similar_pairs, thumbnails

EXAMPLES = 20
"""Most groups, images of a group, and pairs that are listed."""


def audit_dataset(dataset: Dataset, duplicates: str = "keep") -> dict[str, Any]:
    """Looks for duplicates within and across splits, and counts classes.

    Args:
      dataset: as the experiment uses it.
      duplicates: data.duplicates, `keep` or `drop`, which `dataset` was loaded with.

    Returns:
      The content of audit.json (docs/run_directory.md; definitions in docs/statistics.md).
    """
    positions = np.concatenate([dataset.splits[split] for split in SPLITS])
    groups = content_groups(dataset.images, positions)
    return {
        "fingerprint": dataset.fingerprint,
        "duplicates": duplicates,
        "dropped": dataset.dropped,
        "blurry": dataset.blurry,
        "exact": _exact(dataset, positions, groups),
        "near": _near(dataset, groups),
        "class_balance": {
            split: dict(zip(dataset.class_names, (counts / counts.sum()).tolist(), strict=True))
            for split, counts in dataset.class_counts.items()
        },
    }


def _exact(dataset: Dataset, positions: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    split_of = np.repeat(np.arange(len(SPLITS)), [len(dataset.splits[split]) for split in SPLITS])
    copies = np.bincount(groups)
    is_across = count_distinct(groups, split_of) > 1
    is_conflicting = count_distinct(groups, dataset.labels[positions]) > 1
    # The most harmful first.
    worst = np.lexsort((~is_conflicting, ~is_across, copies == 1))[: np.sum(copies > 1)]
    examples = []
    for group in worst[:EXAMPLES]:
        members = np.flatnonzero(groups == group)[:EXAMPLES]
        images = [_image(dataset, SPLITS[split_of[m]], int(positions[m])) for m in members]
        examples.append({"images": images})
    return {
        "groups": len(worst),
        "images": int(copies[worst].sum()),
        "across_splits": int(is_across.sum()),
        "conflicting_labels": int(is_conflicting.sum()),
        "examples": examples,
    }


def _near(dataset: Dataset, groups: np.ndarray) -> dict[str, Any]:
    pixels = {split: shrink(dataset.images, dataset.splits[split]) for split in SPLITS}
    sample = sample_of(pixels["train"])
    small = {split: thumbnails(pixels[split], sample) for split in SPLITS}
    ends = np.cumsum([len(dataset.splits[split]) for split in SPLITS])
    content = dict(zip(SPLITS, np.split(groups, ends[:-1]), strict=True))
    count, nearest = 0, []
    for a, b in (("train", "test"), ("validation", "test"), ("train", "validation")):
        for rows_a, rows_b, ratios in similar_pairs(small[a], small[b], content[a], content[b]):
            count += len(ratios)
            for pair in np.argsort(ratios, kind="stable")[:EXAMPLES]:
                nearest.append(
                    {
                        "a": _image(dataset, a, int(dataset.splits[a][rows_a[pair]])),
                        "b": _image(dataset, b, int(dataset.splits[b][rows_b[pair]])),
                        "distance": round(float(ratios[pair]), 3),
                    }
                )
    nearest.sort(key=lambda pair: pair["distance"])
    return {"threshold": MAX_RATIO, "pairs": count, "examples": nearest[:EXAMPLES]}


def _image(dataset: Dataset, split: str, position: int) -> dict[str, str]:
    label = dataset.class_names[dataset.labels[position]]
    return {"split": split, "name": dataset.names[position], "label": label}
