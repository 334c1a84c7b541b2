"""Meshes of devices, the shardings that the engine uses, and arrays on the devices of one or several processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, Sharding
from jax.sharding import PartitionSpec as P

TRIAL_AXIS, DATA_AXIS = "trial", "data"
"""Names of a mesh's axes: trials are spread over the first, the batches of each trial over the second."""


def make_mesh(num_trials: int, devices: Sequence[Any], data_devices: int = 1) -> Mesh:
    """Makes a mesh (trial, data) of at most as many groups of devices as there are trials.

    Where not all groups are needed, all processes give equally many, as far as they can.

    Args:
      num_trials: number of trials that are trained together.
      devices: at least data_devices devices; those of one process next to each other.
      data_devices: number of devices that share the batches of each trial. With 1, the mesh has no axis `data`, so
        that nothing is left to a partitioner.
    """
    groups = [
        devices[i : i + data_devices]
        for i in range(0, len(devices) - data_devices + 1, data_devices)
    ]
    seen: dict[int, int] = {}  # process -> number of its groups so far
    by_turn = []
    for number, group in enumerate(groups):
        turn = seen.get(group[0].process_index, 0)
        seen[group[0].process_index] = turn + 1
        by_turn.append((turn, number))
    count = max(1, min(num_trials, len(groups)))
    used = np.asarray([groups[i] for i in sorted(i for _, i in sorted(by_turn)[:count])])
    if data_devices == 1:
        return Mesh(used[:, 0], (TRIAL_AXIS,), axis_types=(AxisType.Auto,))
    return Mesh(used, (TRIAL_AXIS, DATA_AXIS), axis_types=(AxisType.Auto, AxisType.Auto))


def padded_length(num_trials: int, mesh: Mesh, trials_per_vmap: int) -> int:
    """Returns the least number of trials, at least num_trials, that fills every group on every device."""
    group = mesh.shape[TRIAL_AXIS] * trials_per_vmap
    return -(-num_trials // group) * group


class Layout(NamedTuple):
    """The arrangement of trials on the devices."""

    mesh: Mesh
    trials_per_vmap: int

    def padded(self, num_trials: int) -> int:
        """Returns the least number of trials, at least num_trials, that divides evenly."""
        return padded_length(num_trials, self.mesh, self.trials_per_vmap)


def per_trial(mesh: Mesh) -> NamedSharding:
    """Sharding of arrays [T,...]: each device holds its share of the trials."""
    return NamedSharding(mesh, P(TRIAL_AXIS))


def in_batches(mesh: Mesh) -> NamedSharding:
    """Sharding of arrays [steps,batch,...] that all trials read: each device holds its part of every batch."""
    return NamedSharding(mesh, P(None, DATA_AXIS) if DATA_AXIS in mesh.axis_names else P())


def shared(mesh: Mesh) -> NamedSharding:
    """Sharding of arrays that all trials read: whole, on every device."""
    return NamedSharding(mesh, P())


def place(tree: Any, sharding: Sharding) -> Any:
    """Places a pytree of host arrays, the same in every process, on the devices of all processes.

    Every process copies only the parts that belong on its own devices.
    """
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def placed(leaf: Any) -> jax.Array:
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(placed, tree)


def place_columns(part: np.ndarray, own: slice, count: int, sharding: Sharding) -> jax.Array:
    """Places an array [K,count,...] of which each process has only the columns that its devices need.

    Args:
      part: [K,n,...], this process's columns.
      own: the range of the second axis that `part` covers; its start is given.
      count: length of the second axis in all processes together.
      sharding: of the whole array.
    """

    def columns(index: Any) -> np.ndarray:
        start, stop, _ = index[1].indices(count)
        return part[index[0], start - own.start : stop - own.start]

    return jax.make_array_from_callback((part.shape[0], count, *part.shape[2:]), sharding, columns)


def fetch(tree: Any) -> Any:
    """Copies a pytree of arrays on the devices of all processes to whole NumPy arrays in every process."""

    def fetched(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            leaf = multihost_utils.process_allgather(leaf, tiled=True)
        return np.asarray(leaf)

    return jax.tree.map(fetched, tree)
