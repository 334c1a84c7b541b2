"""Several processes on one experiment, started as a user starts them, on loopback; and host devices of any number."""

import os
import re
import signal
import socket
import time

import numpy as np
import pytest
from command import finish, own_programs, run, run_here, start, write_settings
from same import final_states
from tiny import EVERY_CHUNK

from blurjax.runtime.files import read_npz

pytestmark = pytest.mark.slow

SMALL = EVERY_CHUNK | {
    "sweep__num_seeds": 3,
    "views__train": ["original", "reconstruction", "pca"],
    "views__test": ["original", "reconstruction"],
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return write_settings(tmp_path_factory.mktemp("settings"), **SMALL)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return own_programs(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory, settings, cache):
    """One process with one device."""
    folder = tmp_path_factory.mktemp("alone")
    ended = run("run", settings, cwd=folder, cache=cache, devices=1)
    assert ended.returncode == 0, ended.stderr
    return folder / "runs" / "tiny"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_all(number, *arguments, more=(), environment=None, devices=2, port=None, **options):
    """So many processes; `more` and `environment` go to the last."""
    port = port or free_port()
    return [
        start(
            *arguments,
            *(more if process == number - 1 else ()),
            *("--coordinator", f"127.0.0.1:{port}", "--num-processes", number),
            *("--process-id", process),
            devices=devices,
            environment=environment if process == number - 1 else None,
            **options,
        )
        for process in range(number)
    ]


def finish_all(processes):
    return [finish(process) for process in processes]


def metrics_of(folder):
    path = folder / "runs" / "tiny" / "metrics.jsonl"
    return path.read_text() if path.exists() else ""


def wait_for_classifiers(folder, processes):
    deadline = time.monotonic() + 200
    while '"classifier"' not in metrics_of(folder):
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() < deadline
        time.sleep(0.02)


def killed(number, settings, cache, folder):
    """Kills one of two processes; returns how the other ended, and after how many seconds."""
    processes = start_all(2, "run", settings, cwd=folder, cache=cache)
    wait_for_classifiers(folder, processes)
    begun = time.monotonic()
    processes[number].kill()
    return finish_all(processes)[1 - number], time.monotonic() - begun


def assert_same_within_rounding(ours, theirs):
    """The states after the last of 18 steps, and what the trials say of the test images."""
    names = sorted(path.name for path in (theirs / "predictions").glob("*-on-*.npz"))
    assert names
    for name in names:
        one, other = (read_npz(out / "predictions" / name) for out in (ours, theirs))
        assert (one["prediction"] == other["prediction"]).mean() >= 0.97, name
        np.testing.assert_allclose(one["loss"], other["loss"], atol=1e-4, err_msg=name)
    for job in ("autoencoder/job-0", "classifier/original/job-0", "classifier/pca/job-0"):
        one, other = (final_states(out / "checkpoints" / job) for out in (ours, theirs))
        assert one.keys() == other.keys()
        for name, array in one.items():
            rows = min(len(array), len(other[name]))
            assert rows >= 3
            np.testing.assert_allclose(
                array[:3], other[name][:3], rtol=1e-5, atol=1e-7, err_msg=f"{job} {name}"
            )


@pytest.fixture(scope="module")
def together(tmp_path_factory, settings, cache):
    """Two processes with two devices each."""
    folder = tmp_path_factory.mktemp("together")
    ended = finish_all(start_all(2, "run", settings, cwd=folder, cache=cache))
    assert [process.returncode for process in ended] == [0, 0], [p.stderr for p in ended]
    return folder / "runs" / "tiny", ended


def test_two_processes_end_where_one_does(alone, together):
    out, (first, second) = together
    assert_same_within_rounding(alone, out)
    assert "The report is" in first.stdout
    # Gloo's lines, which its threads write into each other, are left to it.
    assert re.search("epoch.*accuracy", first.stdout)
    assert not re.search("epoch|accuracy|report", second.stdout)
    assert not re.search("Traceback|WARNING", first.stderr + second.stderr)


def test_both_processes_save_their_own_trials(together):
    (step, *_) = sorted(together[0].glob("checkpoints/autoencoder/job-0/*/job"))
    assert {path.name for path in step.glob("ocdbt.process_*")} == {
        "ocdbt.process_0",
        "ocdbt.process_1",
    }


def test_eight_devices_end_where_one_does(alone, settings, cache, tmp_path):
    changes = ("--sweep.num_seeds", 3, "--compute.mesh", "4x2")
    ended = run("run", settings, *changes, cwd=tmp_path, cache=cache, devices=8)
    assert ended.returncode == 0, ended.stderr
    assert_same_within_rounding(alone, tmp_path / "runs" / "tiny")


@pytest.mark.parametrize(
    ("before", "after"),
    [("one device", "eight devices"), ("eight devices", "two processes")],
)
def test_a_killed_run_continues_on_another_count(before, after, alone, settings, cache, tmp_path):
    """From two processes to one device: in the tests of a stop and of a process that dies."""

    def start_on(what):
        if what == "two processes":
            return start_all(2, "run", settings, cwd=tmp_path, cache=cache, devices=4)
        devices = 1 if what == "one device" else 8
        return [start("run", settings, cwd=tmp_path, cache=cache, devices=devices)]

    killed = start_on(before)
    wait_for_classifiers(tmp_path, killed)
    for process in killed:
        process.kill()
    finish_all(killed)
    ended = finish_all(start_on(after))
    assert {process.returncode for process in ended} == {0}, [p.stderr for p in ended]
    assert_same_within_rounding(alone, tmp_path / "runs" / "tiny")


def test_a_stop_asked_of_one_process_stops_all_and_one_continues(alone, settings, cache, tmp_path):
    processes = start_all(2, "run", settings, cwd=tmp_path, cache=cache)
    wait_for_classifiers(tmp_path, processes)
    processes[1].send_signal(signal.SIGTERM)
    assert [process.returncode for process in finish_all(processes)] == [75, 75]
    ended = run("run", settings, cwd=tmp_path, cache=cache, devices=1)
    assert ended.returncode == 0, ended.stderr
    assert_same_within_rounding(alone, tmp_path / "runs" / "tiny")


def test_a_process_that_dies_ends_the_others_in_time_and_one_continues(
    alone, settings, cache, tmp_path
):
    ended, seconds = killed(1, settings, cache, tmp_path)
    assert seconds < 60
    assert ended.returncode == 75
    assert re.fullmatch(
        "blurjax: (process 1|another process) has ended or cannot be reached. What was saved is whole; start all "
        "processes again with the same command to continue.",
        ended.stderr.strip().splitlines()[-1],
    )
    again = run("run", settings, cwd=tmp_path, cache=cache, devices=1)
    assert again.returncode == 0, again.stderr
    assert_same_within_rounding(alone, tmp_path / "runs" / "tiny")


def test_where_the_first_process_dies_jax_ends_the_others_in_time(settings, cache, tmp_path):
    """Mostly sooner than blurjax could, with a message of its own: the service that it watches is the first one's."""
    ended, seconds = killed(0, settings, cache, tmp_path)
    assert seconds < 60
    assert ended.returncode in (75, -signal.SIGABRT)
    assert re.search("another task died|(process 0|another process) has ended", ended.stderr)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            ("--classifier.model.width", "5"),
            "Process 1 has classifier.model.width = 5, process 0 4; start all processes with the same command and "
            "the same versions.",
        ),
        (("--sweep.num_seeds", "2"), "Process 1 has sweep.num_seeds = 2, process 0 3; start all"),
    ],
    ids=["width", "seeds"],
)
def test_a_process_with_other_settings_is_named_by_all(more, sentence, settings, cache, tmp_path):
    for ended in finish_all(start_all(2, "run", settings, more=more, cwd=tmp_path, cache=cache)):
        assert ended.returncode == 2
        assert sentence in ended.stderr
    assert not (tmp_path / "runs").exists()


def test_a_process_with_other_versions_is_named_by_all(settings, cache, tmp_path):
    older = tmp_path / "older" / "optax-0.0.1.dist-info"
    older.mkdir(parents=True)
    (older / "METADATA").write_text("Metadata-Version: 2.1\nName: optax\nVersion: 0.0.1\n")
    path = os.pathsep.join([str(older.parent), os.environ.get("PYTHONPATH", "")])
    processes = start_all(
        2, "run", settings, environment={"PYTHONPATH": path}, cwd=tmp_path, cache=cache
    )
    for ended in finish_all(processes):
        assert ended.returncode == 2
        assert "Process 1 has optax = '0.0.1', process 0 '" in ended.stderr
    assert not (tmp_path / "runs").exists()


def test_a_process_without_a_trial_is_refused(settings, cache, tmp_path):
    changes = ("--sweep.num_seeds", 1)
    for ended in finish_all(
        start_all(2, "run", settings, *changes, devices=1, cwd=tmp_path, cache=cache)
    ):
        assert ended.returncode == 2
        assert "1 of 2 processes would have nothing to do" in ended.stderr


def test_a_mistake_that_only_the_first_sees_is_told_by_all(settings, cache, tmp_path):
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    (tmp_path / "runs" / "tiny" / "thesis.txt").write_text("mine")
    for ended in finish_all(start_all(2, "run", settings, cwd=tmp_path, cache=cache)):
        assert ended.returncode == 2
        assert "it holds thesis.txt" in ended.stderr


def test_a_port_in_use_is_named(settings, cache, tmp_path):
    with socket.create_server(("::", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        arguments = ("--coordinator", f"127.0.0.1:{port}", "--num-processes", 2, "--process-id", 0)
        ended = run("run", settings, *arguments, cwd=tmp_path, cache=cache)
    assert ended.returncode == 2
    assert f"Port {port} of --coordinator 127.0.0.1:{port} cannot be listened on" in ended.stderr


def test_distributed_without_a_cluster_says_what_is_missing(settings, cache, tmp_path):
    ended = run("run", settings, "--distributed", cwd=tmp_path, cache=cache)
    assert ended.returncode == 2
    assert ended.stderr.startswith("blurjax: --distributed finds neither SLURM")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (("--compute.devices", 9), "compute.devices is 9, but there are 2; lower it"),
        (("--compute.mesh", "2x2"), "takes 4 devices, but there are 2; lower it."),
    ],
    ids=["devices", "mesh"],
)
def test_more_devices_than_there_are(changes, sentence, settings, tmp_path):
    ended = run_here("run", settings, *changes, cwd=tmp_path)
    assert ended.returncode == 2
    assert sentence in ended.stderr
