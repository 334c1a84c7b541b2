"""Learning curves: from the lines of metrics.jsonl, one an epoch and job, to those of trials.

Axes: E epochs, T trials.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from blurjax.errors import UserError
from blurjax.run_directory import RunDirectory, read_json
from blurjax.view_names import RESEEDED

SIDES = ("train", "validation", "validation_original")

Measured = dict[str, dict[str, float | None]]
Curve = dict[int, Measured]
"""Epoch -> side -> what was measured -> value, of one trial."""


class Point(NamedTuple):
    """One combination of swept values; its trials differ in nothing but the seed."""

    bottleneck: int
    learning_rate: float
    weight_decay: float


@dataclasses.dataclass
class _TrialCurve:
    trial: Mapping[str, Any]
    curve: Curve


@dataclasses.dataclass(frozen=True)
class History:
    """The curves of all trials of a run, by stage and view."""

    curves: Mapping[tuple[str, str | None], Sequence[_TrialCurve]]

    def of_point(self, point: Point, seeds: Iterable[int], views: Iterable[str]) -> dict[str, Any]:
        """The block `history` of results.json: the curves of these seeds, in their order."""
        seeds = list(seeds)
        return {
            "autoencoder": self._table("autoencoder", None, point, seeds),
            "classifier": {view: self._table("classifier", view, point, seeds) for view in views},
        }

    def _table(
        self, stage: str, view: str | None, point: Point, seeds: Sequence[int]
    ) -> dict[str, Any]:
        known = self.curves.get((stage, view), ())
        curves = [
            next((known.curve for known in known if _is_of(known.trial, stage, point, seed)), {})
            for seed in seeds
        ]
        epochs = sorted(set().union(*curves))
        return {"epoch": epochs} | {
            side: {name: _column(curves, epochs, side, name) for name in names}
            for side, names in _measured(curves).items()
        }


def read_history(run: RunDirectory) -> History:
    """Reads all curves; jobs that hold the trials of a view in parts are joined.

    Raises:
      UserError: the list of a job's trials is missing.
    """
    curves: dict[tuple[str, str | None], dict[str, list[_TrialCurve]]] = {}
    for line in run.metrics():
        jobs = curves.setdefault((line["stage"], line["view"]), {})
        if line["job"] not in jobs:
            jobs[line["job"]] = [_TrialCurve(trial, {}) for trial in _trials(run, line["job"])]
        for t, trial in enumerate(jobs[line["job"]]):
            trial.curve[line["epoch"]] = {
                side: {name: values[t] for name, values in line[side].items()}
                for side in SIDES
                if side in line
            }
    return History({key: [*itertools.chain(*jobs.values())] for key, jobs in curves.items()})


def _trials(run: RunDirectory, job: str) -> list[dict[str, Any]]:
    path = run / "checkpoints" / job / "job.json"
    if not path.exists():
        raise UserError(
            f"{path} is missing: without it nobody knows whose curves metrics.jsonl holds."
        )
    return read_json(path)["trials"]


def _is_of(trial: Mapping[str, Any], stage: str, point: Point, seed: int) -> bool:
    """Whether this is the seed's trial of the point, trained on the whole train split."""
    same = int(trial["seed"]) % RESEEDED == seed and trial["fold"] == -1
    same &= trial["bottleneck"] in (0, point.bottleneck)
    if stage == "classifier":  # an autoencoder does not depend on the classifier's recipe
        for name in ("learning_rate", "weight_decay"):
            same &= np.float32(trial[name]) == np.float32(getattr(point, name))
    return bool(same)


def _measured(curves: Iterable[Curve]) -> dict[str, list[str]]:
    """Side -> names of what was measured, as the first line of the first trial has them."""
    first = next((curve for curve in curves if curve), None)
    if first is None:
        return {}
    return {side: list(names) for side, names in next(iter(first.values())).items()}


def _column(
    curves: Iterable[Curve], epochs: Iterable[int], side: str, name: str
) -> list[list[float | None]]:
    """[E][T]; null where a trial has no line for an epoch."""
    curves = list(curves)
    return [
        [curve[epoch][side][name] if epoch in curve else None for curve in curves]
        for epoch in epochs
    ]
