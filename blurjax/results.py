"""From what a run left on disk to results.json, whose form is in docs/run_directory.md.

Axes: T trials (the seeds of one point), N test images, K classes, E epochs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from blurjax import statistics
from blurjax.config import Config
from blurjax.errors import UserError
from blurjax.history import History, Point, read_history
from blurjax.run_directory import FORMAT, RunDirectory, jsonable, read_json, read_npz

SPLITS = ("train", "validation", "test")
CAUSES = ("information", "leakage", "test_view")

Arrays = Mapping[str, np.ndarray]
Cell = tuple[str, str]


class _Run(NamedTuple):
    """What was read from a run directory, once for all points."""

    directory: RunDirectory
    config: Config
    dataset: Mapping[str, Any]
    cells: Mapping[Cell, Arrays]
    quality: Mapping[str, Arrays]
    history: History


def points_of(config: Config) -> list[Point]:
    """All points that the settings ask for, the bottleneck varying slowest."""
    values = config.bottlenecks, config.learning_rates, config.weight_decays
    return list(itertools.starmap(Point, itertools.product(*values)))


def collect(run: RunDirectory, config: Config) -> dict[str, Any]:
    """Builds the content of results.json from predictions and metrics.

    Only trials that the settings ask for count, and of these only complete cases: a trial that
    was frozen in any view leaves all views of its point, to keep pairs whole, and is listed under
    `failures`.

    Args:
      run: a run whose classifiers are all evaluated.
      config: its settings, fitted to the data.

    Returns:
      Plain lists, numbers and strings: what reading results.json back would give.

    Raises:
      UserError: something is not there yet, or damaged.
    """
    loaded = _load(run, config)
    points = [_point(loaded, point) for point in points_of(config)]
    seconds = run / "seconds.json"
    return jsonable(
        {
            "format": FORMAT,
            "dataset": loaded.dataset,
            "views": {"train": config.views.train, "test": config.views.test},
            "points": points,
            "failures": _unique(failure for point in points for failure in point["failures"]),
            "seconds": read_json(seconds) if seconds.exists() else {},
        }
    )


def _load(run: RunDirectory, config: Config) -> _Run:
    cells: dict[Cell, Arrays] = {}
    for train_view, test_view in itertools.product(config.views.train, config.views.test):
        cells[train_view, test_view] = _read(run, f"{train_view}-on-{test_view}")
    painted = any(view != "original" for cell in cells for view in cell)
    quality = {split: _read(run, f"reconstruction-{split}") for split in SPLITS if painted}
    dataset = _read_json(run, "dataset.json")
    return _Run(run, config, dataset, cells, quality, read_history(run))


def _point(loaded: _Run, point: Point) -> dict[str, Any]:
    run, seeds = loaded.directory, loaded.config.seeds
    cells = {cell: _select(run, a, point, seeds) for cell, a in loaded.cells.items()}
    quality = {split: _select(run, a, point, seeds) for split, a in loaded.quality.items()}
    frozen = {str(key): a["failed_step"] >= 0 for key, a in (cells | quality).items()}
    complete = statistics.complete_cases(frozen)
    trials = [seed for seed, whole in zip(seeds, complete, strict=True) if whole]
    block = {
        "values": point._asdict(),
        "trials": trials,
        "failures": _failures(seeds, cells, quality),
    }
    if not trials:
        return block | _nothing_left()
    cells = {cell: _rows(arrays, complete) for cell, arrays in cells.items()}
    quality = {split: _rows(arrays, complete) for split, arrays in quality.items()}
    return block | _measurements(loaded, point, trials, cells, quality)


def _measurements(
    loaded: _Run,
    point: Point,
    trials: Iterable[int],
    cells: Mapping[Cell, Arrays],
    quality: Mapping[str, Arrays],
) -> dict[str, Any]:
    """The blocks of a point that are numbers, from the rows of its complete cases."""
    config = loaded.config
    confidence = config.report.confidence
    curves = loaded.history.of_point(point, trials, config.views.train)
    return _evaluations(cells, len(loaded.dataset["class_names"]), confidence) | {
        "reconstruction": _reconstruction(quality),
        "generalisation_gap": {
            view: _generalisation_gap(loaded.directory, curve, confidence)
            for view, curve in curves["classifier"].items()
        },
        "history": curves,
        "comparisons": _comparisons(cells, config),
    }


def _nothing_left() -> dict[str, Any]:
    """The blocks of a point that every trial has left."""
    estimates = ("accuracy", "loss", "ece", "per_class", "confusion", "generalisation_gap")
    return {
        **{name: {} for name in estimates},
        "reconstruction": {"psnr": {}, "ssim": {}},
        "history": {"autoencoder": {"epoch": []}, "classifier": {}},
        "comparisons": {},
    }


# Reading.


def _read(run: RunDirectory, name: str) -> Arrays:
    path = run / "predictions" / f"{name}.npz"
    if not path.exists():
        raise _unfinished(run, f"predictions/{name}.npz is missing")
    return read_npz(path)


def _read_json(run: RunDirectory, name: str) -> Any:
    if not (run / name).exists():
        raise _unfinished(run, f"{name} is missing")
    return read_json(run / name)


def _unfinished(run: RunDirectory, what: str) -> UserError:
    """The error that says what a run still lacks and how to mend that."""
    return UserError(
        f"The run in {run.path} is not finished ({what}); "
        "run the same command again to complete it."
    )


def _select(run: RunDirectory, arrays: Arrays, point: Point, seeds: Iterable[int]) -> Arrays:
    """The rows of one point, in the order of the seeds."""
    matches = np.isin(arrays["bottleneck"], (0, point.bottleneck))
    if "prediction" in arrays:  # the quality of a reconstruction does not depend on the classifier
        for name in ("learning_rate", "weight_decay"):
            matches &= arrays[name].astype(np.float32) == np.float32(getattr(point, name))
    rows = []
    for seed in seeds:
        found = np.flatnonzero(matches & (arrays["seed"] == seed))
        if not found.size:
            raise _unfinished(run, f"there are no predictions yet for seed {seed} at {point}")
        rows.append(found[0])
    return _rows(arrays, np.asarray(rows))


def _rows(arrays: Arrays, rows: np.ndarray) -> Arrays:
    """Everything that has a row a trial, cut to these rows; what belongs to images stays whole."""
    of_images = ("label", "index", "name")
    return {name: a if name in of_images else a[rows] for name, a in arrays.items()}


# Failures.


def _failures(
    seeds: Iterable[int], cells: Mapping[Cell, Arrays], quality: Mapping[str, Arrays]
) -> list[dict[str, Any]]:
    """Every frozen autoencoder and classifier of a point, once."""
    failures = []
    for t, seed in enumerate(seeds):
        autoencoder = {int(arrays["failed_step"][t]) for arrays in quality.values()} - {-1}
        failures += [_failure("autoencoder", None, seed, step) for step in sorted(autoencoder)]
        for (train_view, _), arrays in cells.items():
            step = int(arrays["failed_step"][t])
            # A cell repeats the failure of the autoencoder that it needs.
            inherited = arrays["bottleneck"][t] != 0 and step in autoencoder
            if step >= 0 and not inherited:
                failures.append(_failure("classifier", train_view, seed, step))
    return _unique(failures)


def _failure(stage: str, view: str | None, seed: int, step: int) -> dict[str, Any]:
    return {"stage": stage, "view": view, "seed": seed, "step": step}


def _unique(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [dict(key) for key in dict.fromkeys(tuple(item.items()) for item in items)]


# Blocks of a point.


def _evaluations(
    cells: Mapping[Cell, Arrays], num_classes: int, confidence: float
) -> dict[str, Any]:
    """The blocks that hold one entry a cell of the transfer matrix."""
    blocks: dict[str, Any] = {}
    for (train_view, test_view), arrays in cells.items():
        for name, entry in _evaluation(arrays, num_classes, confidence).items():
            blocks.setdefault(name, {}).setdefault(train_view, {})[test_view] = entry
    return blocks


def _evaluation(arrays: Arrays, num_classes: int, confidence: float) -> dict[str, Any]:
    correct = _correct(arrays)
    label, predictions = arrays["label"], arrays["prediction"]
    errors = [
        statistics.expected_calibration_error(*pair)
        for pair in zip(arrays["confidence"], correct, strict=True)
    ]
    scores = [statistics.per_class(label, row, num_classes) for row in predictions]
    return {
        "accuracy": statistics.accuracy(correct, confidence).as_json(),
        "loss": statistics.estimate(arrays["loss"], confidence).as_json(),
        "ece": _per_trial(errors),
        "per_class": {
            name: np.mean([score[name] for score in scores], axis=0)
            for name in ("precision", "recall", "f1")
        },
        "confusion": sum(statistics.confusion(label, row, num_classes) for row in predictions),
    }


def _correct(arrays: Arrays) -> np.ndarray:
    return arrays["prediction"] == arrays["label"]


def _per_trial(values: Iterable[float] | np.ndarray) -> dict[str, Any]:
    values = np.asarray(list(values), np.float64)
    return {"mean": values.mean(), "per_trial": values}


def _reconstruction(quality: Mapping[str, Arrays]) -> dict[str, Any]:
    def psnr(arrays: Arrays) -> np.ndarray:
        with np.errstate(divide="ignore"):  # a perfect reconstruction has no finite PSNR
            return -10 * np.log10(arrays["mse"].astype(np.float64).mean(axis=1))

    return {
        "psnr": {split: _per_trial(psnr(arrays)) for split, arrays in quality.items()},
        "ssim": {
            split: _per_trial(arrays["ssim"].astype(np.float64).mean(axis=1))
            for split, arrays in quality.items()
        },
    }


def _generalisation_gap(
    run: RunDirectory, curve: Mapping[str, Any], confidence: float
) -> dict[str, Any]:
    if not curve["epoch"]:
        raise _unfinished(run, "metrics.jsonl lacks a classifier")
    last = [np.asarray(curve[side]["accuracy"][-1], float) for side in ("train", "validation")]
    gap = last[0] - last[1]
    # One number a trial, no images: of the two parts of the interval only that of trials is there.
    interval = statistics.estimate(np.stack([gap, gap], axis=1), confidence).interval_trials
    return {"mean": gap.mean(), "interval_trials": interval, "per_trial": gap}


def _comparisons(cells: Mapping[Cell, Arrays], config: Config) -> dict[str, Any]:
    """What reconstruction costs: the totals with their own p, the causes corrected as a family."""
    confidence = config.report.confidence
    terms = statistics.decomposition({cell: _correct(arrays) for cell, arrays in cells.items()})
    estimates = {name: statistics.estimate(term, confidence) for name, term in terms.items()}
    p = {name: statistics.two_sided_p(estimate) for name, estimate in estimates.items()}
    p |= statistics.holm({name: p[name] for name in CAUSES if name in p})
    margin = config.report.margin / 100
    return {
        name: estimate.as_json()
        | statistics.verdict(estimate, margin, 1 - confidence, p=p[name]).as_json()
        for name, estimate in estimates.items()
    }
