"""How an experiment is laid out on the devices: which share trials or batches, and how many trials run side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from jax.sharding import Mesh

from blurjax.config.settings import Config, fitted
from blurjax.config.view_table import CODECS
from blurjax.data import Dataset
from blurjax.engine import (
    TRIAL_AXIS,
    Target,
    make_mesh,
    padded_length,
    trials_that_fit,
)
from blurjax.runtime import UserError, processes


class Layout(NamedTuple):
    """The arrangement of trials on the devices."""

    mesh: Mesh
    trials_per_vmap: int

    def padded(self, num_trials: int) -> int:
        """Returns the least number of trials, at least num_trials, that divides evenly."""
        return padded_length(num_trials, self.mesh, self.trials_per_vmap)


def make_layout(
    config: Config, dataset: Dataset, target: Target, bytes_per_trial: Callable[[], float]
) -> Layout:
    """Returns the layout that the settings ask for; where they say `auto`, what suits the devices.

    Args:
      config: fitted to the data.
      dataset: decoded images.
      target: the devices.
      bytes_per_trial: returns the device memory that each of several trials side by side takes; slow.

    Raises:
      UserError: there are fewer devices than asked for, or batches do not divide evenly, or a process has no trial.
    """
    mesh = _mesh(config, target)
    return Layout(mesh, _trials_per_vmap(config, dataset, target, mesh, bytes_per_trial))


def _mesh(config: Config, target: Target) -> Mesh:
    """Spreads trials over devices first; where devices outnumber them, several share the batches of each trial."""
    compute, num_seeds = config.compute, config.sweep.num_seeds
    there = target.devices
    devices = there[: compute.devices]
    if compute.devices is not None and compute.devices > len(there):
        raise UserError(
            f"compute.devices is {compute.devices}, but there are {len(there)}; lower it, or leave it out to use all."
        )
    if compute.mesh_shape is None:
        rows, data_devices = num_seeds, _data_devices(config, target.platform, len(devices))
    else:
        rows, data_devices = compute.mesh_shape
        _check_mesh(config, rows, data_devices, len(devices))
    mesh = make_mesh(rows, devices, data_devices)
    idle = target.processes - len({device.process_index for device in mesh.devices.flat})
    if idle:
        raise UserError(
            f"{idle} of {target.processes} processes would have nothing to do: the run keeps {mesh.size} device(s) "
            "busy; start fewer processes, raise sweep.num_seeds or compute.devices, or let devices share batches with "
            "compute.mesh."
        )
    return mesh


def _data_devices(config: Config, platform: str, devices: int) -> int:
    """Returns 1 on CPU, where a trial's bits are to be the same alone as among others: one device computes it."""
    if platform == "cpu":
        return 1
    shared = max(1, devices // config.sweep.num_seeds)
    return math.gcd(
        shared, fitted(config.autoencoder.batch_size), fitted(config.classifier.batch_size)
    )


def _check_mesh(config: Config, rows: int, data_devices: int, devices: int) -> None:
    mesh = config.compute.mesh
    if rows * data_devices > devices:
        raise UserError(
            f"compute.mesh is {mesh}, which takes {rows * data_devices} devices, but there are {devices}; lower it."
        )
    for section in ("autoencoder", "classifier"):
        batch_size = getattr(config, section).batch_size
        if batch_size % data_devices:
            raise UserError(
                f"compute.mesh is {mesh}, but {section}.batch_size {batch_size} is not a multiple of "
                f"{data_devices}; change one of them."
            )


def _trials_per_vmap(
    config: Config,
    dataset: Dataset,
    target: Target,
    mesh: Mesh,
    bytes_per_trial: Callable[[], float],
) -> int:
    """`auto`: 1 on CPU, and elsewhere what the devices have memory for.

    Trials are counted as seeds: every job has a multiple of them, so that none is padded.
    """
    if config.compute.trials_per_vmap != "auto":
        return config.compute.trials_per_vmap
    trials = math.ceil(config.sweep.num_seeds / mesh.shape[TRIAL_AXIS])
    if target.platform == "cpu" or trials == 1:
        return 1
    free = min(processes.gather(target.free_bytes(mesh)))
    if dataset.fits(config.data.resident_limit):
        free -= dataset.images.nbytes
    if {*CODECS} & {
        *config.train_views,
        *config.test_views,
    }:  # how many qualities there will be is not known yet
        free -= config.data.resident_limit * 2**30
    return trials_that_fit(trials, bytes_per_trial(), free)
