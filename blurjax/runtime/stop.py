"""Requests to stop, by Ctrl-C or SIGTERM: the run ends at the next point where it can save, or after a time limit."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from typing import Any

INTERRUPTED, TERMINATED = 130, 75
"""Exit codes after Ctrl-C and after SIGTERM."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE_SECONDS = 8.0
"""Time to finish the running steps; a preempted machine has 10 seconds or more."""
PRINT_SECONDS = 0.5
"""Longest wait for a message to be printed."""


class StopRequest:
    """A flag that SIGINT and SIGTERM set, inside a `with` block; calling it returns the flag.

    Where the program has not ended within `GRACE_SECONDS` of the signal, because it compiles or a chunk of steps takes
    long, the process is ended: the files of the run directory are complete at any time. A second Ctrl-C ends it at
    once. A thread does this, woken by the signal itself, because Python's signal handlers wait until jax returns.

    Attributes:
      exit_code: 0, or the exit code of a process that was asked to stop.
    """

    def __init__(self) -> None:
        self.exit_code = 0
        self._may_save = threading.Event()
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)

    def __enter__(self) -> StopRequest:
        self._old_fd = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        # A handler that does nothing: the number that the kernel writes to the socket is what counts.
        self._old = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        self._thread = threading.Thread(target=self._watch, name="stop", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        self._sender.close()  # ends the thread
        self._thread.join()

    def __call__(self) -> bool:
        """Returns whether the process was asked to stop."""
        return self.exit_code != 0

    def save_first(self) -> None:
        """From this call on, a signal lets the program save; before, it ends the process at once."""
        self._may_save.set()

    def _watch(self) -> None:
        with self._receiver:
            number = self._next_signal(None)
            if not number:
                return
            self.exit_code = INTERRUPTED if number == signal.SIGINT else TERMINATED
            if not self._may_save.is_set():
                self._exit("Stopped; nothing had begun.")
            deadline = time.monotonic() + GRACE_SECONDS
            _say("Stopping at the end of the running steps; Ctrl-C again stops at once.")
            while number := self._next_signal(deadline):
                if number == signal.SIGINT:
                    break
            if number != 0:
                self._exit("Stopped; the same command continues from what was saved last.")

    def _next_signal(self, deadline: float | None) -> int | None:
        """Waits for a signal; returns its number, 0 at the end of the `with` block, None at the deadline."""
        number = None
        while number not in (0, *SIGNALS):
            left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
            self._receiver.settimeout(left)
            try:
                number = next(iter(self._receiver.recv(1)), 0)
            except TimeoutError:
                return None
        return number

    def _exit(self, message: str) -> None:
        _say(message)
        os._exit(self.exit_code)


def _say(message: str) -> None:
    """Prints in a thread that may fail or be left waiting: the reader of a pipe may have ended, or not read on."""

    def write() -> None:
        with contextlib.suppress(OSError, ValueError):
            print(f"\n{message}", flush=True)

    writer = threading.Thread(target=write, name="stop message", daemon=True)
    writer.start()
    writer.join(PRINT_SECONDS)
