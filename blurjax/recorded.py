"""What a run left on disk, point by point, before anything is computed from it.

Axes: T trials (the seeds of one point), N images, K classes, R radii of a spectrum.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from blurjax import statistics
from blurjax.config import Config
from blurjax.data.dataset import SPLITS
from blurjax.errors import UserError
from blurjax.history import History, Point, read_history
from blurjax.run_directory import RunDirectory, read_json, read_npz
from blurjax.view_names import MEASURED, views_in_use

PROBES = ("linear", "mlp")

Arrays = Mapping[str, np.ndarray]
Cell = tuple[str, str]
"""(train view, test view)"""


class Recorded(NamedTuple):
    """Everything in a run directory that results are computed from, read once for all points."""

    directory: RunDirectory
    config: Config
    dataset: Mapping[str, Any]
    cells: Mapping[Cell, Arrays]
    quality: Mapping[tuple[str, str], Arrays]
    """By (view, split)."""
    probes: Mapping[str, Arrays]
    blur: Arrays | None
    """views/fitted.npz, where `blur` is in use."""
    flips: Arrays | None
    history: History

    @property
    def class_names(self) -> list[str]:
        """Of all K classes, in the order of their labels."""
        return self.dataset["class_names"]


class PointRecord(NamedTuple):
    """What was recorded of one point: complete cases, one row a trial in the order of `trials`."""

    point: Point
    trials: list[int]
    """Their seeds."""
    failures: list[dict[str, Any]]
    cells: Mapping[Cell, Arrays]
    quality: Mapping[tuple[str, str], Arrays]
    probes: Mapping[str, Arrays]
    blur: Arrays | None
    curves: Mapping[str, Any]
    """The block `history` of results.json."""

    def correct(self) -> dict[Cell, np.ndarray]:
        """Which answers are right: bool[T,N] of every cell."""
        return {cell: a["prediction"] == a["label"] for cell, a in self.cells.items()}

    def only(self, trials: Iterable[int]) -> dict[Cell, Arrays]:
        """The cells of some of the trials, in the order given."""
        rows = np.array([self.trials.index(seed) for seed in trials])
        return {cell: _rows(arrays, rows) for cell, arrays in self.cells.items()}


def points_of(config: Config) -> list[Point]:
    """All points that the settings ask for, the bottleneck varying slowest."""
    values = config.bottlenecks, config.learning_rates, config.weight_decays
    return list(itertools.starmap(Point, itertools.product(*values)))


def read(run: RunDirectory, config: Config) -> Recorded:
    """Reads what the settings ask for.

    Raises:
      UserError: something is not there yet, or damaged.
    """
    pairs = list(itertools.product(config.train_views, config.test_views))
    in_use = views_in_use(config)
    measured = [view for view in in_use if view == "original" or view in MEASURED]
    probes = {name: _optional(run, f"predictions/code-{name}.npz") for name in PROBES}
    return Recorded(
        directory=run,
        config=config,
        dataset=_read_json(run, "dataset.json"),
        cells={(a, b): _required(run, f"predictions/{a}-on-{b}.npz") for a, b in pairs},
        quality={
            (view, split): _required(run, f"predictions/quality-{view}-{split}.npz")
            for view, split in itertools.product(measured, SPLITS)
        },
        probes={name: arrays for name, arrays in probes.items() if arrays is not None},
        blur=_required(run, "views/fitted.npz") if "blur" in in_use else None,
        flips=_optional(run, "predictions/flips.npz"),
        history=read_history(run),
    )


def of_point(recorded: Recorded, point: Point) -> PointRecord:
    """The rows of one point, without trials that were frozen in any view.

    Such a trial leaves all views, to keep pairs whole (complete cases), and is listed under
    `failures`.

    Raises:
      UserError: a trial that the settings ask for is not there yet.
    """
    run, config = recorded.directory, recorded.config

    def rows(arrays: Arrays, *, of_classifier: bool) -> Arrays:
        return _select(run, arrays, point, config.seeds, of_classifier=of_classifier)

    cells = {cell: rows(arrays, of_classifier=True) for cell, arrays in recorded.cells.items()}
    quality = {
        key: _rows(arrays, np.zeros(len(config.seeds), int))  # its one row is that of all trials
        if key[0] == "original"
        else rows(arrays, of_classifier=False)
        for key, arrays in recorded.quality.items()
    }
    probes = {name: rows(arrays, of_classifier=False) for name, arrays in recorded.probes.items()}
    frozen = {str(key): a["failed_step"] >= 0 for key, a in (cells | quality | probes).items()}
    complete = statistics.complete_cases(frozen)
    trials = [seed for seed, whole in zip(config.seeds, complete, strict=True) if whole]
    blur = None if recorded.blur is None else rows(recorded.blur, of_classifier=False)
    return PointRecord(
        point=point,
        trials=trials,
        failures=_failures(config.seeds, cells, quality, probes),
        cells={cell: _rows(arrays, complete) for cell, arrays in cells.items()},
        quality={key: _rows(arrays, complete) for key, arrays in quality.items()},
        probes={name: _rows(arrays, complete) for name, arrays in probes.items()},
        blur=None if blur is None else _rows(blur, complete),
        curves=recorded.history.of_point(point, trials, config.train_views),
    )


# Reading.


def unfinished(run: RunDirectory, what: str) -> UserError:
    """The error that says what a run still lacks and how to mend that."""
    return UserError(
        f"The run in {run.path} is not finished ({what}); "
        "run the same command again to complete it."
    )


def _required(run: RunDirectory, name: str) -> Arrays:
    arrays = _optional(run, name)
    if arrays is None:
        raise unfinished(run, f"{name} is missing")
    return arrays


def _optional(run: RunDirectory, name: str) -> Arrays | None:
    path = run / name
    return read_npz(path) if path.exists() else None


def _read_json(run: RunDirectory, name: str) -> Any:
    if not (run / name).exists():
        raise unfinished(run, f"{name} is missing")
    return read_json(run / name)


def _select(
    run: RunDirectory, arrays: Arrays, point: Point, seeds: Iterable[int], *, of_classifier: bool
) -> Arrays:
    """The rows of one point, in the order of the seeds.

    What belongs to an autoencoder does not depend on the classifier's recipe.
    """
    matches = np.isin(arrays["bottleneck"], (0, point.bottleneck))
    if of_classifier:
        for name in ("learning_rate", "weight_decay"):
            matches &= arrays[name].astype(np.float32) == np.float32(getattr(point, name))
    rows = []
    for seed in seeds:
        found = np.flatnonzero(matches & (arrays["seed"] == seed))
        if not found.size:
            raise unfinished(run, f"there are no predictions yet for seed {seed} at {point}")
        rows.append(found[0])
    return _rows(arrays, np.asarray(rows))


def _rows(arrays: Arrays, rows: np.ndarray) -> Arrays:
    """Everything that has a row a trial, cut to these rows; what belongs to images stays whole."""
    of_images = ("label", "index", "name")
    return {name: a if name in of_images else a[rows] for name, a in arrays.items()}


# Failures.


def _failures(
    seeds: Iterable[int],
    cells: Mapping[Cell, Arrays],
    quality: Mapping[tuple[str, str], Arrays],
    probes: Mapping[str, Arrays],
) -> list[dict[str, Any]]:
    """Every frozen autoencoder, classifier and probe of a point, once."""
    models = [("classifier", cell[0], arrays) for cell, arrays in cells.items()]
    models += [("probe", name, arrays) for name, arrays in probes.items()]
    failures = []
    for t, seed in enumerate(seeds):
        autoencoder = {int(arrays["failed_step"][t]) for arrays in quality.values()} - {-1}
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
