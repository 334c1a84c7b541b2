"""Times the programs that take nearly all of an experiment's time, on zeros in place of images and models."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import jax
import jax.numpy as jnp

from blurjax.config import LONGER, Config
from blurjax.config.trials import measured_views
from blurjax.data import Dataset
from blurjax.experiment.calls import EVALUATION, TRAINING, Call, calls
from blurjax.experiment.plan import Plan
from blurjax.experiment.programs import Programs
from blurjax.runtime import processes
from blurjax.runtime.errors import readable_memory_errors

TIMED_SECONDS, TIMED_STEPS = 0.1, 4
"""Least time over which steps are timed, and least number of them: the first of a call takes longer."""


def time_plan(plan: Plan, config: Config, dataset: Dataset) -> Plan:
    """Returns a plan with the time that a step of each stage takes, measured on the devices.

    Args:
      plan: from `make_plan` for these settings and data.
      config: fitted to the data.
      dataset: decoded images.
    """
    with readable_memory_errors():
        programs = Programs(config, dataset)
        timed = {call.name: call for call in calls(programs) if call.kind in (TRAINING, EVALUATION)}
        _compile(list(timed.values()))
        seconds, rest = _step_seconds(programs, timed), _view_seconds(programs, timed)
    stages = (replace(s, seconds=seconds[s.job.removeprefix(LONGER)]) for s in plan.stages)
    return replace(plan, stages=tuple(stages), rest_seconds=plan.rest_seconds + rest)


def _view_seconds(programs: Programs, timed: Mapping[str, Call]) -> float:
    """Returns what it takes to encode the images and to measure the quality of the views."""
    encode, measure = timed["encode"], timed["measure views"]
    views = measured_views(programs.config)
    measuring = sum(map(_timer(measure, programs), views))
    return encode.steps * _timer(encode, programs)(None) + measure.steps / len(views) * measuring


def _step_seconds(programs: Programs, timed: Mapping[str, Call]) -> dict[str, float]:
    """Times the programs that train models and evaluate them.

    Returns:
      Name of a stage's jobs, such as "autoencoder" and "classifier/original" -> seconds of a step of one trial, with
      its share of the evaluations.
    """
    training, evaluation = timed["train autoencoders"], timed["evaluate autoencoders"]
    seconds = training.steps * _timer(training, programs)(None)
    seconds += evaluation.steps * _timer(evaluation, programs)(None)
    found = {"autoencoder": seconds / (training.steps * training.trials)}
    training, evaluation = timed["train classifiers"], timed["evaluate classifiers"]
    config = programs.config
    views = dict.fromkeys((*config.train_views, *config.test_views, "original"))
    evaluating = dict(zip(views, map(_timer(evaluation, programs), views), strict=True))
    training_step = _timer(training, programs)
    size = config.classifier.batch_size or 1
    steps = programs.networks.num_steps(config.classifier)
    epochs = steps / programs.networks.steps_per_epoch(config.classifier)
    batches = {
        "validation": math.ceil(len(programs.monitored["validation"]) / size),
        "test": math.ceil(len(programs.dataset.splits["test"]) / size),
    }
    testing = batches["test"] * sum(evaluating[view] for view in config.test_views)
    for view in config.train_views:
        # Each epoch, in its own view on as many images of train as of validation, and in the original one.
        validating = batches["validation"] * (2 * evaluating[view] + evaluating["original"])
        seconds = steps * training_step(view) + epochs * validating + testing
        found[f"classifier/{view}"] = seconds / (steps * training.trials)
    return found


def _compile(programs: list[Call]) -> None:
    """Compiles several at once; the programs are then read from jax's cache, where there is one."""
    if not jax.config.values["jax_compilation_cache_dir"]:
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # Lowering holds Python's lock, compiling does not. The numbers of steps are Python's, as in a run, since
        # another kind of argument would be another program.
        compiled = [
            pool.submit(call.function.lower(*call.arguments[:-2], 0, 1).compile)
            for call in programs
        ]
    for program in compiled:
        program.result()


def _timer(call: Call, programs: Programs) -> Callable[[str | None], float]:
    """Returns view -> the seconds that a step of all trials takes, in a call of several steps."""
    arguments = call.arguments[:-2]
    make = jax.jit(
        lambda: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), arguments),
        out_shardings=jax.tree.map(lambda leaf: leaf.sharding, arguments),
    )
    states, views, data, positions = make()
    most = min(programs.capacity, positions.shape[-2])

    def run(steps: int, view: str | None) -> float:
        nonlocal states
        chosen = views if view is None else views._replace(view=programs.view_index(view))
        begun = time.perf_counter()
        result = jax.block_until_ready(call.function(states, chosen, data, positions, 0, steps))
        seconds = time.perf_counter() - begun
        states = result[0] if call.kind == TRAINING else states
        return max(processes.gather(seconds))  # all processes must take as many steps

    def seconds_of_a_step(view: str | None) -> float:
        run(1, view)  # the first time it compiles
        steps = min(most, max(TIMED_STEPS, math.ceil(TIMED_SECONDS / run(1, view))))
        return run(steps, view) / steps

    return seconds_of_a_step
