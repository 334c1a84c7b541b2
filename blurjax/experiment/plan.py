"""The plan of an experiment: models, steps, memory and time, as it is printed before the start."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blurjax.config import Config, Trial
from blurjax.data import Dataset

if TYPE_CHECKING:
    from blurjax.experiment.programs import Programs

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
    left: tuple[Trial, ...] = ()
    """Of the models that have not taken all steps."""


@dataclass(frozen=True)
class Plan:
    """An estimate of an experiment; printed, it is what the user reads before the start."""

    dataset: str
    notes: tuple[str, ...]
    """What was understood of the data, and what was left out."""
    devices: str
    stages: tuple[Stage, ...]
    data_bytes: int
    """Of images on each device, those of classifiers in their views included; or of all that are streamed."""
    resident: bool
    model_bytes: int
    """Parameters and optimizer state of the largest stage."""
    steps_done: Mapping[str, int]
    """Of each job that the run directory holds."""
    programs: Programs = field(repr=False, compare=False)
    """What the experiment calls; compiled where the plan is timed."""
    rest_seconds: float = REST_SECONDS
    """Of what is not training."""

    def __str__(self) -> str:
        lines = [f"{self.dataset}; {self.devices}", *(f"  note: {note}" for note in self.notes)]
        width = max(30, *(len(stage.name) + 1 for stage in self.stages))
        for stage in self.stages:
            counts = {"trained": stage.trained, "begun": stage.begun - stage.trained}
            there = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
            begun = f" ({there} already)" if there else ""
            models = f"{stage.models:>4} {'model' if stage.models == 1 else 'models'}"
            lines.append(f"  {stage.name + ':':<{width}}{models} x {stage.steps:,} steps{begun}")
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

    def is_for(self, config: Config, dataset: Dataset) -> bool:
        """Whether its programs are those of an experiment with these settings, fitted to these data."""
        programs = self.programs
        return programs.config == config and programs.dataset.fingerprint == dataset.fingerprint

    @property
    def time(self) -> str:
        """The line on the time."""
        return f"  estimated time: about {duration(self.seconds)} from here on"

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


def slow_settings(config: Config, platform: str) -> list[str]:
    """Returns what to say of settings that a user may expect to be faster than they are."""
    sections = [
        name for name in ("autoencoder", "classifier") if getattr(config, name).dtype == "bfloat16"
    ]
    if platform != "cpu" or not sections:
        return []
    names = " and ".join(f"{name}.dtype" for name in sections)
    return [f"{names} bfloat16 is slower than float32 on a CPU"]


def duration(seconds: float) -> str:
    """Writes a duration, such as "under 1 s", "40 s", "12 min" or "3.5 h"."""
    if 0 < seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size < 1e10 else f"{size / 1e9:,.0f} GB"
