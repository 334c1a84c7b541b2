"""One writer per directory: a lock that ends with its process, and a heartbeat for other machines."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from blurjax.runtime.errors import UserError

HEARTBEAT_SECONDS = 10.0
VANISHED_SECONDS = 300.0
"""Time without a heartbeat after which an owner on another machine counts as gone."""
SIZE = 256
"""Bytes of a lock file. The size is fixed, so that a heartbeat replaces the previous one in a single write."""
logger = logging.getLogger("blurjax")


class Owner(NamedTuple):
    """The process that holds a lock, as the file names it."""

    pid: int
    host: str
    token: str
    """Differs between any two locks."""
    heartbeat: float
    """Seconds since 1970."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def read_owner(path: Path) -> Owner | None:
    """Returns the owner that a lock file names; None without a file or where it is damaged.

    Raises:
      OSError: the file is there and cannot be read, perhaps only for now.
    """
    try:
        owner = json.loads(path.read_bytes())
        return Owner(
            int(owner["pid"]), str(owner["host"]), str(owner["token"]), float(owner["heartbeat"])
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


class Lock:
    """A lock that this process holds; made by `hold`."""

    def __init__(self, path: Path, descriptor: int):
        self._path, self._descriptor = path, descriptor
        self._token = uuid.uuid4().hex
        self._released = threading.Event()
        self._write_heartbeat()
        self._thread = threading.Thread(target=self._keep_alive, name="heartbeat", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises UserError where this process is no longer the owner: the file was deleted or taken over."""
        try:
            owner = read_owner(self._path)
        except OSError as error:  # such as too many open files: says nothing about the owner
            logger.warning("%s could not be read (%s).", self._path, error.strerror)
            return
        if owner is None:
            raise UserError(
                f"{self._path} has disappeared; was the run directory deleted, or the lock removed?"
            )
        if owner.token != self._token:
            raise UserError(
                f"{self._path.parent} was taken over by {owner}; this process has stopped writing to it."
            )

    def release(self) -> None:
        """Ends the heartbeat, and removes the file if it is still this lock's."""
        self._released.set()
        self._thread.join()  # the descriptor's number may be another file's once it is closed
        with contextlib.suppress(OSError):  # a file that stays names a process that has ended
            if self._is_owner():
                self._path.unlink(missing_ok=True)

    def _is_owner(self) -> bool:
        owner = read_owner(self._path)
        return owner is not None and owner.token == self._token

    def _write_heartbeat(self) -> None:
        owner = Owner(os.getpid(), socket.gethostname(), self._token, round(time.time(), 1))
        content = json.dumps(owner._asdict()).encode().ljust(SIZE)
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))  # a damaged file may have been longer
        os.fsync(self._descriptor)

    def _keep_alive(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            # A full disk is reported where results are written; what passes is over at the next heartbeat.
            with contextlib.suppress(OSError):
                if not self._is_owner():
                    return  # another process has taken over; the next `check` reports it
                self._write_heartbeat()


@contextlib.contextmanager
def hold(path: Path, *, take_over: bool = False) -> Iterator[Lock]:
    """Holds the lock at a path.

    On one machine the kernel's lock on the file decides; it ends with the process that holds it, however that ends.
    Other machines may not see that lock, or see it for long after its machine has vanished, and go by the owner and
    its last heartbeat in the file.

    Args:
      path: the lock file; its directory must exist.
      take_over: take the lock even from an owner on another machine that was alive a moment ago.

    Raises:
      UserError: another process holds it.
      OSError: the file cannot be written.
    """
    descriptor, exclusive = _open(path)
    try:
        _check_owner(path, exclusive, take_over)
        lock = Lock(path, descriptor)
        try:
            yield lock
        finally:
            lock.release()
    finally:
        os.close(descriptor)


def _open(path: Path) -> tuple[int, bool]:
    """Returns a descriptor of the lock file, and whether the kernel locked it for this process.

    It does not on file systems without locks, and where a server of files keeps the lock of another machine.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = read_owner(path)
            if owner is not None and owner.host != socket.gethostname():
                return descriptor, False
            os.close(descriptor)
            raise _in_use(path, owner) from None
        except OSError:
            return descriptor, False
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor, True
        os.close(descriptor)  # the owner has removed the file since it was opened


def _check_owner(path: Path, exclusive: bool, take_over: bool) -> None:
    """Raises UserError where the owner named in the file may be alive."""
    owner = read_owner(path)
    if owner is None:
        return
    silent = time.time() - owner.heartbeat
    if owner.host == socket.gethostname():
        # Without locks, a process that has been silent for long only has the number of the owner.
        if not exclusive and silent < VANISHED_SECONDS and _is_running(owner.pid):
            raise _in_use(path, owner)
        logger.warning("%s was left by %s, which has ended.", path.parent, owner)
        return
    if silent < VANISHED_SECONDS and not take_over:
        raise UserError(
            f"{path.parent} is being written by {owner}, last seen {max(silent, 0):.0f} s ago; wait for it, or, "
            f"if that machine is gone, add --take-over (or try again in {VANISHED_SECONDS - silent:.0f} s)."
        )
    logger.warning("%s was left by %s, silent for %.0f s.", path.parent, owner, silent)


def _in_use(path: Path, owner: Owner | None) -> UserError:
    return UserError(
        f"{path.parent} is being written by {owner or 'another process'}; wait for it."
    )


def _is_running(pid: int) -> bool:
    """Returns whether a process of this machine may be running."""
    with contextlib.suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return True
