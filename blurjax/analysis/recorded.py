"""What a run left on disk, point by point, before anything is computed from it.

Axes: T trials (the seeds of one point), N images, K classes, R radii of a spectrum.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from blurjax.analysis.comparisons import Cell
from blurjax.analysis.history import Arrays, read_curves
from blurjax.config.sections import SPLITS
from blurjax.config.settings import Config
from blurjax.config.view_names import RESEEDED, measured_views, views_in_use
from blurjax.experiment import probe
from blurjax.runtime.errors import UserError
from blurjax.runtime.run_directory import RunDirectory, read_json, read_npz

OF_IMAGES = ("label", "index", "name")
"""Arrays that have no row a trial."""


class Point(NamedTuple):
    """One combination of swept values; its trials differ in nothing but the seed."""

    bottleneck: int
    learning_rate: float
    weight_decay: float


class Tables(NamedTuple):
    """What was recorded with a row a trial: of all trials of a run, or of those of a point."""

    cells: Mapping[Cell, Arrays]
    quality: Mapping[tuple[str, str], Arrays]
    """By (view, split); `original` has one row for all trials."""
    probes: Mapping[str, Arrays]
    blur: Arrays | None
    """views/fitted.npz, where `blur` is in use."""
    autoencoder_curves: Arrays
    classifier_curves: Mapping[str, Arrays]
    """By train view."""


NOTHING = Tables({}, {}, {}, None, {}, {})


class Recorded(NamedTuple):
    """Everything in a run directory that results are computed from, read once for all points."""

    directory: RunDirectory
    config: Config
    dataset: Mapping[str, Any]
    tables: Tables
    flips: Arrays | None

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.dataset["class_names"])


class PointRecord(NamedTuple):
    """What was recorded of one point: complete cases, one row a trial in the order of `trials`."""

    point: Point
    trials: Sequence[int]
    """Their seeds."""
    failures: list[dict[str, Any]]
    tables: Tables
    """Empty where no trial is left."""

    def correct(self) -> dict[Cell, np.ndarray]:
        """Which answers are right: bool[T,N] of every cell."""
        return {cell: a["prediction"] == a["label"] for cell, a in self.tables.cells.items()}


def points_of(config: Config) -> list[Point]:
    """All points that the settings ask for, the bottleneck varying slowest."""
    values = config.bottlenecks, config.learning_rates, config.weight_decays
    return list(itertools.starmap(Point, itertools.product(*values)))


def read(run: RunDirectory, config: Config) -> Recorded:
    """Reads what the settings ask for.

    Raises:
      UserError: something is not there yet, or damaged.
    """
    curves = read_curves(run)
    for stage, view in [("autoencoder", None), *(("classifier", v) for v in config.train_views)]:
        if (stage, view) not in curves:
            raise _unfinished(run, f"metrics.jsonl lacks the {stage} stage, view {view}")
    tables = Tables(
        cells={
            (train, test): _required(run, f"predictions/{train}-on-{test}.npz")
            for train, test in itertools.product(config.train_views, config.test_views)
        },
        quality={
            (view, split): _required(run, f"predictions/quality-{view}-{split}.npz")
            for view, split in itertools.product(measured_views(config), SPLITS)
        },
        probes={kind: _required(run, f"predictions/code-{kind}.npz") for kind in probe.KINDS},
        blur=_required(run, "views/fitted.npz") if "blur" in views_in_use(config) else None,
        autoencoder_curves=curves["autoencoder", None],
        classifier_curves={view: curves["classifier", view] for view in config.train_views},
    )
    if not (run / "dataset.json").exists():
        raise _unfinished(run, "dataset.json is missing")
    flips = _optional(run, "predictions/flips.npz")
    return Recorded(run, config, read_json(run / "dataset.json"), tables, flips)


def of_point(recorded: Recorded, point: Point) -> PointRecord:
    """The rows of one point, without trials that were frozen in any view.

    Such a trial leaves all views, to keep pairs whole (complete cases), and is listed under
    `failures`.

    Raises:
      UserError: a trial that the settings ask for is not there yet.
    """
    seeds = recorded.config.seeds
    failures = _failures(seeds, _of_trials(recorded, point, seeds))
    frozen = {failure["seed"] for failure in failures}
    trials = [seed for seed in seeds if seed not in frozen]
    tables = _of_trials(recorded, point, trials) if trials else NOTHING
    return PointRecord(point, trials, failures, tables)


# Reading.


def _unfinished(run: RunDirectory, what: str) -> UserError:
    """The error that says what a run still lacks and how to mend that."""
    return UserError(
        f"The run in {run.path} is not finished ({what}); "
        "run the same command again to complete it."
    )


def _required(run: RunDirectory, name: str) -> Arrays:
    arrays = _optional(run, name)
    if arrays is None:
        raise _unfinished(run, f"{name} is missing")
    return arrays


def _optional(run: RunDirectory, name: str) -> Arrays | None:
    path = run / name
    return read_npz(path) if path.exists() else None


# The rows of trials.


def _of_trials(recorded: Recorded, point: Point, seeds: Iterable[int]) -> Tables:
    """The rows of these seeds at a point, in their order."""

    def rows(arrays: Arrays, *, of_classifier: bool = False) -> Arrays:
        return _select(recorded.directory, arrays, point, seeds, of_classifier=of_classifier)

    of_run = recorded.tables
    return Tables(
        cells={cell: rows(arrays, of_classifier=True) for cell, arrays in of_run.cells.items()},
        quality={
            (view, split): arrays if view == "original" else rows(arrays)
            for (view, split), arrays in of_run.quality.items()
        },
        probes={kind: rows(arrays) for kind, arrays in of_run.probes.items()},
        blur=of_run.blur and rows(of_run.blur),
        autoencoder_curves=rows(of_run.autoencoder_curves),
        classifier_curves={
            view: rows(arrays, of_classifier=True)
            for view, arrays in of_run.classifier_curves.items()
        },
    )


def _select(
    run: RunDirectory, arrays: Arrays, point: Point, seeds: Iterable[int], *, of_classifier: bool
) -> Arrays:
    """The rows of one point, in the order of the seeds.

    What belongs to an autoencoder does not depend on the classifier's recipe.
    """
    on_all_data = arrays["fold"] == -1
    matches = on_all_data & np.isin(arrays["bottleneck"], (0, point.bottleneck))
    if of_classifier:
        for name in ("learning_rate", "weight_decay"):
            matches &= arrays[name].astype(np.float32) == np.float32(getattr(point, name))
    rows = []
    for seed in seeds:
        found = np.flatnonzero(matches & (arrays["seed"] % RESEEDED == seed))
        if not found.size:
            values = ", ".join(f"{name} {value:g}" for name, value in point._asdict().items())
            raise _unfinished(run, f"there are no results yet of seed {seed} at {values}")
        rows.append(found[0])
    return {name: a if name in OF_IMAGES else a[rows] for name, a in arrays.items()}


# Failures.


def _failures(seeds: Iterable[int], tables: Tables) -> list[dict[str, Any]]:
    """Every frozen autoencoder, classifier and probe of a point, once."""
    painted = [a for (view, _), a in tables.quality.items() if view != "original"]
    models = [("classifier", train, arrays) for (train, _), arrays in tables.cells.items()]
    models += [("probe", kind, arrays) for kind, arrays in tables.probes.items()]
    failures = []
    for t, seed in enumerate(seeds):
        autoencoder = {int(arrays["failed_step"][t]) for arrays in painted} - {-1}
        failures += [_failure("autoencoder", None, seed, step) for step in sorted(autoencoder)]
        for stage, view, arrays in models:
            step = int(arrays["failed_step"][t])
            # A cell repeats the failure of the autoencoder that it needs.
            inherited = arrays["bottleneck"][t] != 0 and step in autoencoder
            if step >= 0 and not inherited:
                failures.append(_failure(stage, view, seed, step))
    return unique(failures)


def _failure(stage: str, view: str | None, seed: int, step: int) -> dict[str, Any]:
    return {"stage": stage, "view": view, "seed": seed, "step": step}


def unique(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each once, in the order of first appearance."""
    return [dict(key) for key in dict.fromkeys(tuple(item.items()) for item in items)]
