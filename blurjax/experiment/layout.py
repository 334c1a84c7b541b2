"""How an experiment is laid out on the devices: which share trials or batches, and how many trials run side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jax.sharding import Mesh

from blurjax.config.settings import Config
from blurjax.engine import DATA_AXIS, TRIAL_AXIS, Target, make_mesh
from blurjax.engine.mesh import Layout
from blurjax.runtime import UserError, processes

MOST_TRIALS_PER_VMAP, COMPILATIONS = 32, 3
"""Side by side on one device, however little they compute, and how often at most a number is compiled to see whether it
fits."""
MOST_FLOPS = 4e9
"""Of a step of the trials side by side on a TPU, unless one alone takes more: those of larger groups move several times
as many bytes each, since their activations outgrow its fast memory (compiled, not measured: docs/engine.md)."""
SHARING = 1.1
"""How much longer the cores of a CPU work on a step where they share its batch (measured: W1 1.08, W2 1.09)."""
SHARE = 0.9
"""Of the free memory that a program may need. The rest is for results on their way to the host, and fragmentation."""


def arrangement(mesh: Mapping[str, int], trials_per_vmap: int) -> str:
    """Says what devices do, given how many there are along each axis of the mesh."""
    together = (
        f"{trials_per_vmap} trials side by side" if trials_per_vmap > 1 else "1 trial at a time"
    )
    sharing, devices = mesh.get(DATA_AXIS, 1), math.prod(mesh.values())
    if sharing > 1:
        return f"{sharing} share each batch, {together}"
    return f"{together} on each" if devices > 1 else together


class Memory(NamedTuple):
    """The bytes that each device needs for a program; infinite where it does not compile."""

    needed: float
    temporary: float
    """The part that grows with the trials side by side, also of a program that is too large to compile, if its compiler
    says it; else infinite."""

    @classmethod
    def of(cls, compiled: Any, beside: int) -> Memory:
        """Returns that of a program from `jax.stages.Lowered.compile`, while so many bytes lie beside it."""
        found = compiled.memory_analysis()
        own = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
        return cls(own + found.temp_size_in_bytes + beside, found.temp_size_in_bytes)


def make_layout(
    config: Config,
    target: Target,
    data_devices: Callable[[int], int],
    memory: Callable[[Layout], Memory],
    flops: Callable[[Layout], float],
) -> Layout:
    """Returns the layout that the settings ask for; where they say `auto`, what suits the devices.

    Args:
      config: fitted to the data.
      target: the devices.
      data_devices: how many of a number of devices share the batches of a trial.
      memory: layout -> that of the training that needs most; slow.
      flops: layout -> floating-point operations of a step of one trial, in the training that takes most, on one device.

    Raises:
      UserError: there are fewer devices than asked for, or batches do not divide evenly, or a process has no trial.
    """
    mesh = _mesh(config, target, data_devices)
    side_by_side = config.compute.trials_per_vmap
    if side_by_side != "auto":
        return Layout(mesh, side_by_side)
    # Trials are counted as seeds: every job of a new run has a multiple of them, so that none is padded.
    trials = math.ceil(config.sweep.num_seeds / mesh.shape[TRIAL_AXIS])
    if target.platform == "cpu" or trials == 1:
        return Layout(mesh, 1)
    most = MOST_TRIALS_PER_VMAP
    if target.platform == "tpu":
        most = _most_side_by_side(flops(Layout(mesh, 1)))
    free = SHARE * min(processes.gather(target.free_bytes(mesh)))
    return Layout(
        mesh, _side_by_side(trials, most, free, lambda count: memory(Layout(mesh, count)))
    )


def _most_side_by_side(flops: float) -> int:
    """Returns how many trials suit a TPU, where a step of one takes so many operations."""
    return min(MOST_TRIALS_PER_VMAP, max(1, int(MOST_FLOPS / max(1, flops))))


def _side_by_side(trials: int, most: int, free: float, memory: Callable[[int], Memory]) -> int:
    """Returns the largest number up to `most`, in groups as even as can be, of which programs were compiled and fit."""
    count = _even(trials, most)
    for _ in range(COMPILATIONS):
        if count == 1:
            return 1
        needed, temporary = memory(count)
        if needed <= free and math.isfinite(needed):
            return count
        # A compiler makes what is too large as small as it can: half as many may need more than half.
        most, rest = (count - 1, needed - temporary) if math.isfinite(needed) else (count // 2, 0)
        if math.isfinite(temporary):
            most = min(most, int(count * (free - rest) / max(1, temporary)))
        count = _even(trials, max(1, most))
    return 1


def _even(trials: int, most: int) -> int:
    """Where 8 of 10 fit, returns 5: a second group of 8 would hold six copies of its last trial."""
    groups = math.ceil(trials / most)
    return math.ceil(trials / groups)


def _mesh(config: Config, target: Target, count: Callable[[int], int]) -> Mesh:
    """Spreads trials over devices first; where some would idle, several share the batches of each trial."""
    compute, num_seeds = config.compute, config.sweep.num_seeds
    there = target.devices
    devices = there[: compute.devices]
    if compute.devices is not None and compute.devices > len(there):
        raise UserError(
            f"compute.devices is {compute.devices}, but there are {len(there)}; lower it, or leave it out to use all."
        )
    if compute.mesh_shape is None:
        rows, data_devices = num_seeds, sharing(num_seeds, len(devices), target, count)
    else:
        rows, data_devices = compute.mesh_shape
        _check_mesh(config, rows, data_devices, len(devices))
    # From all processes, where not all devices are asked for.
    mesh = make_mesh(min(rows, len(devices) // data_devices), there, data_devices)
    idle = target.processes - len({device.process_index for device in mesh.devices.flat})
    if idle:
        raise UserError(
            f"{idle} of {target.processes} processes would have nothing to do: the run keeps {mesh.size} device(s) "
            "busy; start fewer processes, raise sweep.num_seeds or compute.devices, or let devices share batches with "
            "compute.mesh."
        )
    return mesh


def sharing(trials: int, devices: int, target: Target, count: Callable[[int], int]) -> int:
    """Returns how many devices share the batches of a trial.

    An accelerator takes little longer for more trials, so that only devices without a trial share. On a CPU, three
    trials of which one core has two take as long as four would, so the cores share all three.
    """
    if target.platform != "cpu" or target.processes > 1:
        return count(devices // trials)

    def duration(shared: int) -> float:
        one_after_another = math.ceil(trials / (devices // shared))
        return one_after_another / shared * (SHARING if shared > 1 else 1)

    return min((2**n for n in range(count(devices).bit_length())), key=duration)


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
