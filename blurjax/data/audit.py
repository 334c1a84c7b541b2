"""What may be wrong with a data set: duplicates, conflicting labels, unequal classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from blurjax.data.dataset import SPLITS, Dataset
from blurjax.data.duplicates import content_groups, count_distinct
from blurjax.data.near_duplicates import MOST_BITS, Looks, are_alike, close_pairs, looks

EXAMPLES = 20
"""Most groups, images of a group, and pairs that are shown."""


def audit(dataset: Dataset, duplicates: str = "keep") -> dict[str, Any]:
    """Looks for duplicates within and across splits, and counts classes.

    Args:
      dataset: as the experiment uses it.
      duplicates: data.duplicates, `keep` or `drop`, which `dataset` was loaded with.

    Returns:
      The content of audit.json (docs/run_directory.md; definitions in docs/statistics.md).
    """
    groups = content_groups(*(dataset.splits[split].images for split in SPLITS))
    return {
        "fingerprint": dataset.fingerprint,
        "duplicates": duplicates,
        "dropped": dataset.dropped,
        "exact": _exact(dataset, groups),
        "near": _near(dataset, groups),
        "class_balance": {
            split: dict(zip(dataset.class_names, (counts / counts.sum()).tolist(), strict=True))
            for split, counts in dataset.class_counts.items()
        },
    }


def _exact(dataset: Dataset, groups: np.ndarray) -> dict[str, Any]:
    sizes = [len(dataset.splits[split].labels) for split in SPLITS]
    split_of = np.repeat(np.arange(len(SPLITS)), sizes)
    row_of = np.concatenate([np.arange(size) for size in sizes])
    labels = np.concatenate([dataset.splits[split].labels for split in SPLITS])
    copies = np.bincount(groups)
    is_across = count_distinct(groups, split_of) > 1
    is_conflicting = count_distinct(groups, labels) > 1
    # What does most harm is shown first.
    worst = np.lexsort((~is_conflicting, ~is_across, copies == 1))[: np.sum(copies > 1)]

    def members(group: int) -> list[dict[str, str]]:
        places = np.flatnonzero(groups == group)[:EXAMPLES]
        return [_image(dataset, SPLITS[split_of[p]], int(row_of[p])) for p in places]

    return {
        "groups": len(worst),
        "images": int(copies[worst].sum()),
        "across_splits": int(is_across.sum()),
        "conflicting_labels": int(is_conflicting.sum()),
        "examples": [{"images": members(group)} for group in worst[:EXAMPLES]],
    }


def _near(dataset: Dataset, groups: np.ndarray) -> dict[str, Any]:
    seen = [looks(dataset.splits[split].images) for split in SPLITS]
    ends = np.cumsum([len(dataset.splits[split].labels) for split in SPLITS])
    content = np.split(groups, ends[:-1])
    count, nearest = 0, []
    for a, b in ((0, 2), (1, 2), (0, 1)):  # with test first
        for rows_a, rows_b, bits in _near_pairs(seen[a], seen[b], content[a], content[b]):
            count += len(bits)
            for position in np.argsort(bits, kind="stable")[:EXAMPLES]:
                pair = {
                    "a": _image(dataset, SPLITS[a], int(rows_a[position])),
                    "b": _image(dataset, SPLITS[b], int(rows_b[position])),
                    "distance": int(bits[position]),
                }
                nearest.append(pair)
    nearest.sort(key=lambda pair: pair["distance"])
    return {"threshold": MOST_BITS, "pairs": count, "examples": nearest[:EXAMPLES]}


def _near_pairs(
    a: Looks, b: Looks, content_a: np.ndarray, content_b: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields (rows of a's split, rows of b's split, differing bits) of near, not exact, duplicates."""
    for i, j in close_pairs(a.hashes, b.hashes):
        differs = content_a[a.rows[i]] != content_b[b.rows[j]]
        i, j = i[differs], j[differs]
        alike = are_alike(a.thumbnails, b.thumbnails, a.rows[i], b.rows[j])
        i, j = i[alike], j[alike]
        yield a.rows[i], b.rows[j], np.bitwise_count(a.hashes[i] ^ b.hashes[j])


def _image(dataset: Dataset, split: str, row: int) -> dict[str, str]:
    of_split = dataset.splits[split]
    label = dataset.class_names[of_split.labels[row]]
    return {"split": split, "name": of_split.names[row], "label": label}
