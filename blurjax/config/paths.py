"""Relative paths in settings: of a file relative to the file, of the command line to the current directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATH_SOURCES = ("folder", "npz")
"""Data sources that are named by a path."""
DIRECTORIES = ("data_dir", "cache_dir")
"""Settings of the section `data` that are paths."""


def rebase(data: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Returns settings of the section `data` whose relative paths are taken from a directory.

    Args:
      data: values by name, as in a settings file.
      base: the directory.
    """
    rebased = dict(data)
    kind, colon, path = str(data.get("source", "")).partition(":")
    is_path = kind in PATH_SOURCES or (kind == "hf" and _join(base, path).exists())
    if is_path and path:
        rebased["source"] = f"{kind}{colon}{_join(base, path)}"
    for name in DIRECTORIES:
        value = data.get(name)
        if isinstance(value, str | Path) and str(value).lower() not in ("none", "null"):
            rebased[name] = str(_join(base, value))
    return rebased


def _join(base: Path, path: str | Path) -> Path:
    """Joins paths; ~ is the home directory wherever it is written."""
    return Path(path) if str(path).startswith("~") else base / path
