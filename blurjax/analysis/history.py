"""Learning curves: from the lines of metrics.jsonl, one an epoch and job, to tables with a row a trial.

Axes: E epochs, T trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blurjax.runtime.errors import UserError
from blurjax.runtime.run_directory import RunDirectory, read_json

SIDES = ("train", "validation", "validation_original")

Line = Mapping[str, Any]
Arrays = Mapping[str, np.ndarray]


def read_curves(run: RunDirectory) -> dict[tuple[str, str | None], Arrays]:
    """The curves of all trials by stage and view; jobs that hold them in parts are joined.

    Returns:
      (stage, view) -> what each row is, [T], and what was measured, f64[T,E] by side and measure,
      such as `train.loss`; NaN where a trial has no line for an epoch or the line no number.

    Raises:
      UserError: the list of a job's trials is missing.
    """
    lines: dict[tuple[str, str | None], list[Line]] = {}
    for line in run.metrics():
        lines.setdefault((line["stage"], line["view"]), []).append(line)
    return {key: _of_view(run, of_view) for key, of_view in lines.items()}


def as_json(curves: Arrays) -> dict[str, Any]:
    """The HISTORY of docs/run_directory.md."""
    measured = {name: values for name, values in curves.items() if "." in name}
    num_epochs = max((values.shape[1] for values in measured.values()), default=0)
    block: dict[str, Any] = {"epoch": list(range(1, num_epochs + 1))}
    for name, values in measured.items():
        side, measure = name.split(".")
        block.setdefault(side, {})[measure] = values.T
    return block


def _of_view(run: RunDirectory, lines: Sequence[Line]) -> Arrays:
    num_epochs = max(line["epoch"] for line in lines)
    jobs: dict[str, list[Line]] = {}
    for line in lines:
        jobs.setdefault(line["job"], []).append(line)
    tables = [_of_job(_trials(run, job), of_job, num_epochs) for job, of_job in jobs.items()]
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def _of_job(
    trials: Sequence[Mapping[str, Any]], lines: Sequence[Line], num_epochs: int
) -> dict[str, np.ndarray]:
    table = {name: np.array([trial[name] for trial in trials]) for name in trials[0]}
    epochs = [line["epoch"] - 1 for line in lines]
    for side in SIDES:
        for measure in lines[0].get(side, ()):
            curves = np.full((len(trials), num_epochs), np.nan)
            curves[:, epochs] = np.array([line[side][measure] for line in lines], float).T
            table[f"{side}.{measure}"] = curves
    return table


def _trials(run: RunDirectory, job: str) -> list[dict[str, Any]]:
    path = run / "checkpoints" / job / "job.json"
    if not path.exists():
        raise UserError(
            f"{path} is missing: without it nobody knows whose curves metrics.jsonl holds."
        )
    return read_json(path)["trials"]
