"""From decoded images to the device: the order in which a trial sees them, resident or streamed.

Batch t of a trial is a pure function of (seed, t): a trial's examples are one endless stream, a fresh permutation of
its train split after another, and batch t is what lies from t * batch_size on. No example is dropped at the end of an
epoch, and a step number is the whole position in the data.

Positions number the images of all splits, train first, then validation, then test.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, Sharding

from blurjax.data import pipeline
from blurjax.data.dataset import SPLITS, Dataset
from blurjax.data.splits import fold_assignment
from blurjax.engine.mesh import in_batches, place, place_columns, shared
from blurjax.engine.random import key
from blurjax.engine.types import ALL_DATA, Array, Scalar

STREAM_BYTES = 64 * 2**20
"""Decoded images in one streamed chunk."""
AHEAD = 2
"""Chunks that may wait for the device: more would fill its memory, and who asks a run to stop would wait for them."""


@dataclass(frozen=True)
class Positions:
    """Which positions are what."""

    labels: np.ndarray
    """i32[N] of all splits."""
    splits: dict[str, np.ndarray]
    """Positions i32[N] of each split."""
    measured: dict[str, np.ndarray]
    """Positions on which curves are measured: "validation", and a fixed subset as large of "train"."""
    fold_of: np.ndarray | None
    """i32[N], the fold of every image, in each split as evenly as can be; None without folds."""


def number_examples(dataset: Dataset, split_seed: int, num_folds: int) -> Positions:
    """Numbers the examples of a data set, and assigns them to folds (none where num_folds is 0)."""
    labels = [dataset.splits[name].labels for name in SPLITS]
    bounds = np.cumsum([0, *map(len, labels)], dtype=np.int32)
    splits = {name: np.arange(*bounds[i : i + 2], dtype=np.int32) for i, name in enumerate(SPLITS)}
    rng = np.random.default_rng([split_seed, zlib.crc32(b"measured")])
    size = min(len(splits["train"]), len(splits["validation"]))
    subset = np.sort(rng.choice(splits["train"], size, replace=False))
    fold_of = [fold_assignment(of_split, num_folds, split_seed) for of_split in labels if num_folds]
    return Positions(
        labels=np.concatenate(labels),
        splits=splits,
        measured={"train": subset, "validation": splits["validation"]},
        fold_of=np.concatenate(fold_of) if fold_of else None,
    )


@dataclass(frozen=True)
class Chunk:
    """Some steps' worth of batches: rows start .. start + length of positions, into data."""

    data: dict[str, Array]
    positions: Array
    start: int
    length: int


def members_by_fold(
    num_examples: int, fold_of: np.ndarray | None, folds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which positions the trials of each fold are trained on.

    Args:
      num_examples: N of the train split.
      fold_of: i32[N] or None where no fold autoencoders are trained.
      folds: how many.

    Returns:
      i32[F+1, N] padded with -1, and its lengths i32[F+1]; row fold + 1 leaves `fold` out, row 0 nothing.
    """
    rows = [np.arange(num_examples)]
    if fold_of is not None:
        rows += [np.flatnonzero(fold_of != fold) for fold in range(folds)]
    table = np.full((len(rows), num_examples), -1, np.int32)
    for row, members in zip(table, rows, strict=True):
        row[: len(members)] = members
    return table, np.array([len(members) for members in rows], np.int32)


def epoch_order(
    seed: Scalar,
    fold: Scalar,
    epoch: Scalar,
    table: Array,
    lengths: Array,
    *,
    steps: int,
    batch_size: int,
    stream: str,
) -> Array:
    """Positions i32[steps, batch_size] of an epoch of one trial.

    Args:
      seed: u32 scalar.
      fold: i32 scalar, the fold left out, or -1.
      epoch: i32 scalar, from 0.
      table: i32[F+1, N] from `members_by_fold`.
      lengths: i32[F+1].
      steps: steps an epoch.
      batch_size: images a step.
      stream: name of the random stream.
    """
    members, length = table[fold - ALL_DATA], lengths[fold - ALL_DATA]
    first = epoch * (steps * batch_size)
    first_pass = first // length
    shortest = table.shape[1] // 2 if len(table) > 1 else table.shape[1]  # of two folds or more
    passes = math.ceil(steps * batch_size / shortest) + 1

    def permutation(number: Scalar) -> Array:
        bits = jax.random.bits(key(seed, stream, number), (table.shape[1],), jnp.uint32) >> 1
        padding_last = jnp.where(jnp.arange(table.shape[1]) < length, bits, jnp.uint32(2**32 - 1))
        return jnp.argsort(padding_last)

    permutations = jax.lax.map(permutation, first_pass + jnp.arange(passes))
    ahead = first - first_pass * length + jnp.arange(steps * batch_size)
    return members[permutations[ahead // length, ahead % length]].reshape(steps, batch_size)


def batches_in_order(positions: np.ndarray, batch_size: int) -> np.ndarray:
    """Cuts positions [N] into batches i32[ceil(N / B), B], the last one padded with -1."""
    padded = np.full(-(-len(positions) // batch_size) * batch_size, -1, np.int32)
    padded[: len(positions)] = positions
    return padded.reshape(-1, batch_size)


class ResidentFeed:
    """All decoded images on every device; chunks are gathered there."""

    streamed = False

    def __init__(self, dataset: Dataset, capacity: int, sharding: Sharding):
        splits = [dataset.splits[name] for name in SPLITS]
        self.capacity = capacity
        self._sharding = sharding
        images = np.concatenate([split.images for split in splits])
        labels = np.concatenate([split.labels for split in splits])
        index = np.arange(len(images), dtype=np.int32)
        self._data = place({"image": images, "label": labels, "index": index}, sharding)

    def chunks(self, order: Array | np.ndarray, first: int = 0) -> Iterator[Chunk]:
        """Chunks of an order, from step `first` on.

        Args:
          order: i32[T,S,B] on the device, one order per trial; or i32[S,B] on the host, one for all, cut into
            [capacity,B] so that one program serves orders of any length.
          first: step to begin with.
        """
        steps = order.shape[-2]
        for start in range(first, steps, self.capacity):
            length = min(self.capacity, steps - start)
            if isinstance(order, np.ndarray):
                rows = np.full((self.capacity, order.shape[1]), -1, np.int32)
                rows[:length] = order[start : start + length]
                yield Chunk(self._data, place(rows, self._sharding), 0, length)
            else:
                yield Chunk(self._data, order, start, length)


class StreamedFeed:
    """Chunks of batches read from decoded images on disk while the device computes; one order for all trials.

    A process reads of each batch what its devices are for: all of it, unless devices share batches.
    """

    streamed = True

    def __init__(self, dataset: Dataset, capacity: int, batch_size: int, sharding: Sharding):
        self._splits = [dataset.splits[name] for name in SPLITS]
        self._offsets = np.cumsum([0] + [len(split.labels) for split in self._splits])
        self._labels = np.concatenate([split.labels for split in self._splits])
        batch_bytes = batch_size * math.prod(dataset.image_shape)
        self.capacity = max(1, min(capacity, STREAM_BYTES // batch_bytes))
        self._sharding = sharding

    def chunks(self, order: np.ndarray, first: int = 0) -> Iterator[Chunk]:
        """Chunks of an order i32[S,B] on the host, whose positions lie in one split, from step `first` on."""
        rows = order[first:]
        split = int(np.searchsorted(self._offsets, rows[0, 0], side="right")) - 1
        own = self._own_columns(order.shape[1])
        local = np.maximum(rows[:, own] - self._offsets[split], 0)
        start = 0
        for images in pipeline.stream(self._splits[split].images, local, self.capacity):
            length = len(images)
            yield self._chunk(images, rows[start : start + length], own)
            start += length

    def _own_columns(self, batch_size: int) -> slice:
        """Which examples of a batch the devices of this process are for."""
        shape = (self.capacity, batch_size)
        indices = self._sharding.addressable_devices_indices_map(shape).values()
        bounds = [index[1].indices(batch_size)[:2] for index in indices if index is not None]
        return slice(min(start for start, _ in bounds), max(stop for _, stop in bounds))

    def _chunk(self, images: np.ndarray, rows: np.ndarray, own: slice) -> Chunk:
        """Of images u8[length,own,H,W,C] at positions rows i32[length,B]."""
        length, batch_size = rows.shape
        if length < self.capacity:  # the last of an epoch, padded so that one program serves all
            more = self.capacity - length
            images = np.concatenate([images, np.zeros((more, *images.shape[1:]), images.dtype)])
            rows = np.concatenate([rows, np.full((more, batch_size), -1, rows.dtype)])
        index = np.maximum(rows, 0)
        data = {"label": self._labels[index], "index": index}
        placed = place((data, rows), self._sharding)
        placed[0]["image"] = place_columns(images, own, batch_size, self._sharding)
        return Chunk(*placed, start=0, length=length)


Feed = ResidentFeed | StreamedFeed


def fits(dataset: Dataset, resident_limit: float) -> bool:
    """Whether the decoded images of all splits fit into resident_limit GiB."""
    return sum(split.images.nbytes for split in dataset.splits.values()) <= resident_limit * 2**30


def make_feed(
    dataset: Dataset, *, resident_limit: float, capacity: int, batch_size: int, mesh: Mesh
) -> Feed:
    """A resident feed where the decoded images fit, else a streamed one."""
    if fits(dataset, resident_limit):
        return ResidentFeed(dataset, capacity, shared(mesh))
    return StreamedFeed(dataset, capacity, batch_size, in_batches(mesh))
