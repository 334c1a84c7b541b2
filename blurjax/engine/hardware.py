"""What accelerators have: memory, bandwidth and peak rates, as their makers publish them."""

from __future__ import annotations

import os
from dataclasses import dataclass

GIB, TERA = 2**30, 1e12


@dataclass(frozen=True)
class Hardware:
    """The figures of one device.

    Attributes:
      name: for people.
      memory: bytes.
      share: the part of the memory that programs get.
      bandwidth: of the memory, bytes a second; None: not known.
      float32: peak of matrix products of float32 at jax's default precision, in floating-point operations a second;
        None: not known.
      bfloat16: the same of bfloat16.
      source: where the figures are from.
    """

    name: str
    memory: float
    share: float
    bandwidth: float | None
    float32: float | None
    bfloat16: float | None
    source: str

    @property
    def available(self) -> float:
        """Bytes of memory that programs get."""
        return self.share * self.memory

    def peak(self, dtype: str) -> float | None:
        """Returns the peak rate for "float32" or "bfloat16"."""
        return self.float32 if dtype == "float32" else self.bfloat16


_TPU = 0.984
"""XLA's compiler for TPUs keeps 1/4 GiB of 16 for itself: it says that 15.75 are available."""
_GPU = 0.75
"""What jax takes of a GPU's memory unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise."""
_CLOUD = "https://cloud.google.com/tpu/docs/"
_NVIDIA = "https://www.nvidia.com/en-us/data-center/"

# By default, TPUs multiply float32 in one pass of bfloat16, and GPUs since Ampere in TF32.
HARDWARE = {
    "v4": Hardware("TPU v4", 32 * GIB, _TPU, 1.2 * TERA, 275 * TERA, 275 * TERA, f"{_CLOUD}v4"),
    "v5e": Hardware(
        "TPU v5e", 16 * GIB, _TPU, 0.819 * TERA, 197 * TERA, 197 * TERA, f"{_CLOUD}v5e"
    ),
    "v5p": Hardware(
        "TPU v5p", 95 * GIB, _TPU, 2.765 * TERA, 459 * TERA, 459 * TERA, f"{_CLOUD}v5p"
    ),
    "v6e": Hardware("TPU v6e", 32 * GIB, _TPU, 1.64 * TERA, 918 * TERA, 918 * TERA, f"{_CLOUD}v6e"),
    "h100": Hardware(
        "H100 SXM 80 GB", 80 * GIB, _GPU, 3.35 * TERA, 494.5 * TERA, 989 * TERA, f"{_NVIDIA}h100/"
    ),
    "a100": Hardware(
        "A100 SXM 40 GB", 40 * GIB, _GPU, 1.555 * TERA, 156 * TERA, 312 * TERA, f"{_NVIDIA}a100/"
    ),
    # The T4 has no matrix units for bfloat16: XLA converts to float32.
    "t4": Hardware(
        "T4 16 GB", 15 * GIB, _GPU, 0.32 * TERA, 8.1 * TERA, 8.1 * TERA, f"{_NVIDIA}tesla-t4/"
    ),
}
"""Name in `--target` -> figures. A T4 has 16 GB, of which its error correction takes a sixteenth."""


def cpu_hardware(devices: int) -> Hardware:
    """Returns the figures of each of several jax devices that share the memory of this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Hardware(
        "CPU of this machine", memory / devices, 1.0, None, None, None, "the operating system"
    )
