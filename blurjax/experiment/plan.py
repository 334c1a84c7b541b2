"""The plan of an experiment: models, steps, memory and time, before it starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from blurjax.config.settings import Config, TrainingConfig
from blurjax.config.trials import (
    LONGER,
    Trial,
    all_autoencoder_trials,
    autoencoder_trials,
    checked,
    checked_views,
    classifier_trials,
)
from blurjax.data import Dataset
from blurjax.data.messages import join_names
from blurjax.experiment.fingerprints import check_fingerprints
from blurjax.experiment.preparation import prepare
from blurjax.experiment.programs import Programs
from blurjax.runtime import RunDirectory
from blurjax.train.jobs import find_jobs

REST_SECONDS = 15.0
"""Of a run beside training and its evaluations: fitting views, figures, the page. Measured on digits."""


@dataclass(frozen=True)
class Stage:
    """The models of one stage."""

    name: str
    job: str
    """The beginning of the names of its jobs, such as "classifier/original"."""
    models: int
    begun: int
    """How many of them the run directory holds, trained or partly trained."""
    trained: int
    """How many of those have taken all steps."""
    steps: int
    """Of each model."""
    steps_left: int
    """Of all models together."""
    seconds: float = math.nan
    """Of a step of one of the models, with its share of the evaluations; NaN where it was not timed."""


@dataclass(frozen=True)
class Plan:
    """An estimate of an experiment; printed, it is what the user reads before the start."""

    dataset: str
    notes: tuple[str, ...]
    """What was understood of the data, and what was left out."""
    devices: str
    stages: tuple[Stage, ...]
    data_bytes: int
    resident: bool
    model_bytes: int
    """Parameters and optimizer state of the largest stage."""
    steps_done: Mapping[str, int]
    """Of each job that the run directory holds."""
    rest_seconds: float = REST_SECONDS
    """Of what is not training."""

    def __str__(self) -> str:
        lines = [f"{self.dataset}; {self.devices}", *(f"  note: {note}" for note in self.notes)]
        for stage in self.stages:
            counts = {"trained": stage.trained, "begun": stage.begun - stage.trained}
            there = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
            begun = f" ({there} already)" if there else ""
            lines.append(
                f"  {stage.name + ':':<30}{stage.models:>4} models x {stage.steps:,} steps{begun}"
            )
        where = "on each device" if self.resident else "streamed from disk"
        lines.append(
            f"  memory: {_megabytes(self.data_bytes)} of images {where}, {_megabytes(self.model_bytes)} of "
            "parameters and optimizer state"
        )
        if self.is_trained:
            lines.append("  everything is trained; what is missing of results and page is written")
        elif not math.isnan(self.seconds):
            lines.append(self.time)
        return "\n".join(lines)

    @property
    def time(self) -> str:
        """The line on the time."""
        return f"  estimated time: about {duration(self.seconds)}"

    @property
    def is_trained(self) -> bool:
        """Whether all models are trained."""
        return all(stage.trained == stage.models for stage in self.stages)

    @property
    def seconds(self) -> float:
        """The time that the run takes from now on; NaN where steps were not timed."""
        return self.rest_seconds + sum(
            s.steps_left * s.seconds for s in self.stages if s.steps_left
        )


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
    programs = Programs(config, dataset)
    layout = programs.layout
    done = {line["job"]: line["step"] for line in run.metrics()}  # of each job the last line counts
    stages = _stages(config, programs, run, done)
    sizes = {name: len(positions) for name, positions in dataset.splits.items()}
    height, width, channels = dataset.image_shape
    return Plan(
        dataset=f"{dataset.name}: {', '.join(f'{count:,} {name}' for name, count in sizes.items())} images of "
        f"{height}x{width}x{channels}, {len(dataset.class_names)} classes: {join_names(dataset.class_names)}",
        notes=dataset.notes,
        devices=f"{layout.mesh.size} {programs.target.platform} device(s), {layout.trials_per_vmap} trial(s) each "
        "side by side",
        stages=stages,
        data_bytes=dataset.images.nbytes,
        resident=dataset.fits(config.data.resident_limit),
        model_bytes=_model_bytes(config, programs),
        steps_done=done,
    )


def _stages(
    config: Config, programs: Programs, run: RunDirectory, done: Mapping[str, int]
) -> tuple[Stage, ...]:
    def stage(name: str, job: str, trials: list[Trial], training: TrainingConfig) -> Stage:
        steps = programs.networks.num_steps(training) * (2 if job.startswith(LONGER) else 1)
        of_job = {t: done.get(found.name, 0) for found in find_jobs(run, job) for t in found.trials}
        begun = [of_job[trial] for trial in trials if trial in of_job]
        left = len(trials) * steps - sum(begun)
        return Stage(name, job, len(trials), len(begun), begun.count(steps), steps, left)

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
    """Returns the bytes of parameters and the optimizer's two moments of the largest stage, in float32."""

    def floats(model: nn.Module, inputs: tuple[Any, ...], count: int) -> int:
        params = jax.eval_shape(partial(model.init, jax.random.key(0)), *inputs)
        return count * sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))

    image = programs.networks.example_image
    largest = max(
        floats(
            programs.networks.autoencoder,
            (image, jnp.int32(1)),
            len(all_autoencoder_trials(config)),
        ),
        floats(
            programs.networks.classifier, (image,), len(classifier_trials(config, "reconstruction"))
        ),
    )
    return 3 * 4 * largest


def duration(seconds: float) -> str:
    """Writes a duration, such as "40 s", "12 min" or "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size < 1e10 else f"{size / 1e9:,.0f} GB"
