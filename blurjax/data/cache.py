"""Directories of derived files: built once, whole or not at all, and checked when opened."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from blurjax.data.messages import printable
from blurjax.runtime.caches import user_cache
from blurjax.runtime.errors import UserError
from blurjax.runtime.files import concerns, expand_path, read_json, synchronize, write_json

CHECKSUMS = "checksums.json"
_BLOCK_BYTES = 4 * 2**20
_log = logging.getLogger("blurjax")


def directory(configured: Path | None) -> Path:
    """Returns the directory of entries: as configured, or in the user's cache."""
    return expand_path(configured) if configured else user_cache()


def key(**settings: Any) -> str:
    """A name for an entry that changes with anything that its content depends on."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:40]


def entry(root: Path, name: str, build: Callable[[Path], None]) -> Path:
    """Opens an entry, or builds it.

    Args:
      root: directory of all entries.
      name: of this entry, from `key`.
      build: writes the files of the entry into the empty directory that it is given.

    Returns:
      The directory of the entry, whose files have the checksums that they were written with.

    Raises:
      UserError: root cannot be written, or the disk is full.
      OSError: `build` raised it of another place.
    """
    path = root / name
    if _is_intact(path):
        return path
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _lock(root / f".{name}.lock") as is_alone:
            if is_alone:
                for abandoned in root.glob(f".{name}.*.tmp"):  # by a process that was killed
                    shutil.rmtree(abandoned, ignore_errors=True)
            if not _is_intact(path):  # another process may have built it while this one waited
                _build(path, build)
    except OSError as error:
        if not concerns(error, root):  # but of the source
            raise
        raise UserError(
            f"Decoded images cannot be cached in {printable(root)} ({error.strerror or error}); "
            "make room there, or name another directory with data.cache_dir."
        ) from None
    return path


def _build(path: Path, build: Callable[[Path], None]) -> None:
    if path.exists():
        _log.warning("%s is damaged and is made again.", path)
        shutil.rmtree(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.mkdir()
        build(temporary)
        files = sorted(temporary.iterdir())
        for file in files:
            synchronize(file)
        write_json(temporary / CHECKSUMS, {file.name: _checksum(file) for file in files})
        try:
            temporary.rename(path)
        except OSError:
            if not _is_intact(path):  # where locks do not hold, another process may be first
                raise
        synchronize(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_intact(path: Path) -> bool:
    if not path.is_dir():
        return False
    try:
        checksums = read_json(path / CHECKSUMS)
        return bool(checksums) and all(
            _checksum(path / name) == checksum for name, checksum in checksums.items()
        )
    except (OSError, UserError, AttributeError):
        return False


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            checksum = zlib.crc32(block, checksum)
    return checksum


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Lets one process at a time build an entry, and says whether the file system can do that.

    The kernel lets go when a process dies. The empty file stays: were it removed, processes that
    opened it before and after would both hold a lock.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # some network file systems cannot
            yield False
        else:
            yield True
