"""How an experiment lies on the devices: who shares trials, who batches, how many trials side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from blurjax.config.sections import TrainingConfig
from blurjax.config.settings import Config, mesh_shape, override
from blurjax.data.dataset import Dataset
from blurjax.engine import memory
from blurjax.engine.mesh import TRIAL_AXIS, make_mesh, padded_length
from blurjax.engine.types import Trial
from blurjax.experiment.functions import Functions
from blurjax.runtime import processes
from blurjax.runtime.errors import UserError
from blurjax.train.batches import gather_batch
from blurjax.train.feed import fits
from blurjax.views.functions import ViewParameters


class Layout(NamedTuple):
    """What `sweep` needs to know."""

    mesh: Mesh
    trials_per_vmap: int

    def padded(self, num_trials: int) -> int:
        """The least number of trials, at least num_trials, that divides evenly."""
        return padded_length(num_trials, self.mesh, self.trials_per_vmap)


def make_layout(config: Config, dataset: Dataset) -> Layout:
    """What the settings say; where they say `auto`, what suits the devices.

    Raises:
      UserError: there are fewer devices than asked for, or batches do not divide evenly, or a process has no trial.
    """
    mesh = _mesh(config)
    return Layout(mesh, _trials_per_vmap(config, dataset, mesh))


def _mesh(config: Config) -> Mesh:
    """Trials first; where devices outnumber them, the rest share the batches, unless the settings say otherwise."""
    compute, num_seeds = config.compute, config.sweep.num_seeds
    there = jax.devices()
    devices = there[: compute.devices]
    if compute.devices is not None and compute.devices > len(there):
        raise UserError(
            f"compute.devices is {compute.devices}, but there are {len(there)}; lower it, or leave it out to use all."
        )
    if compute.mesh == "auto":
        rows, data_devices = num_seeds, _data_devices(config, len(devices))
    else:
        rows, data_devices = mesh_shape(compute.mesh)
        _check_mesh(config, rows, data_devices, len(devices))
    mesh = make_mesh(rows, devices, data_devices)
    idle = processes.count() - len({device.process_index for device in mesh.devices.flat})
    if idle:
        raise UserError(
            f"{idle} of {processes.count()} processes would have nothing to do: the run keeps {mesh.size} device(s) "
            "busy; start fewer processes, raise sweep.num_seeds or compute.devices, or let devices share batches with "
            "compute.mesh."
        )
    return mesh


def _data_devices(config: Config, devices: int) -> int:
    """On CPU, a trial's bits stay the same alone as among others: each is computed by one device."""
    if jax.default_backend() == "cpu":
        return 1
    shared = max(1, devices // config.sweep.num_seeds)
    return math.gcd(shared, config.autoencoder.batch_size, config.classifier.batch_size)


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


def _trials_per_vmap(config: Config, dataset: Dataset, mesh: Mesh) -> int:
    """`auto`: 1 on CPU, and elsewhere what the devices have memory for.

    Trials are counted as seeds: every job has a multiple of them, so that none is padded.
    """
    if config.compute.trials_per_vmap != "auto":
        return config.compute.trials_per_vmap
    trials = math.ceil(config.sweep.num_seeds / mesh.shape[TRIAL_AXIS])
    if jax.default_backend() == "cpu" or trials == 1:
        return 1
    free = processes.least(memory.free_bytes(mesh.local_devices))
    if fits(dataset, config.data.resident_limit):
        free -= dataset.images.nbytes
    return memory.trials_that_fit(trials, bytes_per_trial(config, dataset), free)


def bytes_per_trial(config: Config, dataset: Dataset) -> float:
    """Device memory that each of several trials side by side takes, in the training step that takes most.

    Of the views, painting by an autoencoder takes most, and whichever of the trial's it is makes little difference.
    """
    only = {"views.train": ["reconstruction"], "views.test": ["original"], "views.controls": False}
    functions = Functions(override(config, only), dataset)
    trials = Trial(*(jax.ShapeDtypeStruct((2,), dtype) for dtype in TRIAL_DTYPES))
    autoencoders = jax.eval_shape(jax.vmap(functions.init_autoencoder), trials)
    classifiers = jax.eval_shape(jax.vmap(functions.init_classifier), trials)
    painters = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((2, 1, *leaf.shape[1:]), leaf.dtype), autoencoders.params
    )
    which = jax.ShapeDtypeStruct((), np.int32)
    views = ViewParameters(which, trials.seed, trials.bottleneck, painters)
    axes = ViewParameters(None, 0, 0, 0)
    return max(
        _taken(functions, config.autoencoder, functions.autoencoder_step, None, autoencoders, None),
        _taken(functions, config.classifier, functions.classifier_step, axes, classifiers, views),
    )


TRIAL_DTYPES = Trial(np.uint32, np.float32, np.float32, np.int32, np.int32)


def _taken(
    functions: Functions,
    training: TrainingConfig,
    step: Callable[..., Any],
    view_axes: Any,
    states: Any,
    views: Any,
) -> float:
    """Half of what a step of two trials takes, with batches gathered from a resident data set."""
    image = jax.ShapeDtypeStruct((1, *functions.dataset.image_shape), np.uint8)
    label = jax.ShapeDtypeStruct((1,), np.int32)
    data = {"image": image, "label": label, "index": label}
    positions = jax.ShapeDtypeStruct((2, training.batch_size), np.int32)
    rows = jax.ShapeDtypeStruct((2,), np.int32)
    batches = jax.eval_shape(jax.vmap(gather_batch, (None, None, 0)), data, positions, rows)
    return memory.live_bytes(jax.vmap(step, (0, view_axes, 0)), states, views, batches) / 2
