"""From decoded images to the device: the order in which a trial sees them, resident or streamed.

Batch t of a trial is a pure function of (seed, t): a trial's examples are one endless stream, a fresh permutation of
its train split after another, and batch t is what lies from t * batch_size on. No example is dropped at the end of an
epoch, and a step number is the whole position in the data.

Positions number the images of a data set (`Dataset.splits`).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, Sharding

from blurjax.data import Dataset, fold_assignment, read_batches
from blurjax.engine import Array, Scalar, in_batches, key, place, place_columns, shared

STREAM_BYTES = 64 * 2**20
"""Decoded images in one chunk that is streamed, or put into a view."""
AHEAD = 2
"""Chunks that may wait for the device: more would fill its memory, and who asks a run to stop would wait for them."""


def monitored_positions(dataset: Dataset, split_seed: int) -> dict[str, np.ndarray]:
    """Positions on which curves are measured: "validation", and a fixed subset as large of "train"."""
    train, validation = dataset.splits["train"], dataset.splits["validation"]
    rng = np.random.default_rng([split_seed, zlib.crc32(b"measured")])
    subset = rng.choice(train, min(len(train), len(validation)), replace=False)
    return {"train": np.sort(subset), "validation": validation}


def assign_folds(dataset: Dataset, num_folds: int, split_seed: int) -> np.ndarray | None:
    """The fold of every image, i32[N], in each split as evenly as can be; None where num_folds is 0."""
    if not num_folds:
        return None
    fold_of = np.zeros(len(dataset.labels), np.int32)
    for positions in dataset.splits.values():
        fold_of[positions] = fold_assignment(dataset.labels[positions], num_folds, split_seed)
    return fold_of


@dataclass(frozen=True)
class Chunk:
    """Some steps' worth of batches: rows start .. start + length of positions, into data."""

    data: dict[str, Array]
    positions: Array
    start: int
    length: int


def members_by_fold(
    train: np.ndarray, fold_of: np.ndarray | None, folds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Tabulates the positions that the trials of each fold are trained on.

    Args:
      train: positions i32[N] of the train split.
      fold_of: the fold of every image of the data set, or None where no fold autoencoders are trained.
      folds: how many.

    Returns:
      i32[F+1, N] padded with -1, and its lengths i32[F+1]; row fold + 1 leaves `fold` out, row 0 nothing.
    """
    rows = [train]
    if fold_of is not None:
        rows += [train[fold_of[train] != fold] for fold in range(folds)]
    table = np.full((len(rows), len(train)), -1, np.int32)
    for row, members in zip(table, rows, strict=True):
        row[: len(members)] = members
    return table, np.array([len(members) for members in rows], np.int32)


def epoch_order(
    seed: Scalar,
    members: Scalar,
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
      members: i32 scalar, row of the table.
      epoch: i32 scalar, from 0.
      table: i32[F+1, N] from `members_by_fold`.
      lengths: i32[F+1].
      steps: steps an epoch.
      batch_size: images a step.
      stream: name of the random stream.
    """
    own, length = table[members], lengths[members]
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
    return own[permutations[ahead // length, ahead % length]].reshape(steps, batch_size)


def subset_order(
    seed: Scalar,
    own: Array,
    length: Scalar,
    epoch: Scalar,
    train: Array,
    *,
    steps: int,
    batch_size: int,
    stream: str,
) -> Array:
    """Returns positions i32[steps, batch_size] of an epoch of a trial with images of its own.

    They may be passed through many times an epoch: one sort, by pass and random number, shuffles all passes. A trial
    that has the whole train split has the order of `epoch_order`.

    Args:
      seed: u32 scalar.
      own: i32[M], positions of the trial's images, and anything after them.
      length: i32 scalar, how many of them are the trial's.
      epoch: i32 scalar, from 0.
      train: i32[N], positions of the train split.
      steps: steps an epoch.
      batch_size: images a step.
      stream: name of the random stream.
    """
    images = steps * batch_size
    first = epoch * images
    slot = jnp.arange(images + 2 * len(own))  # from the first pass, and to the end of the last
    number, member = first // length + slot // length, slot % length

    def bits(number: Scalar, member: Scalar) -> Scalar:
        of_pass = key(seed, f"{stream} of a subset", number)
        return jax.random.bits(jax.random.fold_in(of_pass, member), (), jnp.uint32)

    drawn = jax.vmap(bits)(number, member)
    *_, shuffled = jax.lax.sort((number, drawn, member), num_keys=2)
    positions = own[jax.lax.dynamic_slice(shuffled, (first % length,), (images,))]
    lengths = jnp.array([len(train)])
    options: Any = {"steps": steps, "batch_size": batch_size, "stream": stream}
    of_all = epoch_order(seed, jnp.int32(0), epoch, train[None], lengths, **options)
    return jnp.where(length == len(train), of_all, positions.reshape(steps, batch_size))


def batches_in_order(positions: np.ndarray, batch_size: int) -> np.ndarray:
    """Cuts positions [N] into batches i32[ceil(N / B), B], the last one padded with -1."""
    padded = np.full(-(-len(positions) // batch_size) * batch_size, -1, np.int32)
    padded[: len(positions)] = positions
    return padded.reshape(-1, batch_size)


class ResidentFeed:
    """All decoded images on every device; chunks are gathered there."""

    def __init__(self, dataset: Dataset, capacity: int, sharding: Sharding):
        self.capacity = capacity
        self._sharding = sharding
        index = np.arange(len(dataset.labels), dtype=np.int32)
        arrays = {"image": dataset.images, "label": dataset.labels, "index": index}
        self._data = place(arrays, sharding)

    def with_images(self, images: Array) -> ResidentFeed:
        """Returns a feed of each trial's own images u8[T,M,H,W,C]: the first M of the data set, or more."""
        feed = copy(self)
        feed._data = self._data | {"image": images}
        return feed

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

    def __init__(self, dataset: Dataset, capacity: int, sharding: Sharding):
        self._images, self._labels = dataset.images, dataset.labels
        self.capacity, self._sharding = capacity, sharding

    def chunks(self, order: np.ndarray, first: int = 0) -> Iterator[Chunk]:
        """Chunks of an order i32[S,B] on the host, from step `first` on."""
        rows, own = order[first:], self._own_columns(order.shape[1])
        own_rows, start = np.maximum(rows[:, own], 0), 0
        for images in read_batches(self._images, own_rows, self.capacity):
            length = len(images)
            yield self._chunk(images, rows[start : start + length], own)
            start += length

    def _own_columns(self, batch_size: int) -> slice:
        """Returns the columns of a batch that the devices of this process hold."""
        shape = (self.capacity, batch_size)
        indices = self._sharding.addressable_devices_indices_map(shape).values()
        bounds = [index[1].indices(batch_size)[:2] for index in indices if index is not None]
        return slice(min(start for start, _ in bounds), max(stop for _, stop in bounds))

    def _chunk(self, images: np.ndarray, rows: np.ndarray, own: slice) -> Chunk:
        """A chunk of images u8[length,own,H,W,C] at positions rows i32[length,B]."""
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


def stream_capacity(dataset: Dataset, most: int, batch_size: int) -> int:
    """Returns the steps of a chunk of images: at most STREAM_BYTES of them, and at most `most` steps."""
    return max(1, min(most, STREAM_BYTES // (batch_size * math.prod(dataset.image_shape))))


def abstract_chunk(
    dataset: Dataset, streamed: bool, capacity: int, mesh: Mesh, batch_size: int
) -> tuple[dict[str, jax.ShapeDtypeStruct], jax.ShapeDtypeStruct]:
    """Returns shapes and shardings of `data` and `positions` of a chunk in an order that all trials share."""
    on = in_batches(mesh) if streamed else shared(mesh)
    rows = jax.ShapeDtypeStruct((capacity, batch_size), np.int32, sharding=on)
    shape = rows.shape if streamed else dataset.labels.shape

    def array(dtype: Any, *more: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*shape, *more), dtype, sharding=on)

    data = {
        "image": array(np.uint8, *dataset.image_shape),
        "label": array(dataset.labels.dtype),
        "index": array(np.int32),
    }
    return data, rows
