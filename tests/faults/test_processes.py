"""Faults that only a process can have: killed at any moment, asked to stop, out of disk, bereft of its directory."""

import shutil
import signal
import subprocess
import sys
import time

import pytest
from command import finish, run, start, write_settings
from same import assert_same_run
from small import SMALL
from tiny import write_stripes


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def num_lines(folder):
    metrics = folder / "runs" / "tiny" / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 75), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_asked_to_stop_it_saves_says_so_and_continues(
    number, code, whole, settings, cache, tmp_path
):
    process = start("run", settings, cwd=tmp_path, cache=cache)
    wait_for(lambda: num_lines(tmp_path) >= 4, process)
    process.send_signal(number)
    ended = finish(process)
    assert ended.returncode == code
    assert (
        ended.stdout.splitlines()[-1]
        == "Stopped; everything is saved, and the same command continues it."
    )
    assert ended.stderr == ""
    again = run("run", settings, cwd=tmp_path, cache=cache)
    assert (again.returncode, again.stderr) == (0, "")
    assert_same_run(whole[0], tmp_path / "runs" / "tiny")


def test_asked_to_stop_where_no_chunk_ends_in_time(tmp_path, cache):
    """A compilation, and then an epoch in one chunk of more than a minute."""
    slow = {
        "data__image_size": 64,
        "autoencoder__model__width": 64,
        "compute__chunk_steps": 100_000,
    }
    settings = write_settings(tmp_path, **SMALL | slow)
    write_stripes(tmp_path / "stripes.npz", num_examples=5000)
    process = start("run", settings, cwd=tmp_path, cache=cache)
    wait_for((tmp_path / "runs" / "tiny" / "audit.json").exists, process)
    time.sleep(1)
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    ended = finish(process)
    assert time.monotonic() - begun < 10
    assert ended.returncode == 75
    assert (
        ended.stdout.splitlines()[-1]
        == "Stopped; the same command continues from what was saved last."
    )


def test_a_second_run_on_the_directory_is_refused_and_harms_nothing(
    whole, settings, cache, tmp_path
):
    process = start("run", settings, cwd=tmp_path, cache=cache)
    wait_for(lambda: num_lines(tmp_path) >= 1, process)
    process.send_signal(signal.SIGSTOP)
    second = run("run", settings, cwd=tmp_path, cache=cache)
    process.send_signal(signal.SIGCONT)
    assert second.returncode == 2
    assert f"is being written by process {process.pid}" in second.stderr
    assert finish(process).returncode == 0
    assert_same_run(whole[0], tmp_path / "runs" / "tiny")


def test_a_directory_that_is_deleted_stays_deleted(settings, cache, tmp_path):
    process = start("run", settings, cwd=tmp_path, cache=cache)
    wait_for(lambda: num_lines(tmp_path) >= 1, process)
    process.send_signal(signal.SIGSTOP)
    shutil.rmtree(tmp_path / "runs" / "tiny")
    process.send_signal(signal.SIGCONT)
    ended = finish(process)
    assert ended.returncode == 2
    assert "has disappeared" in ended.stderr
    assert "Traceback" not in ended.stderr
    left = {path.name for path in (tmp_path / "runs" / "tiny").glob("*")}
    assert left <= {"checkpoints"}  # of which one may have been under way


DISK = """
set -eu
mount -t tmpfs -o size=$1 tmpfs runs
set +e
shift
"$@"; echo "exit code $?"
mount -o remount,{then} runs
"$@"; echo "exit code $?"
cp -r runs/tiny kept
"""


def on_a_disk_of(size, then, settings, cache, folder):
    """Runs the command twice on a disk of its own, which is remounted between."""
    (folder / "runs").mkdir()
    script = folder / "disk.sh"
    script.write_text(DISK.format(then=then))
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", script, size]
    if subprocess.run([*command[:4], "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs user namespaces")
    return subprocess.run(
        [*command, sys.executable, "-m", "blurjax", "run", settings],
        cwd=folder,
        env={
            "XDG_CACHE_HOME": str(cache),
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": ":".join(sys.path),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


SLOW_SIZES = [
    pytest.param(size, marks=pytest.mark.slow) for size in ("16k", "56k", "100k", "300k", "600k")
]


@pytest.mark.parametrize("size", ["60k", "200k", *SLOW_SIZES])
def test_a_full_disk_loses_nothing(size, whole, settings, cache, tmp_path):
    ended = on_a_disk_of(size, "size=100m", settings, cache, tmp_path)
    codes = [line for line in ended.stdout.splitlines() if line.startswith("exit code")]
    assert codes == ["exit code 2", "exit code 0"], ended.stderr
    assert "The disk is full" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert_same_run(whole[0], tmp_path / "kept")


def test_a_directory_that_cannot_be_written(settings, cache, tmp_path):
    ended = on_a_disk_of("100m,ro", "rw", settings, cache, tmp_path)
    codes = [line for line in ended.stdout.splitlines() if line.startswith("exit code")]
    assert codes == ["exit code 2", "exit code 0"], ended.stderr
    assert (
        "cannot be written (Read-only file system); name another directory with --out"
        in ended.stderr
    )
    assert "Traceback" not in ended.stderr
