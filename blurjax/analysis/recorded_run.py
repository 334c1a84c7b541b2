"""Reads what a run left on disk, and finds in it the rows of each point's trials.

Axes: T trials, N images, K classes, E epochs, R radii of a spectrum.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from blurjax.config.sections import PROBES, SPLITS
from blurjax.config.settings import Config
from blurjax.config.trials import Point, Trial, classifier_trial, measured_views, views_in_use
from blurjax.config.view_table import VIEWS
from blurjax.runtime.errors import UserError
from blurjax.runtime.run_directory import RunDirectory, read_json, read_npz

Arrays = Mapping[str, np.ndarray]
Cell = tuple[str, str]
"""(train view, test view): a cell of the transfer matrix."""
PER_IMAGE = ("label", "index", "name")
"""Arrays that have no row per trial."""
CURVE_SIDES = ("train", "validation", "validation_original")


class Failure(NamedTuple):
    """A model that was frozen because a number was not finite."""

    stage: str
    view: str | None
    """The train view of a classifier, the kind of a probe."""
    seed: int
    step: int


@dataclass(frozen=True)
class RecordedPoint:
    """The arrays of one point, with a row per trial in the order of `seeds`.

    Complete cases only: a trial with a model that was frozen leaves all views, so that pairs stay
    whole, and is listed under `failures`. The mappings are empty where no trial is left.
    """

    point: Point
    seeds: Sequence[int]
    failures: Sequence[Failure] = ()
    cells: Mapping[Cell, Arrays] = field(default_factory=dict)
    quality: Mapping[tuple[str, str], Arrays] = field(default_factory=dict)
    """By (view, split); a view that does not depend on the code has one row for all trials."""
    probes: Mapping[str, Arrays] = field(default_factory=dict)
    fitted_views: Arrays = field(default_factory=dict)
    autoencoder_curves: Arrays = field(default_factory=dict)
    """f64[T,E] by side and measure, such as `train.loss`; NaN where no number was recorded."""
    classifier_curves: Mapping[str, Arrays] = field(default_factory=dict)
    """By train view, like `autoencoder_curves`."""

    def correct(self) -> dict[Cell, np.ndarray]:
        """Returns which answers are right: bool[T,N] for every cell."""
        return {cell: a["prediction"] == a["label"] for cell, a in self.cells.items()}


class TrialTable(NamedTuple):
    """Arrays with a row per trial, found by the trial's key."""

    run: Path
    keys: Sequence[str]
    arrays: Arrays

    def rows(self, trials: Iterable[Trial]) -> Arrays:
        """Returns the rows of these trials, in their order.

        Raises:
          UserError: one of them is not there yet.
        """
        row_of = {key: row for row, key in enumerate(self.keys)}
        found = []
        for trial in trials:
            if trial.key not in row_of:
                raise _unfinished(self.run, f"there are no results yet of the trial {trial.key}")
            found.append(row_of[trial.key])
        return {name: a if name in PER_IMAGE else a[found] for name, a in self.arrays.items()}


class RecordedRun(NamedTuple):
    """The arrays of all trials in a run directory, read once for all points."""

    config: Config
    dataset: Mapping[str, Any]
    """Content of dataset.json."""
    cells: Mapping[Cell, TrialTable]
    quality: Mapping[tuple[str, str], TrialTable]
    probes: Mapping[str, TrialTable]
    fitted_views: TrialTable | None
    """None where no view in use is fitted to an autoencoder."""
    curves: Mapping[tuple[str, str | None], TrialTable]
    """By (stage, train view)."""
    flips: Arrays | None

    def at(self, point: Point) -> RecordedPoint:
        """Returns the complete cases of a point.

        Raises:
          UserError: a trial that the settings ask for is not there yet.
        """
        everything = self._rows(point, self.config.seeds)
        failures = _failures(everything)
        frozen = {failure.seed for failure in failures}
        seeds = [seed for seed in self.config.seeds if seed not in frozen]
        return self._rows(point, seeds, failures)

    def _rows(
        self, point: Point, seeds: Sequence[int], failures: Sequence[Failure] = ()
    ) -> RecordedPoint:
        if not seeds:
            return RecordedPoint(point, seeds, failures)
        autoencoders = [Trial(seed, point.bottleneck) for seed in seeds]

        def classifiers(*views: str) -> list[Trial]:
            return [classifier_trial(point, seed, *views) for seed in seeds]

        one_for_all = [Trial(self.config.sweep.first_seed)]
        return RecordedPoint(
            point,
            seeds,
            failures,
            cells={cell: table.rows(classifiers(*cell)) for cell, table in self.cells.items()},
            quality={
                (view, split): table.rows(autoencoders if VIEWS[view].needs_code else one_for_all)
                for (view, split), table in self.quality.items()
            },
            probes={kind: table.rows(autoencoders) for kind, table in self.probes.items()},
            fitted_views=self.fitted_views.rows(autoencoders) if self.fitted_views else {},
            autoencoder_curves=self.curves["autoencoder", None].rows(autoencoders),
            classifier_curves={
                view: self.curves["classifier", view].rows(classifiers(view))
                for view in self.config.train_views
            },
        )


def read_run(run: RunDirectory, config: Config) -> RecordedRun:
    """Reads everything that the settings ask for.

    Raises:
      UserError: something is not there yet, or damaged.
    """
    curves = _read_curves(run)
    for stage, view in [("autoencoder", None), *(("classifier", v) for v in config.train_views)]:
        if (stage, view) not in curves:
            raise _unfinished(run.path, f"metrics.jsonl lacks the {stage} stage, view {view}")
    if not run.dataset.exists():
        raise _unfinished(run.path, "dataset.json is missing")
    cells = itertools.product(config.train_views, config.test_views)
    measured = itertools.product(measured_views(config), SPLITS)
    return RecordedRun(
        config,
        dataset=read_json(run.dataset),
        cells={cell: _read_table(run, run.predictions(*cell)) for cell in cells},
        quality={key: _read_table(run, run.quality(*key)) for key in measured},
        probes={kind: _read_table(run, run.probe(kind)) for kind in PROBES},
        fitted_views=(
            _read_table(run, run.fitted_views) if "blur" in views_in_use(config) else None
        ),
        curves=curves,
        flips=read_npz(run.flips) if run.flips.exists() else None,
    )


def _unfinished(run: Path, what: str) -> UserError:
    return UserError(
        f"The run in {run} is not finished ({what}); run the same command again to complete it."
    )


def _read_table(run: RunDirectory, path: Path) -> TrialTable:
    if not path.exists():
        raise _unfinished(run.path, f"{path.relative_to(run.path)} is missing")
    arrays = read_npz(path)
    return TrialTable(run.path, arrays.pop("trial").tolist(), arrays)


def _read_curves(run: RunDirectory) -> dict[tuple[str, str | None], TrialTable]:
    """Joins the lines of metrics.jsonl, one per epoch and job, to a table per stage and train view."""
    by_view: dict[tuple[str, str | None], dict[str, list[Mapping[str, Any]]]] = {}
    for line in run.metrics():
        jobs = by_view.setdefault((line["stage"], line["view"]), {})
        jobs.setdefault(line["job"], []).append(line)
    tables = {}
    for key, jobs in by_view.items():
        num_epochs = max(line["epoch"] for lines in jobs.values() for line in lines)
        keys = {job: _trial_keys(run, job) for job in jobs}
        parts = [_curves(lines, len(keys[job]), num_epochs) for job, lines in jobs.items()]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        tables[key] = TrialTable(run.path, list(itertools.chain(*keys.values())), joined)
    return tables


def _trial_keys(run: RunDirectory, job: str) -> list[str]:
    path = run.job_file(job)
    if not path.exists():
        raise UserError(
            f"{path} is missing: without it, nothing says which trials' curves metrics.jsonl holds; "
            "name another directory with --out and run again."
        )
    return [Trial(**trial).key for trial in read_json(path)["trials"]]


def _curves(lines: Sequence[Mapping[str, Any]], num_trials: int, num_epochs: int) -> Arrays:
    curves = {}
    epochs = [line["epoch"] - 1 for line in lines]
    for side in CURVE_SIDES:
        for measure in lines[0].get(side, ()):
            values = np.full((num_trials, num_epochs), np.nan)
            values[:, epochs] = np.array([line[side][measure] for line in lines], float).T
            curves[f"{side}.{measure}"] = values
    return curves


def _failures(recorded: RecordedPoint) -> list[Failure]:
    """Lists every frozen autoencoder, classifier and probe once."""
    point = recorded.point
    of_code = [a for (view, _), a in recorded.quality.items() if VIEWS[view].needs_code]
    models = [
        ("classifier", train, classifier_trial(point, 0, train, test).bottleneck, arrays)
        for (train, test), arrays in recorded.cells.items()
    ]
    models += [("probe", kind, point.bottleneck, a) for kind, a in recorded.probes.items()]
    failures = []
    for t, seed in enumerate(recorded.seeds):
        autoencoder = {int(arrays["failed_step"][t]) for arrays in of_code} - {-1}
        failures += [Failure("autoencoder", None, seed, step) for step in sorted(autoencoder)]
        for stage, view, bottleneck, arrays in models:
            step = int(arrays["failed_step"][t])
            # A cell that needs an autoencoder repeats the autoencoder's failure.
            inherited = bottleneck is not None and step in autoencoder
            if step >= 0 and not inherited:
                failures.append(Failure(stage, view, seed, step))
    return list(dict.fromkeys(failures))
