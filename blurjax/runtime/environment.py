"""What a run was made with: versions, devices, the git commit."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax
from PIL import features

PACKAGES = (
    *("blurjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy"),
    *("scikit-learn", "tensorflow-datasets", "tensorflow-cpu", "tensorflow", "matplotlib"),
    "pillow",
)


def describe_environment() -> dict[str, Any]:
    """Returns versions, devices, flags that change results, and the git commit of a checkout, for environment.json."""
    packages = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[name] = importlib.metadata.version(name)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": packages,
        "codecs": {name: features.version(name) for name in ("jpg", "libjpeg_turbo", "webp")},
        "backend": jax.devices()[0].platform,
        "devices": [f"{device.device_kind} {device.id}" for device in jax.devices()],
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """Returns the commit of the checkout that blurjax runs from, marked where files were changed since."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
