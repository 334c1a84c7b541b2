"""Asked to stop, by Ctrl-C or by a machine that is taken away: at the next safe point, or in time whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from types import FrameType, TracebackType

INTERRUPTED, TERMINATED = 130, 75
"""Exit codes after Ctrl-C and after SIGTERM."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE_SECONDS = 8.0
"""To reach the end of the running steps in; machines that are taken away leave 10 or more."""


class StopRequest:
    """False until SIGINT or SIGTERM arrives, then True.

    Where nobody has acted on it within `GRACE_SECONDS`, since a program is being compiled or a chunk of steps takes
    long, the process ends as it is: what the run directory holds is whole at any instant. A second Ctrl-C ends it at
    once. A thread does this, woken by the signal itself: Python's own handlers wait until jax hands control back.

    Used as a context, outside of which signals do what they did before.

    Attributes:
      exit_code: 0, or the code to end the process with.
    """

    def __init__(self) -> None:
        self.exit_code = 0
        self._may_save = threading.Event()
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)

    def __enter__(self) -> StopRequest:
        self._old_fd = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, _leave_it_to_the_thread) for number in SIGNALS}
        self._thread = threading.Thread(target=self._watch, name="stop", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        self._sender.close()  # which ends the thread
        self._thread.join()

    def __call__(self) -> bool:
        """Whether the run was asked to stop."""
        return self.exit_code != 0

    def save_first(self) -> None:
        """From now on there is something to save: before, the process ends as soon as it is asked to."""
        self._may_save.set()

    def _watch(self) -> None:
        with self._receiver:
            number = self._next_signal(None)
            if not number:
                return
            self.exit_code = INTERRUPTED if number == signal.SIGINT else TERMINATED
            if not self._may_save.is_set():
                self._end("Stopped; nothing had begun.")
            print(
                "\nStopping at the end of the running steps; Ctrl-C again stops at once.",
                flush=True,
            )
            deadline = time.monotonic() + GRACE_SECONDS
            while number := self._next_signal(deadline):
                if number == signal.SIGINT:
                    break
            if number != 0:
                self._end("Stopped; the same command continues from what was saved last.")

    def _next_signal(self, deadline: float | None) -> int | None:
        """Waits for a signal: its number, 0 where the context has ended, None at the deadline."""
        number = None
        while number not in (0, *SIGNALS):
            left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
            self._receiver.settimeout(left)
            try:
                number = next(iter(self._receiver.recv(1)), 0)
            except TimeoutError:
                return None
        return number

    def _end(self, message: str) -> None:
        print(f"\n{message}", flush=True)
        os._exit(self.exit_code)


def _leave_it_to_the_thread(number: int, frame: FrameType | None) -> None:
    del number, frame
