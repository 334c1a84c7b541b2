"""Where files lie that can be made again: in the user's cache, or in a temporary directory."""

from __future__ import annotations

import functools
import logging
import os
import tempfile
from pathlib import Path

_log = logging.getLogger("blurjax")


def user_cache() -> Path:
    """Returns the directory `blurjax` in $XDG_CACHE_HOME or ~/.cache; where it cannot be written, a temporary one.

    The temporary one is the same for all callers, and removed when the process ends.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        path = Path(base).expanduser() / "blurjax"
        path.mkdir(parents=True, exist_ok=True)
        if os.access(path, os.W_OK | os.X_OK):
            return path
    except (OSError, RuntimeError):  # there is no home directory
        pass
    return Path(_temporary(base).name)


@functools.cache
def _temporary(base: str) -> tempfile.TemporaryDirectory[str]:
    """The directory in place of one that cannot be written; kept here until the process ends."""
    directory = tempfile.TemporaryDirectory(prefix="blurjax-")
    # Else matplotlib warns of its own directory, which lies in the same home.
    os.environ.setdefault("MPLCONFIGDIR", directory.name)
    _log.warning(
        "%s cannot be written: decoded images and compiled programs are kept in %s until this ends; name another "
        "directory with XDG_CACHE_HOME.",
        base,
        directory.name,
    )
    return directory
