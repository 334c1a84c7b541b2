"""One writer: on this machine by the kernel's lock, between machines by heartbeats."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from blurjax.runtime import lock
from blurjax.runtime.errors import UserError
from blurjax.runtime.lock import hold, read_owner


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".lock"


@pytest.fixture(params=["flock", "no flock"])
def locks_of_the_kernel(request, monkeypatch):
    """With them, and on a file system that has none."""

    def refuse(descriptor, how):
        raise OSError(95, "Operation not supported")

    if request.param == "no flock":
        monkeypatch.setattr(lock.fcntl, "flock", refuse)


def write_owner(path, **owner):
    theirs = {"pid": 1, "host": "elsewhere", "token": "theirs", "heartbeat": 0}
    path.write_text(json.dumps(theirs | owner))


HOLD = (
    "import sys, time; from pathlib import Path; from blurjax.runtime.lock import hold\n"
    "held = hold(Path(sys.argv[1])); held.__enter__(); print('held', flush=True); time.sleep(60)"
)


def holder(path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    return process


@pytest.mark.usefixtures("locks_of_the_kernel")
def test_a_second_process_is_refused_until_the_first_is_dead(path, caplog):
    with holder(path) as process:
        says = f"being written by process {process.pid} on {socket.gethostname()}; wait for it"
        with pytest.raises(UserError, match=says), hold(path):
            pass
        with pytest.raises(UserError, match=says), hold(path, take_over=True):
            pass
        process.kill()
    with hold(path):
        assert read_owner(path).pid == os.getpid()
    assert f"left by process {process.pid}" in caplog.text
    assert not path.exists()


def test_one_process_holds_it_once(path):
    with hold(path), pytest.raises(UserError, match="being written by process"), hold(path):
        pass
    with hold(path):
        pass


def test_a_process_that_has_the_number_of_a_dead_one_is_no_owner(path):
    write_owner(path, pid=os.getpid(), host=socket.gethostname())
    with hold(path):
        pass


@pytest.mark.usefixtures("locks_of_the_kernel")
def test_another_machine_is_respected_while_it_lives(path):
    write_owner(path, heartbeat=time.time() - 20)
    with (
        pytest.raises(UserError, match=r"process 1 on elsewhere, last seen 20 s ago.*--take-over"),
        hold(path),
    ):
        pass
    assert read_owner(path).token == "theirs"
    write_owner(path, heartbeat=time.time() - lock.VANISHED_SECONDS - 1)
    with hold(path):
        assert read_owner(path).pid == os.getpid()


def test_another_machine_can_be_taken_over_at_once(path, caplog):
    write_owner(path, heartbeat=time.time())
    with hold(path, take_over=True):
        pass
    assert "left by process 1 on elsewhere" in caplog.text


def test_a_lock_that_a_server_keeps_for_a_vanished_machine_can_be_taken_over(path):
    now = time.time()
    for heartbeat, take_over in [(now, True), (now - lock.VANISHED_SECONDS - 1, False)]:
        write_owner(path, heartbeat=heartbeat)
        with path.open() as kept:
            fcntl.flock(kept, fcntl.LOCK_EX)
            if take_over:
                with pytest.raises(UserError, match=r"on elsewhere, last seen.*--take-over"):
                    hold(path).__enter__()
            with hold(path, take_over=take_over) as held:
                held.check()
                assert read_owner(path).pid == os.getpid()
        assert not path.exists()


def test_without_locks_a_process_with_the_owners_number_blocks_only_while_it_is_heard(
    path, monkeypatch
):
    def refuse(descriptor, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    here = {"pid": os.getppid(), "host": socket.gethostname()}
    write_owner(path, **here, heartbeat=time.time())
    with pytest.raises(UserError, match="being written by"), hold(path):
        pass
    write_owner(path, **here, heartbeat=time.time() - lock.VANISHED_SECONDS - 1)
    with hold(path):
        assert read_owner(path).pid == os.getpid()


def test_a_file_that_cannot_be_read_for_now_ends_nothing(path, monkeypatch):
    """Such as with too many open files."""
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.05)
    failed = threading.Event()

    def fail(self):
        failed.set()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with hold(path) as held:
        with monkeypatch.context() as patched:
            patched.setattr(type(path), "read_bytes", fail)
            assert failed.wait(5)
            held.check()
            time.sleep(0.1)
        first = read_owner(path).heartbeat
        deadline = time.monotonic() + 5
        while read_owner(path).heartbeat == first and time.monotonic() < deadline:
            time.sleep(0.05)
        assert read_owner(path).heartbeat > first
    assert not path.exists()


@pytest.mark.usefixtures("locks_of_the_kernel")
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\x00", b"{" + b" " * 300])
def test_a_damaged_lock_is_nobodys(path, content):
    path.write_bytes(content)
    with hold(path) as held:
        assert read_owner(path).pid == os.getpid()
        held.check()


@pytest.mark.usefixtures("locks_of_the_kernel")
@pytest.mark.parametrize(
    "owner",
    [{"heartbeat": "noon"}, {"heartbeat": None}, {"pid": [1]}, {"pid": 10**30}, {"pid": "one"}],
)
@pytest.mark.parametrize("host", ["elsewhere", socket.gethostname()])
def test_an_owner_that_cannot_be_is_none(path, host, owner):
    write_owner(path, host=host, **owner)
    with hold(path):
        assert read_owner(path).pid == os.getpid()


def test_the_heart_beats_and_does_not_overwrite_another_owner(path, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.05)
    with hold(path) as held:
        first = read_owner(path).heartbeat
        deadline = time.monotonic() + 5
        while read_owner(path).heartbeat == first and time.monotonic() < deadline:
            time.sleep(0.05)
        assert read_owner(path).heartbeat > first
        held.check()
        write_owner(path, heartbeat=time.time())
        with pytest.raises(UserError, match="taken over by process 1 on elsewhere"):
            held.check()
        time.sleep(0.2)
        assert read_owner(path).token == "theirs"
    assert path.exists()


def test_no_heartbeat_is_written_into_the_file_that_is_opened_next(path, monkeypatch):
    writes, may_go_on = threading.Event(), threading.Event()

    def slow_name():
        if threading.current_thread().name == "heartbeat":
            writes.set()
            may_go_on.wait(5)
        return "here"

    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(lock.socket, "gethostname", slow_name)
    with hold(path):
        assert writes.wait(5)
        threading.Timer(0.1, may_go_on.set).start()
    with path.with_name("next").open("w+b", buffering=0) as file:
        file.write(b"x" * 1000)
        for thread in threading.enumerate():
            if thread.name == "heartbeat":
                thread.join()
        file.seek(0)
        assert file.read() == b"x" * 1000
    assert not path.exists()


def test_a_lock_that_is_gone_is_noticed(path):
    with hold(path) as held:
        path.unlink()
        with pytest.raises(UserError, match="disappeared"):
            held.check()
