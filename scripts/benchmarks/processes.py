"""Workloads measured in processes of their own: whole experiments, time to the first step, peaks of memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import spread

Rows = Iterator[dict[str, Any]]
SHORT = ["--sweep.num_seeds=2", "--autoencoder.epochs=1", "--classifier.epochs=1"]
"""Settings of the digits for --quick."""
MEMORY_POINTS = ((1, 1), (8, 1), (8, 2), (8, 4), (8, 8), (2, 1), (4, 1), (16, 1))
"""(trials, trials side by side on a device)."""


def _run(arguments: list[str], cache: Path) -> tuple[float, str]:
    """Runs a Python process that keeps compiled programs in a cache; returns its seconds and output."""
    scripts = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (scripts, os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": path}
    begun = time.time()
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return time.time() - begun, done.stdout


def _alone(function: Callable[..., None], *arguments: Any) -> dict[str, Any]:
    """Calls a function of this module in a new process; returns the JSON that it prints last."""
    code = f"from benchmarks import processes; processes.{function.__name__}{arguments!r}"
    with tempfile.TemporaryDirectory() as directory:
        _, output = _run(["-c", code], Path(directory))
    return json.loads(output.splitlines()[-1])


def digits(options: Namespace) -> Rows:
    """Times the whole experiment on the digits, as a process, with a cold and a warm cache."""
    changes = SHORT if options.quick else []
    for cache_is, directory in _cold_then_warm():
        out = directory / cache_is
        arguments = ["-m", "blurjax", "run", "digits", "--out", str(out), *changes]
        seconds, _ = _run(arguments, directory / "cache")
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        last = {line["job"]: line for line in lines}.values()
        yield {
            "workload": "W4",
            "contender": f"blurjax, {cache_is} cache",
            "trials": len(next(iter(last))["loss"]),
            "ms_per_trial_step": 1e3 * seconds / sum(d["step"] * len(d["loss"]) for d in last),
            "spread": None,
            "rounds": 1,
            "title": "the whole digits experiment" + " (few seeds, few epochs)" * options.quick,
            "seconds": seconds,
            "seconds_of_stages": json.loads((out / "seconds.json").read_text()),
        }


def startup(options: Namespace) -> Rows:
    """Times a process from its start to its first finished step of the digits."""
    repeats = 1 if options.quick else 3
    marks: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    for _ in range(repeats):
        for cache_is, directory in _cold_then_warm():
            begun = time.time()
            code = f"from benchmarks import processes; processes.first_step({str(directory)!r})"
            _, output = _run(["-c", code], directory / "cache")
            found = json.loads(output.splitlines()[-1])
            marks[cache_is].append({name: at - begun for name, at in found.items()})
    for cache_is, found in marks.items():
        seconds = np.array([each["first step"] for each in found])
        yield {
            "workload": "startup",
            "contender": f"blurjax, {cache_is} cache",
            "trials": 8,
            "ms_per_trial_step": None,
            "spread": None,
            "rounds": repeats,
            "title": "from process start to the first finished step of the digits",
            "seconds": float(np.median(seconds)),
            "seconds_spread": spread(seconds),
            "seconds_until": {
                name: float(np.median([each[name] for each in found])) for name in found[0]
            },
        }


def first_step(directory: str) -> None:
    """Runs the digits as the command line does until the first step is saved; prints the times as JSON."""
    from blurjax.config import loading as settings

    config = settings.load("digits", {"compute.chunk_steps": 1})
    from blurjax.engine import configure_jax
    from blurjax.experiment.estimate import make_plan
    from blurjax.experiment.preparation import prepare
    from blurjax.experiment.run import run_experiment
    from blurjax.runtime.errors import Interrupted

    configure_jax(cache_programs=config.compute.cache_programs)
    marks = {"imports": time.time()}
    config, dataset = prepare(config)
    out = Path(tempfile.mkdtemp(dir=directory))
    plan = make_plan(config, dataset, out)
    marks["plan"] = time.time()
    try:
        run_experiment(config, out, dataset=dataset, plan=plan, interrupted=lambda: True)
    except Interrupted:
        print(json.dumps(marks | {"first step": time.time()}))


def memory(options: Namespace) -> Rows:
    """Measures the peak memory of processes after some steps of W1."""
    for trials, side_by_side in MEMORY_POINTS[: 3 if options.quick else None]:
        size = trials, side_by_side, options.batch_size
        yield {
            "workload": "memory",
            "contender": f"blurjax, {side_by_side} side by side",
            "trials": trials,
            "ms_per_trial_step": None,
            "spread": None,
            "rounds": 1,
            "title": "peak memory of a process that trains the CNN",
            **_alone(peak, *size, options.dtype, options.convolution),
        }


def peak(trials: int, side_by_side: int, batch_size: int, dtype: str, convolution: str) -> None:
    """Takes five steps and prints the peak memory of the process and of the fullest accelerator."""
    import jax

    from benchmarks.networks import CNN
    from benchmarks.stage import Stage, random_dataset
    from blurjax import configure_jax

    configure_jax(cache_programs=False)
    settings = {
        "sweep.num_seeds": trials,
        "compute.trials_per_vmap": side_by_side,
        "compute.convolution": convolution,
        "classifier.batch_size": batch_size,
        "classifier.dtype": dtype,
    }
    dataset = random_dataset(CNN.image_size, 1024)
    before = _resident_set()
    stage = Stage(CNN, dataset, settings)
    stage.run(5)
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    found = {
        "resident_set_before": before,
        "peak_resident_set": _resident_set(),
        "peak_device_bytes": max(each.get("peak_bytes_in_use", 0) for each in stats) or None,
    }
    print(json.dumps(found))


def large(options: Namespace) -> Rows:
    """Times steps on streamed 224x224 images of 1,000 classes, with the default widths, and their peak memory."""
    for stage in ("autoencoder", "classifier"):
        yield {
            "workload": "large",
            "contender": f"blurjax, {stage}",
            "trials": 2,
            "rounds": options.rounds,
            "title": "224x224x3, 1,000 classes, streamed",
            "batch_size": options.batch_size,
            "dtype": options.dtype,
            **_alone(large_steps, stage, options.rounds, options.batch_size, options.dtype),
        }


def large_steps(stage: str, rounds: int, batch_size: int, dtype: str) -> None:
    """Times steps one by one; prints milliseconds and peak memory."""
    from benchmarks.networks import AUTOENCODER, CNN
    from benchmarks.stage import Stage, random_dataset
    from blurjax import configure_jax

    configure_jax(cache_programs=False)
    settings = {"sweep.num_seeds": 2, "data.resident_limit": 0, "autoencoder.bottleneck": 512}
    for section in ("autoencoder", "classifier"):
        settings |= {f"{section}.batch_size": batch_size, f"{section}.dtype": dtype}
    with tempfile.TemporaryDirectory() as directory:
        dataset = random_dataset(224, (rounds + 1) * batch_size, Path(directory), classes=1000)
        before = _resident_set()
        network = AUTOENCODER if stage == "autoencoder" else CNN
        seconds = Stage(network, dataset, settings).seconds_of_steps()
    times = 1e3 * np.array(seconds[1:]) / 2
    found = {"ms_per_trial_step": float(np.median(times)), "spread": spread(times)}
    memory = {"resident_set_before": before, "peak_resident_set": _resident_set()}
    print(json.dumps(found | memory))


GROWTH_POINTS = ((1, 1024), (10, 1024), (1, 10240))
"""(epochs, batches of the data set)."""


def growth(options: Namespace) -> Rows:
    """Measures the peak memory, without mapped files, of experiments with ten times the epochs or images."""
    for epochs, batches in GROWTH_POINTS:
        size = epochs, max(1, batches // (10 if options.quick else 1)), options.batch_size
        yield {
            "workload": "growth",
            "contender": f"blurjax, {epochs} epochs",
            "trials": 2,
            "ms_per_trial_step": None,
            "spread": None,
            "rounds": 1,
            "title": "peak memory of an experiment on streamed images of 32x32x3",
            **_alone(streamed, *size),
        }


def streamed(epochs: int, batches: int, batch_size: int) -> None:
    """Runs an experiment on images on disk; prints its peak memory without mapped files."""
    from benchmarks.stage import random_dataset
    from blurjax.config import loading as config
    from blurjax.engine import configure_jax
    from blurjax.experiment.run import run_experiment

    settings = {
        "data.resident_limit": 0,
        "compute.cache_programs": False,
        "sweep.num_seeds": 2,
        "views.train": ["original"],
        "views.test": ["original"],
    }
    for section in ("autoencoder", "classifier"):
        own = {"epochs": epochs, "batch_size": batch_size, "model.width": 8}
        settings |= {f"{section}.{name}": value for name, value in own.items()}
    loaded = config.load(None, settings)
    configure_jax(cache_programs=False)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        dataset = random_dataset(32, batches * batch_size, directory)
        done = threading.Event()
        peaks: list[int] = []
        watch = threading.Thread(target=lambda: peaks.append(_peak_anonymous(done)), daemon=True)
        watch.start()
        run_experiment(loaded, directory / "run", dataset=dataset)
        done.set()
        watch.join()
    found = {"image_bytes": dataset.images.nbytes, "peak_anonymous": peaks[0]}
    print(json.dumps(found | {"steps": 2 * epochs * batches}))


def _peak_anonymous(done: threading.Event) -> int:
    """Returns the peak bytes of memory without mapped files, read 20 times a second (Linux)."""
    most = 0
    while not done.wait(0.05):
        lines = Path("/proc/self/status").read_text().splitlines()
        (own,) = (line for line in lines if line.startswith("RssAnon"))
        most = max(most, 1024 * int(own.split()[1]))
    return most


def _resident_set() -> int:
    """Returns the peak bytes of memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _cold_then_warm() -> Iterator[tuple[str, Path]]:
    """Yields the same new directory twice; the first run fills the cache for the second."""
    with tempfile.TemporaryDirectory() as directory:
        for cache_is in ("cold", "warm"):
            yield cache_is, Path(directory)
