"""What lies in a directory: folders and images that are not hidden."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from blurjax.data.file_kinds import is_image

_COMPANIONS = ("thumbs.db", "desktop.ini", "__macosx")


def visible(names: Iterable[str]) -> list[str]:
    """Sorts names bytewise, without hidden ones and what systems put beside images."""
    seen = (n for n in names if not n.startswith(".") and n.casefold() not in _COMPANIONS)
    return sorted(seen, key=os.fsencode)


def subfolders(path: Path) -> list[Path]:
    """The folders directly in path."""
    _, folders, _ = next(os.walk(path, onerror=raise_error))
    return [path / name for name in visible(folders)]


def images(path: Path) -> list[Path]:
    """The image files directly in path."""
    _, _, files = next(os.walk(path, onerror=raise_error))
    return [
        file for name in visible(files) if not is_special(file := path / name) and is_image(file)
    ]


def is_special(path: Path) -> bool:
    """Returns whether a path is a pipe, which can be read for ever, a device or a folder.

    A link that leads nowhere is none of them, nor is what may not be looked at: reading it says why.
    """
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def raise_error(error: OSError) -> None:
    """Makes os.walk raise errors, which it leaves out by default."""
    raise error
