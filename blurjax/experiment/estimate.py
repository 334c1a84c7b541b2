"""Estimates an experiment before it starts: what of it is left, and how long that takes."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from blurjax.config.settings import ClassifierConfig, Config, TrainingConfig
from blurjax.config.trials import (
    LONGER,
    Trial,
    all_autoencoder_trials,
    autoencoder_trials,
    checked,
    checked_views,
    classifier_trials,
    measured_views,
)
from blurjax.data import Dataset
from blurjax.data.messages import join_names
from blurjax.engine import DATA_AXIS
from blurjax.experiment.calls import EVALUATION, TRAINING, Call, calls, make_programs
from blurjax.experiment.fingerprints import check_fingerprints
from blurjax.experiment.layout import arrangement, sharing
from blurjax.experiment.networks import Networks, TrainingData
from blurjax.experiment.plan import Plan, Stage, slow_settings
from blurjax.experiment.preparation import prepare
from blurjax.experiment.programs import Programs
from blurjax.runtime import RunDirectory, processes
from blurjax.runtime.errors import readable_memory_errors
from blurjax.train.jobs import find_jobs

TIMED_SECONDS, TIMED_STEPS = 0.1, 4
"""Least time over which steps are timed, and least number of them: the first of a call takes longer."""


def make_plan(
    config: Config,
    dataset: Dataset,
    out: str | Path,
    *,
    accept_changed_code: bool = False,
) -> Plan:
    """Says what an experiment consists of, and what of it is left; `time_plan` adds how long that takes.

    Args:
      config: settings; those left unset are fitted to the data.
      dataset: decoded images.
      out: the run directory, which need not exist, and is only read.
      accept_changed_code: as for `run_experiment`.

    Raises:
      UserError: settings and data do not make an experiment, or do not continue the one in the directory.
    """
    config, dataset = prepare(config, dataset)
    run = RunDirectory(out, writes=False)
    run.check_place()
    if run.format.exists():
        check_fingerprints(run, config, dataset, accept_changed_code=accept_changed_code)
    return plan_of(make_programs(config, dataset), run)


def plan_of(programs: Programs, run: RunDirectory) -> Plan:
    """Returns the plan of an experiment, of whose programs several processes must have made theirs together."""
    config, dataset, layout = programs.config, programs.dataset, programs.layout
    done = {line["job"]: line["step"] for line in run.metrics()}  # of each job the last line counts
    stages = _stages(config, programs, run, done)
    sizes = {name: len(positions) for name, positions in dataset.splits.items()}
    height, width, channels = dataset.image_shape
    return Plan(
        dataset=f"{dataset.name}: {', '.join(f'{count:,} {name}' for name, count in sizes.items())} images of "
        f"{height}x{width}x{channels}, {len(dataset.class_names)} classes: {join_names(dataset.class_names)}",
        notes=(
            *dataset.notes,
            *slow_settings(config, programs.target.platform),
            *_idle_devices(config, dataset, programs),
        ),
        devices=f"{layout.mesh.size} {programs.target.platform} device{'s' * (layout.mesh.size > 1)}: "
        f"{arrangement(layout.mesh.shape, layout.trials_per_vmap)}",
        stages=stages,
        data_bytes=dataset.images.nbytes + (programs.rendering.bytes if programs.rendering else 0),
        resident=dataset.fits(config.data.resident_limit),
        model_bytes=_model_bytes(config, programs),
        steps_done=done,
        programs=programs,
    )


def _idle_devices(config: Config, dataset: Dataset, programs: Programs) -> list[str]:
    """Returns what to say of devices that could share batches but for `compute.deterministic`."""
    compute, target, mesh = config.compute, programs.target, programs.layout.mesh
    there = len(target.devices[: compute.devices])
    if not compute.deterministic or compute.mesh_shape is not None or mesh.size == there:
        return []
    any_order = compute.model_copy(update={"deterministic": False})
    free = config.model_copy(update={"compute": any_order})
    networks = Networks(free, TrainingData.of(dataset), target.platform)
    possible = sharing(config.sweep.num_seeds, there, target, networks.data_devices)
    if possible <= mesh.shape.get(DATA_AXIS, 1):
        return []
    work = "work" if mesh.size > 1 else "works"
    return [
        f"{mesh.size} of {there} devices {work}: {possible} could share each batch, but would add gradients in another "
        "order, with other bits, which compute.deterministic excludes"
    ]


def _stages(
    config: Config, programs: Programs, run: RunDirectory, done: Mapping[str, int]
) -> tuple[Stage, ...]:
    def stage(name: str, job: str, trials: list[Trial], training: TrainingConfig) -> Stage:
        steps = programs.networks.num_steps(training) * (2 if job.startswith(LONGER) else 1)
        of_job = {t: done.get(found.name, 0) for found in find_jobs(run, job) for t in found.trials}
        begun = [of_job[trial] for trial in trials if trial in of_job]
        steps_left = len(trials) * steps - sum(begun)
        counts = len(trials), len(begun), begun.count(steps), steps, steps_left
        left = tuple(trial for trial in trials if of_job.get(trial) != steps)
        return Stage(name, job, *counts, left=left)

    stages = [
        stage("autoencoders", "autoencoder", all_autoencoder_trials(config), config.autoencoder)
    ]
    if config.autoencoder.check:
        trials, job = checked(config, autoencoder_trials(config)), f"{LONGER}autoencoder"
        stages.append(stage("autoencoders, longer", job, trials, config.autoencoder))
    for view in config.train_views:
        trials, job = classifier_trials(config, view), f"classifier/{view}"
        stages.append(stage(f"classifiers on {view}", job, trials, config.classifier))
        if view in checked_views(config):
            of_view, name = checked(config, trials), f"classifiers on {view}, longer"
            stages.append(stage(name, f"{LONGER}{job}", of_view, config.classifier))
    return tuple(stages)


def _model_bytes(config: Config, programs: Programs) -> int:
    """Returns the bytes of what the largest stage keeps in float32.

    These are parameters, two moments of each, and where settings ask for them the average of the weights and the best.
    """

    def size(
        model: nn.Module, inputs: tuple[Any, ...], training: TrainingConfig, count: int
    ) -> int:
        params = jax.eval_shape(partial(model.init, jax.random.key(0)), *inputs)
        is_best = isinstance(training, ClassifierConfig) and training.select == "best"
        copies = 3 + (training.average_decay > 0) + is_best
        return 4 * copies * count * sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))

    networks, trials = programs.networks, len(all_autoencoder_trials(config))
    sizes = [size(networks.autoencoder, networks.example, config.autoencoder, trials)]
    for of_network in programs.of_networks:
        trials = max(len(classifier_trials(config, view)) for view in of_network.train_views)
        classifier = of_network.networks.classifier
        sizes.append(size(classifier, networks.example[:1], config.classifier, trials))
    return max(sizes)


def time_plan(plan: Plan) -> Plan:
    """Returns a plan with the time of a step of each stage, for which programs are compiled and run on zeros."""
    with readable_memory_errors():
        programs = plan.programs
        found = calls(programs, left={stage.job: stage.left for stage in plan.stages})
        timed = {call.name: call for call in found if call.kind in (TRAINING, EVALUATION)}
        _compile(list(timed.values()))
        seconds, rest = _step_seconds(programs, timed), _view_seconds(programs, timed)
    stages = (replace(s, seconds=seconds[s.job.removeprefix(LONGER)]) for s in plan.stages)
    return replace(plan, stages=tuple(stages), rest_seconds=plan.rest_seconds + rest)


def _view_seconds(programs: Programs, timed: Mapping[str, Call]) -> float:
    """Returns what it takes to encode the images, to measure the quality of the views, and to render them."""
    encode, config = timed["encode"], programs.config
    seconds = encode.steps * _timer(encode, programs)(None)
    for name, views in (
        ("measure views", measured_views(config)),
        ("render views", config.train_views),
    ):
        if name in timed:
            of_all = sum(map(_timer(timed[name], programs), views))
            seconds += timed[name].steps / len(views) * of_all
    return seconds


def _step_seconds(programs: Programs, timed: Mapping[str, Call]) -> dict[str, float]:
    """Times the programs that train models and evaluate them.

    Returns:
      Name of a stage's jobs, such as "autoencoder" and "classifier/original" -> seconds of a step of one trial, with
      its share of the evaluations.
    """
    training, evaluation = timed["train autoencoders"], timed["evaluate autoencoders"]
    seconds = training.steps * _timer(training, programs)(None)
    seconds += evaluation.steps * _timer(evaluation, programs)(None)
    found = {"autoencoder": seconds / (training.steps * training.models)}
    for of_network in programs.of_networks:
        found |= _classifier_seconds(of_network, timed)
    return found


def _classifier_seconds(programs: Programs, timed: Mapping[str, Call]) -> dict[str, float]:
    """Times the programs of one network, as `_step_seconds` does."""
    config, models, found = programs.config, programs.networks.classifiers, {}
    training, evaluation = timed[f"train {models}"], timed[f"evaluate {models}"]
    views = dict.fromkeys((*programs.train_views, *config.test_views, "original"))
    evaluating = dict(zip(views, map(_timer(evaluation, programs), views), strict=True))
    training_step = _timer(training, programs)
    # A step on images that are in their view already takes as long in every view.
    on_rendered = training_step(None) if programs.rendering else None
    size = config.classifier.batch_size or 1
    steps = programs.networks.num_steps(config.classifier)
    epochs = steps / programs.networks.steps_per_epoch(config.classifier)
    batches = {
        "validation": math.ceil(len(programs.monitored["validation"]) / size),
        "test": math.ceil(len(programs.dataset.splits["test"]) / size),
    }
    testing = batches["test"] * sum(evaluating[view] for view in config.test_views)
    for view in programs.train_views:
        # Each epoch, in its own view on as many images of train as of validation, and in the original one.
        validating = batches["validation"] * (2 * evaluating[view] + evaluating["original"])
        seconds = steps * (on_rendered or training_step(view)) + epochs * validating + testing
        found[f"classifier/{view}"] = seconds / (steps * training.models)
    return found


def _compile(programs: list[Call]) -> None:
    """Compiles several at once; the programs are then read from jax's cache, where there is one."""
    if not jax.config.values["jax_compilation_cache_dir"]:
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # Lowering holds Python's lock, compiling does not.
        compiled = [pool.submit(call.lower().compile) for call in programs]
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
