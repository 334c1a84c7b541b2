"""Reads batches of images ahead of their use."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

T = TypeVar("T")
AHEAD = 2
"""Pieces that are being read or wait for their use."""


def ahead(begun: Iterator[T], count: int = AHEAD) -> Iterator[T]:
    """Yields what an iterator begins, each item once `count` more have been begun."""
    waiting = collections.deque(itertools.islice(begun, count))
    for item in begun:
        waiting.append(item)
        yield waiting.popleft()
    yield from waiting


def read_batches(images: np.ndarray, order: np.ndarray, chunk: int) -> Iterator[np.ndarray]:
    """Reads batches in a given order in threads, ahead of their use, in bounded memory.

    Args:
      images: u8[N,H,W,C]; may be a memory map.
      order: integers [steps,B], positions of images; start at another step by slicing it.
      chunk: most steps in one piece.

    Yields:
      u8[<=chunk,B,H,W,C], the batches of consecutive steps; about three chunks are in memory at a
      time. An exception while reading is raised here. Reading ends when the iterator is closed.
    """

    def read(positions: np.ndarray, batch: np.ndarray) -> None:
        # Read in ascending order, as disks like it, and put into the order asked for.
        ascending, place = np.unique(positions, return_inverse=True)
        images.take(ascending, axis=0).take(place, axis=0, out=batch, mode="clip")

    def begin(start: int) -> tuple[np.ndarray, list[Future[None]]]:
        steps = order[start : start + chunk]
        batches = np.empty((*steps.shape, *images.shape[1:]), images.dtype)
        pairs = zip(steps, batches, strict=True)
        return batches, [pool.submit(read, *pair) for pair in pairs]

    pool = ThreadPoolExecutor()
    try:
        for batches, reads in ahead(map(begin, range(0, len(order), chunk))):
            for done in reads:
                done.result()
            yield batches
    finally:
        pool.shutdown(cancel_futures=True)
