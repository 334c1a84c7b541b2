"""One writer of a directory: a lock that ends with its process, and tells other machines that its owner lives."""

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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blurjax.runtime.errors import UserError

HEARTBEAT_SECONDS = 10.0
VANISHED_SECONDS = 300.0
"""Without a heartbeat, after which an owner on another machine counts as gone."""
BYTES = 256
"""Of the file, always: a heartbeat overwrites the one before in one write."""
logger = logging.getLogger("blurjax")


class Lock:
    """Held by one process; made by `hold`."""

    def __init__(self, path: Path, descriptor: int):
        self._path, self._descriptor = path, descriptor
        self._token = uuid.uuid4().hex
        self._released = threading.Event()
        self._beat()
        threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True).start()

    def check(self) -> None:
        """Raises UserError where the directory is not ours any more: deleted, or taken over."""
        owner = read_owner(self._path)
        if owner.get("token") == self._token:
            return
        if not owner:
            raise UserError(
                f"{self._path} has disappeared; was the run directory deleted, or the lock removed?"
            )
        raise UserError(
            f"{self._path.parent} was taken over by {_name(owner)}; this process has stopped writing to it."
        )

    def release(self) -> None:
        """Ends the heartbeat, and removes the file if it is still ours."""
        self._released.set()
        if read_owner(self._path).get("token") == self._token:
            self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "token": self._token,
            "heartbeat": round(time.time(), 1),
        }
        content = json.dumps(owner).encode().ljust(BYTES)
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))  # of a damaged file that was longer
        os.fsync(self._descriptor)

    def _keep_beating(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            if read_owner(self._path).get("token") != self._token:
                return  # the next check says so
            with contextlib.suppress(OSError):  # a full disk is reported by whoever writes results
                self._beat()


@contextlib.contextmanager
def hold(path: Path, *, take_over: bool = False) -> Iterator[Lock]:
    """Holds the lock at a path.

    On one machine the kernel's lock on the file decides, which ends with the process that holds it, however it ends.
    Other machines, which may not see that lock, go by what the file says: who the owner is, and when it was last alive.

    Args:
      path: of the lock file, in a directory that exists.
      take_over: even from an owner on another machine that was alive a moment ago.

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


def read_owner(path: Path) -> dict[str, Any]:
    """The pid, host, token and heartbeat (seconds since 1970) in a lock file; empty without, or where it is damaged."""
    kinds = {"pid": int, "host": str, "token": str, "heartbeat": float}
    try:
        owner = json.loads(path.read_bytes())
        return {name: kind(owner[name]) for name, kind in kinds.items()}
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return {}


def _open(path: Path) -> tuple[int, bool]:
    """Opens the lock file, and says whether the kernel's lock on it is ours: some file systems have none."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise _in_use(path, read_owner(path)) from None
        except OSError:
            return descriptor, False
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor, True
        os.close(descriptor)  # its owner has just removed it


def _check_owner(path: Path, exclusive: bool, take_over: bool) -> None:
    """Raises UserError where the owner that the file names may be alive."""
    owner = read_owner(path)
    if not owner:
        return
    if owner["host"] == socket.gethostname():
        if not exclusive and _is_running(owner):
            raise _in_use(path, owner)
        logger.warning("%s was left by %s, which has ended.", path.parent, _name(owner))
        return
    silent = time.time() - owner["heartbeat"]
    if silent < VANISHED_SECONDS and not take_over:
        raise UserError(
            f"{path.parent} is being written by {_name(owner)}, last seen {max(silent, 0):.0f} s ago; wait for it, or, "
            f"if that machine is gone, add --take-over (or try again in {VANISHED_SECONDS - silent:.0f} s)."
        )
    logger.warning("%s was left by %s, silent for %.0f s.", path.parent, _name(owner), silent)


def _in_use(path: Path, owner: Mapping[str, Any]) -> UserError:
    return UserError(f"{path.parent} is being written by {_name(owner)}; wait for it.")


def _name(owner: Mapping[str, Any]) -> str:
    return f"process {owner.get('pid', '?')} on {owner.get('host', 'this machine')}"


def _is_running(owner: Mapping[str, Any]) -> bool:
    """Whether a process of this machine may still run."""
    try:
        os.kill(owner["pid"], 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
