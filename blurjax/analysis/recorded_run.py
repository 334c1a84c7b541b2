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

from blurjax.analysis.types import Arrays, Cell
from blurjax.config.settings import PROBES, SPLITS, Config
from blurjax.config.trials import (
    CHECKED_SEEDS,
    LONGER,
    Point,
    Trial,
    checked_views,
    classifier_trial,
    measured_views,
    quality_trials,
    views_in_use,
)
from blurjax.config.view_table import CODECS, VIEWS
from blurjax.runtime import RunDirectory, UserError, read_json, read_npz

PER_IMAGE = ("label", "index", "name")
"""Arrays that have no row per trial."""
CURVE_SIDES = ("train", "validation", "validation_original")


class Unfinished(UserError):
    """Raised for a run of which something that its settings ask for is not there yet."""


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
    codecs: Mapping[str, Arrays] = field(default_factory=dict)
    autoencoder_curves: Arrays = field(default_factory=dict)
    """f64[T,E] by side and measure, such as `train.loss`; NaN where no number was recorded."""
    classifier_curves: Mapping[str, Arrays] = field(default_factory=dict)
    """By train view, like `autoencoder_curves`."""
    longer_curves: Mapping[str | None, Arrays] = field(default_factory=dict)
    """Of the first of these trials after twice the steps: of classifiers by train view, of autoencoders under None."""

    def correct(self) -> dict[Cell, np.ndarray]:
        """Returns which answers are right: bool[T,N] for every cell."""
        return {cell: a["prediction"] == a["label"] for cell, a in self.cells.items()}


class RecordedRun:
    """The content of a run directory, as far as settings ask for it; every file is read once.

    Attributes:
      dataset: content of dataset.json.
      flips: content of predictions/flips.npz, where it exists.

    Raises:
      Unfinished: something is not there yet.
      UserError: something is damaged.
    """

    def __init__(self, run: RunDirectory, config: Config):
        self.config, self._run = config, run
        # By file, or by stage and train view: arrays with the column `trial`.
        self._tables: dict[Path | tuple[str, str | None], Arrays] = {**read_curves(run)}
        views = [("autoencoder", None), *(("classifier", view) for view in config.train_views)]
        views += [(f"{LONGER}autoencoder", None)] * config.autoencoder.check
        views += [(f"{LONGER}classifier", view) for view in checked_views(config)]
        for stage, view in views:
            if (stage, view) not in self._tables:
                raise self._unfinished(f"metrics.jsonl lacks the {stage} stage, view {view}")
        if not run.dataset.exists():
            raise self._unfinished("dataset.json is missing")
        self.dataset: Mapping[str, Any] = read_json(run.dataset)
        self.flips = read_npz(run.flips) if run.flips.exists() else None

    def at(self, point: Point) -> RecordedPoint:
        """Returns the complete cases of a point.

        Raises:
          Unfinished: a trial that the settings ask for, or a file, is not there yet.
        """
        failures = _failures(self._read_point(point, self.config.seeds))
        frozen = {failure.seed for failure in failures}
        seeds = [seed for seed in self.config.seeds if seed not in frozen]
        if not seeds:
            return RecordedPoint(point, seeds, failures)
        return self._read_point(point, seeds, failures)

    def _read_point(
        self, point: Point, seeds: Sequence[int], failures: Sequence[Failure] = ()
    ) -> RecordedPoint:
        run, config, rows = self._run, self.config, self._rows
        autoencoders = [Trial(seed, point.bottleneck) for seed in seeds]

        def classifiers(*views: str) -> list[Trial]:
            return [classifier_trial(point, seed, *views) for seed in seeds]

        has_blur = "blur" in views_in_use(config)
        return RecordedPoint(
            point,
            seeds,
            failures,
            cells={
                cell: rows(run.predictions(*cell), classifiers(*cell))
                for cell in itertools.product(config.train_views, config.test_views)
            },
            quality={
                (view, split): rows(
                    run.quality(view, split),
                    autoencoders if VIEWS[view].needs_code else quality_trials(config, view),
                )
                for view, split in itertools.product(measured_views(config), SPLITS)
            },
            probes={kind: rows(run.probe(kind), autoencoders) for kind in PROBES},
            fitted_views=rows(run.fitted_views, autoencoders) if has_blur else {},
            codecs={
                codec: rows(run.codec(codec), autoencoders)
                for codec in CODECS
                if codec in views_in_use(config)
            },
            autoencoder_curves=rows(("autoencoder", None), autoencoders),
            classifier_curves={
                view: rows(("classifier", view), classifiers(view)) for view in config.train_views
            },
            longer_curves=self._longer_curves(point, seeds),
        )

    def _longer_curves(self, point: Point, seeds: Sequence[int]) -> dict[str | None, Arrays]:
        """Empty where the trials trained for longer are not the first of these: one of them was frozen before."""
        config, wanted = self.config, self.config.seeds[:CHECKED_SEEDS]
        if tuple(seeds[:CHECKED_SEEDS]) != tuple(wanted):
            return {}
        curves: dict[str | None, Arrays] = {}
        if config.autoencoder.check:
            trials = [Trial(seed, point.bottleneck) for seed in wanted]
            curves[None] = self._rows((f"{LONGER}autoencoder", None), trials)
        for view in checked_views(config):
            trials = [classifier_trial(point, seed, view) for seed in wanted]
            curves[view] = self._rows((f"{LONGER}classifier", view), trials)
        return curves

    def _rows(
        self, source: Path | tuple[str, str | None], trials: Iterable[Trial]
    ) -> dict[str, np.ndarray]:
        """Returns the rows of these trials in a file or in the curves of a view, in their order."""
        if isinstance(source, Path) and source not in self._tables:
            if not source.exists():
                raise self._unfinished(f"{source.relative_to(self._run.path)} is missing")
            self._tables[source] = read_npz(source)
        arrays = dict(self._tables[source])
        row_of = {key: row for row, key in enumerate(arrays.pop("trial").tolist())}
        rows = []
        for trial in trials:
            if trial.key not in row_of:
                raise self._unfinished(f"there are no results yet of the trial {trial.key}")
            rows.append(row_of[trial.key])
        return {name: a if name in PER_IMAGE else a[rows] for name, a in arrays.items()}

    def _unfinished(self, what: str) -> Unfinished:
        return Unfinished(
            f"The run in {self._run.path} is not finished ({what}); "
            "run the same command again to complete it."
        )


def read_curves(run: RunDirectory) -> dict[tuple[str, str | None], Arrays]:
    """Joins the lines of metrics.jsonl, one per epoch and job, to a table per stage and train view.

    Returns:
      (stage, train view or None) -> `trial` str[T] and, such as `validation.loss`, f64[T,E]; NaN where nothing
      finite was recorded.
    """
    by_view: dict[tuple[str, str | None], dict[str, list[Mapping[str, Any]]]] = {}
    for line in run.metrics():
        jobs = by_view.setdefault((line["stage"], line["view"]), {})
        jobs.setdefault(line["job"], []).append(line)
    tables = {}
    for view, jobs in by_view.items():
        num_epochs = max(line["epoch"] for lines in jobs.values() for line in lines)
        parts = []
        for job, lines in jobs.items():
            path = run.job_file(job)
            if not path.exists():
                raise UserError(
                    f"{path} is missing: without it, nothing says which trials' curves metrics.jsonl "
                    "holds; name another directory with --out and run again."
                )
            keys = [Trial(**trial).key for trial in read_json(path)["trials"]]
            epochs = [line["epoch"] - 1 for line in lines]
            part = {"trial": np.array(keys)}
            for side, measure in ((s, m) for s in CURVE_SIDES for m in lines[0].get(s, ())):
                curves = np.full((len(keys), num_epochs), np.nan)
                curves[:, epochs] = np.array([line[side][measure] for line in lines], float).T
                part[f"{side}.{measure}"] = curves
            parts.append(part)
        tables[view] = {n: np.concatenate([part[n] for part in parts]) for n in parts[0]}
    return tables


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
