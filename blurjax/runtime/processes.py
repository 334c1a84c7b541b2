"""Several processes that run one experiment together, each with the devices of its machine.

All of them run the same program in the same order, as `jax.distributed` requires. Process 0 alone writes to the run
directory, which all of them read. With a single process, every function here returns at once.

Barriers and the check for dead processes go through jax's coordination service, whose public interface is Orbax's
`get_barrier_sync_fn`: unlike a collective, such a barrier may last for days and may be used from a thread of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from blurjax.runtime.errors import UserError
from blurjax.runtime.stop import TERMINATED

START_SECONDS = 120
"""Time for all processes to appear."""
HEARTBEAT_SECONDS, SILENT_SECONDS = 2.0, 15.0
"""Time between heartbeats; time without one after which a process counts as dead and the others end."""
JAX_HEARTBEAT_SECONDS = 40
"""Time after which jax itself ends the processes, with a stack trace; longer, so that ours come first."""
BARRIER_SECONDS = 7 * 24 * 3600
"""Longest time at a barrier: process 0 may decode images for hours. The heartbeats find a process that has died."""
PEER_FAILURES = ("Gloo", "coordination service", "distributed service", "heartbeat", "UNAVAILABLE")
"""Parts of jax's error messages that say that another process has ended."""


def connect(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Connects to the other processes; must be called before jax is used.

    Args:
      coordinator: HOST:PORT at which process 0 waits for the others; None: found from SLURM, Open MPI or a TPU slice.
      num_processes: number of processes; None: likewise.
      process_id: number of this process, from 0; None: likewise.

    Raises:
      UserError: the other processes are not known or do not appear, or the port is in use.
    """
    jax.config.update("jax_enable_preemption_service", False)  # stop.py handles SIGTERM
    if coordinator and process_id == 0:
        _check_port(coordinator)
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            initialization_timeout=START_SECONDS,
            heartbeat_timeout_seconds=JAX_HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=JAX_HEARTBEAT_SECONDS,
        )
    except ValueError as error:
        raise UserError(
            "--distributed finds neither SLURM, Open MPI nor a TPU slice here; name the processes with "
            f"--coordinator HOST:PORT --num-processes N --process-id I ({error})"
        ) from error
    except RuntimeError as error:  # the base class of jax's own errors
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"The other processes were not reached within {START_SECONDS} s; check that all were started and can reach "
            f"process 0 ({reason})."
        ) from error
    if jax.process_count() > 1:
        ended = threading.Event()
        heartbeat = threading.Thread(target=_heartbeat, args=(ended,), name="peers", daemon=True)
        heartbeat.start()
        atexit.register(_disconnect, ended, heartbeat)  # runs before jax itself disconnects


def _check_port(coordinator: str) -> None:
    """Raises UserError where process 0 could not listen; jax would end the process without a message."""
    port = coordinator.rsplit(":", 1)[-1]
    if not (port.isdecimal() and 0 < int(port) < 2**16):
        raise UserError(
            f"--coordinator is {coordinator}, which is not HOST:PORT with a port from 1 to 65535."
        )
    # The kernel may lack IPv6 that Python has.
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", int(port)))
        except OSError as error:
            raise UserError(
                f"Port {port} of --coordinator {coordinator} cannot be listened on ({error.strerror}); name another."
            ) from error


def _disconnect(ended: threading.Event, heartbeat: threading.Thread) -> None:
    """Ends the heartbeats: Python would abort if the thread were still at a barrier when the interpreter ends."""
    ended.set()
    jax.distributed.shutdown()  # waits for the other processes, and ends pending barriers
    heartbeat.join(SILENT_SECONDS)


def _heartbeat(ended: threading.Event) -> None:
    """Ends this process when another one has died: a collective would wait for the dead process for ever."""
    while not ended.wait(HEARTBEAT_SECONDS):
        try:
            barrier("alive", SILENT_SECONDS)
        except jax.errors.JaxRuntimeError as error:
            if ended.is_set():
                return
            missing = re.search(r"timed out task names:\s*(\d+)", str(error))
            # Any other error means that the service, which process 0 runs, is unreachable.
            _exit_after_peer(f"process {missing[1] if missing else 0}")


def _exit_after_peer(peer: str) -> NoReturn:
    print(
        f"\nblurjax: {peer} has ended or cannot be reached. What was saved is whole; start all processes again with "
        "the same command to continue.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(TERMINATED)


@contextlib.contextmanager
def exit_on_peer_failure() -> Iterator[None]:
    """Ends this process with one sentence where jax reports that another process has ended."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or not any(part in str(error) for part in PEER_FAILURES):
            raise
        _exit_after_peer("another process")


def start_devices() -> None:
    """Starts jax's devices.

    Raises:
      UserError: jax does not know, or does not find, those that the environment variable JAX_PLATFORMS names.
    """
    try:
        jax.devices()
    # jax asserts that the plugin of CUDA is installed.
    except (RuntimeError, AssertionError) as error:
        platforms = jax.config.values["jax_platforms"]
        if not platforms:
            raise
        reason = f" ({' '.join(str(error).split())})" if str(error) else ""
        raise UserError(
            f"jax cannot use what JAX_PLATFORMS names, {platforms}{reason}; correct or unset it, or install jax for "
            "such devices, as with `pip install 'jax[cuda13]'`."
        ) from error


def is_first() -> bool:
    """Returns whether this is process 0, which writes files and prints."""
    return jax.process_index() == 0


def barrier(name: str, seconds: float = BARRIER_SECONDS) -> None:
    """Waits until all processes have called this with the same name.

    Raises:
      jax.errors.JaxRuntimeError: a process did not within so many seconds.
    """
    if jax.process_count() > 1:
        from orbax.checkpoint.multihost import get_barrier_sync_fn  # takes half a second

        get_barrier_sync_fn()(key=f"blurjax {name}", timeout_ms=int(seconds * 1000))


def gather(value: Any) -> list[Any]:
    """Returns a JSON value of every process, in the order of their numbers."""
    if jax.process_count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    padded = np.full(
        max(multihost_utils.process_allgather(np.int32(text.size))), ord(" "), np.uint8
    )
    padded[: text.size] = text
    return [json.loads(row.tobytes()) for row in multihost_utils.process_allgather(padded)]


def broadcast(value: Any) -> Any:
    """Returns process 0's JSON value in all processes."""
    return gather(value)[0]


def any_process(*flags: bool) -> tuple[bool, ...]:
    """Returns for each flag whether it is set in any process."""
    if jax.process_count() == 1:
        return flags
    return tuple(multihost_utils.process_allgather(np.array(flags)).any(axis=0).tolist())


def on_first(function: Callable[[], Any]) -> Any:
    """Runs a function in process 0 while the others wait.

    Returns:
      What the function returns in process 0; None in the others.

    Raises:
      UserError: in all processes, where the function raised it.
    """
    if jax.process_count() == 1:
        return function()
    result, mistake = None, None
    if is_first():
        try:
            result = function()
        except UserError as error:
            mistake = str(error)
    barrier("process 0")
    mistake = broadcast(mistake)
    if mistake is not None:
        raise UserError(mistake)
    return result


def check_equal(facts: Mapping[str, Any]) -> None:
    """Raises UserError in all processes where the JSON values of one differ from process 0's; names the first."""
    first, *others = gather(dict(facts))
    for number, other in enumerate(others, start=1):
        for name in {**first, **other}:
            if first.get(name) != other.get(name):
                raise UserError(
                    f"Process {number} has {name} = {other.get(name)!r}, process 0 {first.get(name)!r}; start all "
                    "processes with the same command and the same versions."
                )
