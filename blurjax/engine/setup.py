"""What a program sets up before jax is first used: devices, compiled programs on disk, determinism."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import jax

COMPILE_SECONDS = 0.2
"""Programs that compile faster are not kept on disk."""
_DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
LIBTPU_WITHOUT_TPU = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
}
"""Environment variables with which libtpu, installed to compile for TPUs, looks for none and leaves those of other
processes alone; without them it complains on standard error of a machine that has none."""
_GOOGLE = "0x1ae0"
"""The maker of TPUs, among the devices of the PCI bus."""


def configure_jax(
    *,
    cpu_devices: int | None = None,
    cache_programs: bool = True,
    cache_directory: str | Path | None = None,
    deterministic: bool = False,
) -> None:
    """Sets jax up as the command line does: a CPU device for each core, and compiled programs kept between runs.

    Call it right after the imports, before jax is first used. A second call that changes nothing is allowed, so that
    the cell of a notebook can be run again.

    Args:
      cpu_devices: number of CPU devices; None: one for each core that the process may use, or as many as
        `--xla_force_host_platform_device_count` in the environment variable XLA_FLAGS says.
      cache_programs: whether programs that took more than 0.2 s to compile are kept on disk for the next process.
      cache_directory: where; None: `blurjax/programs` in $XDG_CACHE_HOME or ~/.cache. Nothing is kept where it
        cannot be made.
      deterministic: whether a GPU uses deterministic operations alone, which may be slower.

    Raises:
      RuntimeError: jax has started its devices already, in another way than these arguments ask for.
    """
    if cpu_devices is not None and cpu_devices < 1:
        raise ValueError(f"cpu_devices is {cpu_devices}; it must be at least 1.")
    flags = os.environ.get("XLA_FLAGS", "")
    if cpu_devices is None and "xla_force_host_platform_device_count" not in flags:
        of_process = hasattr(os, "sched_getaffinity")  # macOS has none
        cpu_devices = len(os.sched_getaffinity(0)) if of_process else os.cpu_count()
    before = jax.config.values["jax_num_cpu_devices"]
    new_devices = cpu_devices is not None and cpu_devices != before
    new_flags = deterministic and _DETERMINISTIC not in flags
    if (new_devices or new_flags) and _has_devices():
        raise RuntimeError(
            f"jax has started its devices already ({jax.local_device_count()} of {jax.devices()[0].platform}); call "
            "configure_jax before anything else uses jax, in a notebook after restarting the kernel."
        )
    silence_libtpu()
    if new_devices:
        jax.config.update("jax_num_cpu_devices", cpu_devices)
    if new_flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_DETERMINISTIC}".strip()
    if cache_programs:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home directory
            directory = Path(cache_directory or Path(base).expanduser() / "blurjax" / "programs")
            directory.mkdir(parents=True, exist_ok=True)
            jax.config.update("jax_compilation_cache_dir", str(directory))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", COMPILE_SECONDS)


def silence_libtpu() -> None:
    """Sets LIBTPU_WITHOUT_TPU on a machine that has none, as far as the environment has no values of its own."""
    if not _may_have_tpu():
        os.environ.update(LIBTPU_WITHOUT_TPU | os.environ)


def _may_have_tpu() -> bool:
    """Returns whether this machine may have a TPU: a device of its maker, or a file of one."""
    vendors = Path("/sys/bus/pci/devices").glob("*/vendor")
    files = (*Path("/dev").glob("accel*"), *Path("/dev/vfio").glob("[0-9]*"))
    return bool(files) or any(vendor.read_text().strip() == _GOOGLE for vendor in vendors)


def _has_devices() -> bool:
    """Returns whether jax has started its devices: from then on it refuses another number of them."""
    before = jax.config.values["jax_num_cpu_devices"]
    try:
        jax.config.update("jax_num_cpu_devices", before + 1 if before > 0 else 1)
    except RuntimeError:
        return True
    jax.config.update("jax_num_cpu_devices", before)
    return False
