"""From what a run left on disk to results.json, whose form is in docs/run_directory.md.

Axes: T trials (the seeds of one point), P points of a curve.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from blurjax import measures, recorded, statistics
from blurjax.comparisons import (
    ORIGINAL,
    RECONSTRUCTION,
    Cell,
    above_chance,
    comparisons,
    decomposition,
)
from blurjax.config import Config
from blurjax.errors import UserError
from blurjax.history import Arrays, as_json
from blurjax.recorded import PointRecord, Recorded, points_of
from blurjax.run_directory import FORMAT, RunDirectory, jsonable, read_json
from blurjax.verdicts import smallest_equivalent

OWN_TEST_VIEW = {
    "infold": "crossfit",
    "mixed": "reconstruction",
    "identity": "original",
    "reseeded": "original",
    "shuffled": "original",
}
"""What a view that is not tested on is tested on instead; the others are tested on themselves."""

Block = dict[str, Any]


def collect(run: RunDirectory, config: Config) -> Block:
    """Builds the content of results.json from predictions, metrics and the results.json before it.

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
    source = recorded.read(run, config)
    records = [recorded.of_point(source, point) for point in points_of(config)]
    points = [_point(source, record) for record in records]
    failures = [failure for record in records for failure in record.failures]
    collected = jsonable(
        {
            "format": FORMAT,
            "dataset": source.dataset,
            "views": {"train": config.train_views, "test": config.test_views},
            "points": points,
            "curves": curves(points),
            "tuned": tuned(records, config),
            "audit": _json_or(run, "audit.json", None),
            "looks": [],
            "failures": recorded.unique(failures),
            "seconds": _json_or(run, "seconds.json", {}),
        }
    )
    # As they are read back, so that they can be compared with those of the last time.
    return collected | {"looks": _looks(_before(run), collected["points"])}


def _json_or(run: RunDirectory, name: str, missing: Any) -> Any:
    return read_json(run / name) if (run / name).exists() else missing


def _before(run: RunDirectory) -> Any:
    try:
        return _json_or(run, "results.json", {})
    except UserError as error:
        advice = "Remove it: all but its record of looks is made again."
        raise UserError(f"{error} {advice}") from None


def _point(source: Recorded, record: PointRecord) -> Block:
    """An entry of `points`; its blocks are empty where no trial is left."""
    settings, num_classes = source.config.report, source.num_classes
    confidence, tables, correct = settings.confidence, record.tables, record.correct()
    quality = measures.quality(tables.quality)
    painted = quality.get("reconstruction", {"psnr": {}, "ssim": {}})
    history = {
        "autoencoder": as_json(tables.autoencoder_curves),
        "classifier": {view: as_json(a) for view, a in tables.classifier_curves.items()},
    }
    return {
        "values": record.point._asdict(),
        "trials": record.trials,
        "failures": record.failures,
        **measures.evaluations(tables.cells, num_classes, confidence),
        "reconstruction": {name: painted[name] for name in ("psnr", "ssim")},
        "quality": quality,
        "spectra": measures.spectra(tables.quality),
        "blur": measures.blur(tables.blur),
        "probe": measures.probes(tables.probes, confidence),
        "per_class_change": measures.per_class_change(tables.cells, num_classes, confidence),
        "flips": _flips(source, record, correct),
        "autoencoder_converged": measures.autoencoder_converged(history["autoencoder"]),
        "generalisation_gap": {
            view: measures.generalisation_gap(curve, confidence)
            for view, curve in history["classifier"].items()
        },
        "history": history,
        "decomposition": decomposition(correct, settings),
        "comparisons": comparisons(correct, _above_chance(tables.cells, num_classes), settings),
    }


def _flips(source: Recorded, record: PointRecord, correct: Mapping[Cell, np.ndarray]) -> Block:
    """The test images whose answers differ most often between the two own views, where they were kept."""
    config, point, kept = source.config, record.point, source.flips
    is_first = point[1:] == (config.learning_rates[0], config.weight_decays[0])
    if not is_first or not {ORIGINAL, RECONSTRUCTION} <= correct.keys():
        return {}
    if kept is None or point.bottleneck not in kept["bottleneck"]:
        return {}
    row = kept["bottleneck"].tolist().index(point.bottleneck)
    # Kept while trials could still turn out to be frozen: counted again over those that are left.
    count = statistics.flips(correct[ORIGINAL], correct[RECONSTRUCTION])[kept["index"][row]]
    return {name: kept[name][row] for name in ("index", "name", "label")} | {"count": count}


def _above_chance(cells: Mapping[Cell, Arrays], num_classes: int) -> np.ndarray | None:
    shuffled = cells.get(("shuffled", "original"))
    if shuffled is None:
        return None
    return above_chance(shuffled["label"], shuffled["prediction"], num_classes)


# Across points.


def curves(points: Sequence[Block]) -> list[Block]:
    """Accuracy and PSNR against the bottleneck: one curve per learning rate and weight decay.

    Args:
      points: of results.json; those without trials are left out.
    """
    by_recipe: dict[tuple[float, float], list[Block]] = {}
    for point in sorted(points, key=lambda point: point["values"]["bottleneck"]):
        recipe = point["values"]["learning_rate"], point["values"]["weight_decay"]
        by_recipe.setdefault(recipe, []).append(point)
    return [
        {"learning_rate": rate, "weight_decay": decay} | _curve(line)
        for (rate, decay), line in sorted(by_recipe.items())
        if any(point["trials"] for point in line)
    ]


def _curve(line: Sequence[Block]) -> Block:
    # A point that every trial has left was not shown to be equivalent either.
    verdicts = {
        point["values"]["bottleneck"]: point["decomposition"]
        .get("on_reconstructions", {})
        .get("verdict")
        for point in line
    }
    line = [point for point in line if point["trials"]]
    bottlenecks = [point["values"]["bottleneck"] for point in line]
    first = line[0]
    own = {view: OWN_TEST_VIEW.get(view, view) for view in first["accuracy"]}
    return {
        "bottleneck": bottlenecks,
        "accuracy": {
            view: {"test_view": test}
            | {
                name: [point["accuracy"][view][test][name] for point in line]
                for name in ("mean", "interval", "interval_trials")
            }
            for view, test in own.items()
            if test in first["accuracy"][view]
        },
        "psnr": {
            view: [point["quality"][view]["psnr"]["test"]["mean"] for point in line]
            for view in first["quality"]
            if view != "original"
        },
        "verdict": [verdicts[bottleneck] for bottleneck in bottlenecks],
        "smallest_equivalent": smallest_equivalent(verdicts),
    }


def tuned(records: Sequence[PointRecord], config: Config) -> list[Block] | None:
    """Results with the learning rate that suits each train view best, by its own validation images.

    One entry per bottleneck and weight decay that has trials left; None where no learning rates
    are swept.
    """
    if len(config.learning_rates) < 2:
        return None
    blocks = []
    for bottleneck, decay in itertools.product(config.bottlenecks, config.weight_decays):
        candidates = [
            record
            for record in records
            if record.trials
            and (record.point.bottleneck, record.point.weight_decay) == (bottleneck, decay)
        ]
        if candidates:
            block = {"bottleneck": bottleneck, "weight_decay": decay}
            blocks.append(block | _tuned(candidates, config))
    return blocks


def _tuned(candidates: Sequence[PointRecord], config: Config) -> Block:
    chosen = {
        view: max(candidates, key=lambda record, view=view: _last_validation(record, view))
        for view in config.train_views
    }
    common = set.intersection(*(set(record.trials) for record in chosen.values()))
    trials = [seed for seed in config.seeds if seed in common]
    accuracy: Block = {}
    correct: dict[Cell, np.ndarray] = {}
    for train, record in chosen.items() if trials else ():
        rows = [record.trials.index(seed) for seed in trials]
        for (view, test), answers in record.correct().items():
            if view == train:
                correct[train, test] = answers[rows]
                entry = statistics.accuracy(answers[rows], config.report.confidence).as_json()
                accuracy.setdefault(train, {})[test] = entry
    return {
        "learning_rate": {view: record.point.learning_rate for view, record in chosen.items()},
        "trials": trials,
        "accuracy": accuracy,
        "decomposition": decomposition(correct, config.report),
    }


def _last_validation(record: PointRecord, view: str) -> float:
    curves = record.tables.classifier_curves[view]
    return float(np.mean(curves["validation.accuracy"][:, -1]))


def _looks(before: Mapping[str, Any], points: Sequence[Block]) -> list[Block]:
    """Every set of trials whose results anyone has seen, and what the primary comparison then was.

    Adding trials until a p is small enough raises false alarms; here it is on the record.
    """

    def seen(points: Iterable[Mapping[str, Any]]) -> list[tuple[Any, Any]]:
        return [(point["values"], point["trials"]) for point in points]

    looks = before.get("looks", [])
    if looks and seen(before["points"]) == seen(points):
        return looks
    return [*looks, {"points": [_look(point) for point in points]}]


def _look(point: Mapping[str, Any]) -> Block:
    total = point["decomposition"].get("on_reconstructions", {})
    primary = {name: total.get(name) for name in ("mean", "interval", "p")}
    return {"values": point["values"], "trials": len(point["trials"]), **primary}
