"""Runs the command `blurjax`: as a user does, in a process of its own, or sooner in that of the tests."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from tiny import SETTINGS, write_stripes

from blurjax.cli.commands import main

MODULE = ("-m", "blurjax")
PROGRAMS = Path(__file__).parents[1] / ".pytest_cache" / "programs"
"""Compiled programs of all tests, in this process and in those that `start` starts."""


def start(
    *arguments: Any,
    cwd: Path,
    cache: Path,
    python: Sequence[str] = MODULE,
    devices: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Starts the command; devices: of the CPU, one a core unless said otherwise.

    Decoded images are kept in `cache`, and programs among those of all tests unless `own_programs` made a place there.
    """
    if not cache.is_file() and not (cache / "blurjax" / "programs").exists():
        share_programs(cache)
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


def share_programs(cache: Path) -> Path:
    """Lets a cache of the command keep its programs where all tests do."""
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    (cache / "blurjax").mkdir(parents=True, exist_ok=True)
    (cache / "blurjax" / "programs").symlink_to(PROGRAMS, target_is_directory=True)
    return cache


def own_programs(cache: Path) -> Path:
    """Makes a cache that shares no programs: a process that is killed while it writes one leaves half of it."""
    (cache / "blurjax" / "programs").mkdir(parents=True)
    return cache


def run_here(*arguments: Any, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs the command in this process, which has imported everything and started jax already."""
    out, err = io.StringIO(), io.StringIO()
    blurjax = logging.getLogger("blurjax")
    levels = {name: logging.getLogger(name).level for name in ("absl", "asyncio")}
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(cwd / "cache"), "COLUMNS": "100"}),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.chdir(cwd)
        patch.setattr("blurjax.engine.configure_jax", lambda **_: None)
        patch.setattr(blurjax, "handlers", [])
        patch.setattr(blurjax, "propagate", blurjax.propagate)
        patch.setattr(sys, "unraisablehook", sys.unraisablehook)
        with pytest.raises(SystemExit) as ended:
            main([*map(str, arguments)])
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    return subprocess.CompletedProcess(arguments, ended.value.code, out.getvalue(), err.getvalue())


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
