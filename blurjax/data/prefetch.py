"""Reads and decodes images in threads, ahead of their use."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

T = TypeVar("T")
R = TypeVar("R")


def run_ahead(
    function: Callable[[T], R], items: Iterable[T], ahead: int, threads: int | None = None
) -> Iterator[R]:
    """Yields function(item) in order, computed in threads, for at most `ahead` + 1 items at a time.

    By default there are as many threads as Python chooses, a few more than cores. An exception in a thread is raised
    here. Closing the iterator ends the threads.
    """
    running: collections.deque[Future[R]] = collections.deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) > ahead:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def read_batches(images: np.ndarray, order: np.ndarray, chunk: int) -> Iterator[np.ndarray]:
    """Reads batches in a given order, ahead of their use, in bounded memory.

    Args:
      images: u8[N,H,W,C]; may be a memory map.
      order: integers [steps,B], positions of images; start at another step by slicing it.
      chunk: most steps in one piece.

    Yields:
      u8[<=chunk,B,H,W,C], the batches of consecutive steps; about three chunks are in memory at a
      time.
    """

    def read(positions: np.ndarray) -> np.ndarray:
        # Read in ascending order, as disks like it, and put into the order asked for.
        ascending, place = np.unique(positions, return_inverse=True)
        return images.take(ascending, axis=0).take(place, axis=0)

    batches: list[np.ndarray] = []
    for batch in run_ahead(read, order, 2 * chunk):
        batches.append(batch)
        if len(batches) == chunk:
            yield np.stack(batches)
            batches = []
    if batches:
        yield np.stack(batches)
