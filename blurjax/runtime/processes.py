"""Several processes that run one experiment together, each with the devices of its machine.

They run the same program in the same order, as `jax.distributed` wants it; process 0 alone writes to the run directory,
which all of them read. With a single process, everything here does what its name says without asking anyone.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import jax
import numpy as np
from jax._src import distributed
from jax.experimental import multihost_utils

from blurjax.runtime.errors import UserError
from blurjax.runtime.stop import TERMINATED

START_SECONDS = 120
"""For all processes to appear in."""
BEAT_SECONDS, SILENT_SECONDS = 2.0, 15.0
"""Between signs of life, and without one, after which a process counts as dead and the others end."""
JAX_SECONDS = 40
"""The same for jax's own watch, which comes second."""
WAIT_SECONDS = 7 * 24 * 3600
"""For a process that decodes images or computes results; one that has died is noticed by the watch."""
LOST = ("Gloo", "coordination service", "distributed service", "heartbeat", "UNAVAILABLE")
"""In the messages of jax where another process has ended."""
_waits = itertools.count()  # a barrier of jax's needs a name that it has not had


def connect(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins the other processes; before anything else is asked of jax.

    Args:
      coordinator: HOST:PORT at which process 0 waits for the others; None: as SLURM, Open MPI or a TPU slice says.
      num_processes: how many, likewise.
      process_id: which of them this is, from 0, likewise.

    Raises:
      UserError: nobody says who the others are, they do not appear, or the port is in use.
    """
    jax.config.update("jax_enable_preemption_service", False)  # SIGTERM is answered by stop.py
    if coordinator and process_id == 0:
        _check_port(coordinator)
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            initialization_timeout=START_SECONDS,
            heartbeat_timeout_seconds=JAX_SECONDS,
            shutdown_timeout_seconds=JAX_SECONDS,
        )
    except ValueError as error:
        raise UserError(
            "--distributed finds neither SLURM, Open MPI nor a TPU slice here; say who the processes are with "
            f"--coordinator HOST:PORT --num-processes N --process-id I ({error})"
        ) from error
    except RuntimeError as error:  # as jax's own errors are
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"The other processes were not reached within {START_SECONDS} s: {reason}"
        ) from error
    over = threading.Event()
    threading.Thread(target=_watch, args=(over,), name="other processes", daemon=True).start()
    atexit.register(over.set)  # before jax parts from the others


def _check_port(coordinator: str) -> None:
    """Raises UserError where process 0 could not listen: jax would end without a word."""
    port = coordinator.rsplit(":", 1)[-1]
    if not port.isdigit():
        raise UserError(f"--coordinator is {coordinator}, which is not HOST:PORT.")
    with socket.socket(socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", int(port)))
        except OSError as error:
            raise UserError(
                f"Port {port} of --coordinator {coordinator} cannot be listened on ({error.strerror}); name another."
            ) from error


def _watch(over: threading.Event) -> None:
    """Ends this process in time where another one is silent: what waits for it in a collective would wait for ever.

    Through the key-value store of jax's coordination service, which process 0 keeps. jax itself would end the process
    with a stack trace, a little later.
    """
    client = distributed.global_state.client
    assert client is not None
    heard: dict[str, tuple[str, float]] = {}
    while not over.wait(BEAT_SECONDS):
        now = time.monotonic()
        try:
            client.key_value_set(f"blurjax/{jax.process_index()}", str(now), allow_overwrite=True)
            signs = client.key_value_dir_get("blurjax/")
        except jax.errors.JaxRuntimeError:
            if over.is_set():
                return
            _lost("process 0")
        for name, sign in signs:
            if heard.get(name, ("", 0.0))[0] != sign:
                heard[name] = sign, now
            elif now - heard[name][1] > SILENT_SECONDS:
                _lost(f"process {name.rsplit('/', 1)[-1]}")


def _lost(who: str) -> NoReturn:
    print(
        f"\nblurjax: {who} has ended or cannot be reached. What was saved is whole; start all processes again with "
        "the same command to continue.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(TERMINATED)


def count() -> int:
    """How many processes there are."""
    return jax.process_count()


def is_first() -> bool:
    """Whether this is the process that writes and speaks."""
    return jax.process_index() == 0


def any_of(*flags: bool) -> tuple[bool, ...]:
    """For each flag, whether it is set in any process."""
    if count() == 1:
        return flags
    return tuple(multihost_utils.process_allgather(np.array(flags)).any(axis=0).tolist())


def least(value: float) -> float:
    """The least of a number in all processes."""
    if count() == 1:
        return value
    return float(multihost_utils.process_allgather(np.float32(value)).min())


def on_first(function: Callable[[], Any]) -> Any:
    """Runs a function on process 0 while the others wait; a mistake of the user's is raised in all of them.

    Returns:
      What the function does, on process 0; None on the others.

    Raises:
      UserError: the function did.
    """
    if count() == 1:
        return function()
    result, mistake = None, ""
    if is_first():
        try:
            result = function()
        except UserError as error:
            mistake = str(error)
    wait("process 0")
    told = _said_by_all(mistake)[0]
    if told:
        raise UserError(told)
    return result


def wait(name: str) -> None:
    """Until all processes are here, however long one of them takes: jax's own collectives give up after minutes."""
    if count() > 1:
        client = distributed.global_state.client
        assert client is not None
        client.wait_at_barrier(f"blurjax {next(_waits)} {name}", timeout_in_ms=WAIT_SECONDS * 1000)


def told_by_first(value: Any) -> Any:
    """What process 0 says, JSON, in all processes."""
    return value if count() == 1 else json.loads(_said_by_all(json.dumps(value))[0])


def check_same(facts: Mapping[str, Any]) -> None:
    """Raises UserError in all processes where one was started with other facts than process 0; names the first."""
    if count() == 1:
        return
    first, *others = map(json.loads, _said_by_all(json.dumps(facts, default=str)))
    for number, other in enumerate(others, start=1):
        for name in first.keys() | other.keys():
            if first.get(name) != other.get(name):
                raise UserError(
                    f"Process {number} has {name} = {other.get(name)!r}, process 0 {first.get(name)!r}; start all "
                    "processes with the same command and the same versions."
                )


def _said_by_all(text: str) -> list[str]:
    """What each process says."""
    content = np.frombuffer(text.encode(), np.uint8)
    longest = int(multihost_utils.process_allgather(np.int32(content.size)).max())
    padded = np.zeros(longest + 1, np.uint8)
    padded[: content.size] = content
    return [
        row.tobytes().rstrip(b"\0").decode() for row in multihost_utils.process_allgather(padded)
    ]


@contextlib.contextmanager
def end_with_the_others() -> Iterator[None]:
    """Ends this process, in one sentence, where jax says that another one has ended."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if count() == 1 or not any(name in str(error) for name in LOST):
            raise
        _lost("another process")
