"""Faults that only a process can have: killed at any moment, asked to stop, out of disk, bereft of its directory."""

import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from command import finish, own_programs, run, start, write_settings
from same import assert_same_run
from tiny import EVERY_CHUNK, write_stripes

pytestmark = pytest.mark.slow

SMALL = EVERY_CHUNK | {
    "sweep__num_seeds": 2,
    "autoencoder__epochs": 6,
    "classifier__epochs": 6,
    "views__train": ["original", "reconstruction"],
    "views__test": ["original", "reconstruction"],
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return own_programs(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return write_settings(tmp_path_factory.mktemp("settings"), **SMALL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, settings, cache):
    """A run that nothing happens to, and the seconds it takes once its programs are compiled."""
    for _ in range(2):
        folder = tmp_path_factory.mktemp("whole")
        begun = time.monotonic()
        process = run("run", settings, cwd=folder, cache=cache)
        assert process.returncode == 0, process.stderr
    return folder / "runs" / "tiny", time.monotonic() - begun


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


def test_kills_at_random_moments_change_no_bit(whole, settings, cache, tmp_path):
    expected, seconds = whole
    moments, killed = random.Random(0), 0
    while killed < 6:
        process = start("run", settings, cwd=tmp_path, cache=cache)
        time.sleep(moments.uniform(0.2, 1.0) * seconds)
        process.kill()
        ended = finish(process)
        if ended.returncode == 0:  # it was over before: begin another
            assert_same_run(expected, tmp_path / "runs" / "tiny")
            shutil.rmtree(tmp_path / "runs")
        else:
            assert ended.returncode == -signal.SIGKILL
            killed += 1
    process = run("run", settings, cwd=tmp_path, cache=cache)
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    assert_same_run(expected, tmp_path / "runs" / "tiny")


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
mount -t tmpfs -o {first} tmpfs runs
set +e
"$@"; echo "exit code $?"
for options in {then}; do
    mount -o remount,$options runs
    "$@"; echo "exit code $?"
done
cp -r runs/tiny kept
"""


def on_a_disk(first, *then, settings, cache, folder):
    """Runs the command on a disk of its own, mounted with some options, and again after each remount with others."""
    (folder / "runs").mkdir()
    script = folder / "disk.sh"
    script.write_text(DISK.format(first=first, then=" ".join(then)))
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", script]
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
        timeout=600,
        check=False,
    )


def exit_codes(ended):
    return [line for line in ended.stdout.splitlines() if line.startswith("exit code")]


@pytest.mark.parametrize(
    "sizes",
    [
        ["60k"],
        ["200k"],
        pytest.param(["16k", "56k", "100k", "300k", "600k"], marks=pytest.mark.slow),
    ],
    ids=["60k", "200k", "a disk that grows"],
)
def test_a_full_disk_loses_nothing(sizes, whole, settings, cache, tmp_path):
    disks = [f"size={size}" for size in (*sizes, "100m")]
    ended = on_a_disk(*disks, settings=settings, cache=cache, folder=tmp_path)
    assert exit_codes(ended) == ["exit code 2"] * len(sizes) + ["exit code 0"], ended.stderr
    assert ended.stderr.count("The disk is full") == len(sizes)
    assert "Traceback" not in ended.stderr
    assert_same_run(whole[0], tmp_path / "kept")


def test_a_directory_that_cannot_be_written(settings, cache, tmp_path):
    ended = on_a_disk("size=100m,ro", "rw", settings=settings, cache=cache, folder=tmp_path)
    assert exit_codes(ended) == ["exit code 2", "exit code 0"], ended.stderr
    assert "cannot be written (Read-only file system); use another directory" in ended.stderr
    assert "Traceback" not in ended.stderr
