"""Where programs run: the devices of this machine, or absent ones for which they are only compiled."""

from __future__ import annotations

import contextlib
import importlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import Mesh

from blurjax.engine.hardware import HARDWARE, Hardware, cpu_hardware

_GPUS = Path(__file__).with_name("gpus")

ONE_HOST = {"1x1": (1, 1, 1), "1x1x1": (1, 1, 1), "2x4": (2, 4, 1)}
"""Topology -> chips of a host, where these are not the 2x2 that libtpu assumes: one, and the 8 of v5e-8 and v6e-8."""


@dataclass(frozen=True, eq=False)
class Target:
    """Devices, all of one kind.

    Attributes:
      name: as in `find_target`.
      devices: of all processes.
      processes: how many processes share them.
      hardware: the figures of each; None for devices of this machine, which are asked themselves.
    """

    name: str
    devices: tuple[Any, ...]
    processes: int
    hardware: Hardware | None = None

    @property
    def platform(self) -> str:
        """The platform that programs are compiled for: "cpu", "gpu" or "tpu"."""
        return self.devices[0].platform

    @property
    def compiler_options(self) -> dict[str, Any]:
        """Options of XLA: on an absent GPU it cannot try Triton's products, and some fail."""
        is_absent = self.hardware is not None
        return {"xla_gpu_enable_triton_gemm": False} if is_absent and self.platform == "gpu" else {}

    def free_bytes(self, mesh: Mesh) -> float:
        """Returns the memory that the fullest of this process's devices has left; infinite where it is not known."""
        if self.hardware is not None and self.platform != "cpu":
            return self.hardware.available

        def free(device: Any) -> float:
            stats = device.memory_stats() or {}  # CPUs do not say
            return stats.get("bytes_limit", math.inf) - stats.get("bytes_in_use", 0)

        return min(map(free, mesh.local_devices))


def this_machine() -> Target:
    """Returns the devices that jax has started."""
    return Target("this machine", tuple(jax.devices()), jax.process_count())


def find_target(name: str) -> Target:
    """Returns devices by name; nothing runs on those that are absent, but programs can be compiled for them.

    Set the environment variable JAX_PLATFORMS to `cpu` before jax is imported, else it may start what is there.

    Args:
      name: "cpu" (this machine's), "tpu:v5e:4x4" (a slice by its topology, by default one chip), or "gpu:h100:8" (GPUs
        of one machine, by default one).

    Raises:
      ValueError: there is no such target.
      ImportError: the package that compiles for it is not installed; the message names it.
    """
    platform, *rest = name.split(":")
    kind, shape = (*rest, "", "")[:2]
    if platform == "cpu" and not rest:
        devices = tuple(jax.local_devices(backend="cpu"))
        return Target(name, devices, 1, cpu_hardware(len(devices)))
    if platform == "tpu" and kind in HARDWARE and kind.startswith("v") and len(rest) <= 2:
        shape = shape or ("1x1x1" if kind in ("v4", "v5p") else "1x1")
        if re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", shape):
            return _target(name, kind, _tpu_devices(name, kind, shape))
    known = platform == "gpu" and (_GPUS / f"{kind}.txtpb").exists() and len(rest) <= 2
    if known and re.fullmatch(r"[1-9]\d*", shape or "1"):
        return _target(name, kind, _gpu_devices(kind, int(shape or 1)))
    raise ValueError(
        f"There is no target {name}; name cpu, tpu:KIND:TOPOLOGY such as tpu:v5e:2x2 (kinds: "
        f"{', '.join(k for k in HARDWARE if k.startswith('v'))}), or gpu:KIND:COUNT such as gpu:h100:8 (kinds: "
        f"{', '.join(k for k in HARDWARE if not k.startswith('v'))})."
    )


def _target(name: str, kind: str, devices: tuple[Any, ...]) -> Target:
    return Target(name, devices, len({d.process_index for d in devices}), HARDWARE[kind])


def _tpu_devices(name: str, kind: str, shape: str) -> tuple[Any, ...]:
    _check_installed("tpu", "libtpu")
    bounds = ONE_HOST.get(shape)
    options = {} if bounds is None else {"chips_per_host_bounds": bounds}
    try:
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=f"{kind}:{shape}", **options
        )
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"libtpu knows no topology {name} ({reason}); name another.") from error
    return tuple(found.devices)


def _gpu_devices(kind: str, count: int) -> tuple[Any, ...]:
    _check_installed("cuda", "jax_cuda13_plugin", "jax_cuda12_plugin")
    found = topologies.get_topology_desc(
        kind,
        "cuda",
        topology=f"1x1x{count}",
        target_config=(_GPUS / f"{kind}.txtpb").read_text(),
    )
    return tuple(found.devices)


def _check_installed(extra: str, *modules: str) -> None:
    """Raises ImportError unless one of the modules is installed."""
    for module in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
            return
    raise ImportError(
        f"Compiling for {'GPUs' if extra == 'cuda' else 'TPUs'} needs the package {modules[0]}; install it with "
        f"`pip install 'blurjax[{extra}]'`."
    )
