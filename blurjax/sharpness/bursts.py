"""Bursts: near-equal photographs of one scene, of which one is the sharpest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from blurjax.data.near_duplicates import photograph_thumbnails, similar_pairs
from blurjax.sharpness.rating import NOTHING, Rating


def find_bursts(thumbnails: Sequence[np.ndarray]) -> list[list[int]]:
    """Finds groups of photographs that are near duplicates of one another, directly or through others.

    Two are near duplicates where averages over 16x16 areas hardly differ, as `blurjax.data.near_duplicates` says: the
    camera may have moved by 1% of the picture between them, often by 2%, and either may be blurred. Every two are
    compared.

    Args:
      thumbnails: N arrays u8[16,16,3], those of `RatedFile`.

    Returns:
      Positions of the photographs of each group of at least two, ascending.
    """
    if not len(thumbnails):
        return []
    count = len(thumbnails)
    small = photograph_thumbnails(np.stack(thumbnails))
    group = np.arange(count)  # equal copies belong to a burst, too
    for a, b, _ in similar_pairs(small, small, group, group):
        links = coo_array((np.ones(len(a), bool), (group[a], group[b])), shape=(count, count))
        group[:] = connected_components(links, directed=False)[1][
            group
        ]  # what is linked is not compared again
    order = np.argsort(group, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return sorted(members.tolist() for members in groups if len(members) > 1)


def sharpest(ratings: Sequence[Rating]) -> int:
    """Returns the position of the sharpest: least likely to be blurry, then with the least sigma, then the first.

    Those of which nothing can be judged come last.
    """
    return min(
        range(len(ratings)),
        key=lambda i: (ratings[i].kind == NOTHING, ratings[i].probability, ratings[i].sigma, i),
    )
