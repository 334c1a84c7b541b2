"""Asked to stop: at a safe point where one comes in time, else in time."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from blurjax.runtime import stop
from blurjax.runtime.stop import StopRequest

# A main thread that waits in C for a long time, as it does for jax, and never asks.
DEAF = """
import sys, threading
from blurjax.runtime import stop
stop.GRACE_SECONDS = float(sys.argv[1])
with stop.StopRequest() as request:
    if sys.argv[2] == "saving":
        request.save_first()
    print("ready", flush=True)
    lock = threading.Lock(); lock.acquire(); lock.acquire()
"""


def deaf(grace, *, saving):
    process = subprocess.Popen(
        [sys.executable, "-c", DEAF, str(grace), "saving" if saving else "loading"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_it_ends_in_time_though_nobody_asks(number, code):
    with deaf(0.5, saving=True) as process:
        begun = time.monotonic()
        process.send_signal(number)
        assert process.wait(timeout=10) == code
        assert 0.4 < time.monotonic() - begun < 5
        printed = process.stdout.read()
        assert "Stopping at the end of the running steps" in printed
        assert printed.endswith("Stopped; the same command continues from what was saved last.\n")


@pytest.mark.parametrize("reader", ["gone", "stalled", "closed"])
def test_it_ends_in_time_though_nothing_can_be_printed(reader):
    fill = """
import fcntl, os, time
time.sleep(0.3)  # until the line before is read
fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 4096)
os.set_blocking(1, False)
try:
    while True: os.write(1, b"x" * 4096)
except BlockingIOError: os.set_blocking(1, True)
"""
    before = {"gone": "", "stalled": fill, "closed": "sys.stdout.close()"}[reader]
    code = DEAF.replace("    lock =", f"{textwrap.indent(before, '    ')}\n    lock =")
    command = [sys.executable, "-c", code, "0.5", "saving"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.read(6) == b"ready\n"
        if reader == "gone":
            process.stdout.close()
        else:
            time.sleep(0.8)  # until the pipe is full, or closed
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(timeout=10) == 130
        finally:
            process.kill()
        assert time.monotonic() - begun < 5


def test_a_second_ctrl_c_ends_it_at_once():
    with deaf(60, saving=True) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130


def test_a_second_sigterm_does_not():
    with deaf(1.0, saving=True) as process:
        for _ in range(5):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        assert process.poll() is None
        assert process.wait(timeout=10) == 75


def test_before_anything_has_begun_it_ends_at_once():
    with deaf(60, saving=False) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 75
        assert "nothing had begun" in process.stdout.read()


def test_other_signals_do_not_wear_it_out():
    """Such as a timer's, however many."""
    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    try:
        with StopRequest() as request:
            request.save_first()
            for _ in range(20):
                for _ in range(100):
                    os.kill(os.getpid(), signal.SIGUSR1)
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGINT)
            deadline = time.monotonic() + 5
            while not request() and time.monotonic() < deadline:
                time.sleep(0.01)
            assert request()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_who_asks_is_told_and_the_old_handlers_come_back():
    before = signal.getsignal(signal.SIGINT)
    with StopRequest() as request:
        request.save_first()
        assert not request()
        os.kill(os.getpid(), signal.SIGINT)
        deadline = time.monotonic() + 5
        while not request() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert request()
        assert request.exit_code == stop.INTERRUPTED
    assert signal.getsignal(signal.SIGINT) is before
