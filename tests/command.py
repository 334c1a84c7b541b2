"""Runs the command `blurjax` as a user does, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tiny import SETTINGS, write_stripes

MODULE = ("-m", "blurjax")


def start(
    *arguments: Any,
    cwd: Path,
    cache: Path,
    python: Sequence[str] = MODULE,
    devices: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Starts the command; its programs are kept in `cache`; devices: of the CPU, one a core unless said otherwise."""
    env = os.environ | {"XDG_CACHE_HOME": str(cache), "COLUMNS": "100"} | dict(environment or {})
    if devices is not None:
        env["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, *python, *map(str, arguments)],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: Any, timeout: float = 300, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return finish(start(*arguments, **options), timeout)


def finish(
    process: subprocess.Popen[str], timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Waits at most so many seconds, and returns the exit code and what was printed."""
    with process:
        out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def write_settings(folder: Path, **changes: Any) -> Path:
    """tiny.yaml for the stripes, with some settings changed (`sweep__num_seeds=2`); its runs go to runs/tiny."""
    sections: dict[str, Any] = {}
    settings = SETTINGS | {"data.source": write_stripes(folder / "stripes.npz")}
    settings |= {name.replace("__", "."): value for name, value in changes.items()}
    for key, value in settings.items():
        *groups, name = key.split(".")
        values = sections
        for group in groups:
            values = values.setdefault(group, {})
        values[name] = value
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path
