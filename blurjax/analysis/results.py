"""From what a run left on disk to results.json, whose form is in docs/run_directory.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from blurjax.analysis import measures, recorded, statistics
from blurjax.analysis.across_points import curves, primary, tuned
from blurjax.analysis.comparisons import (
    ORIGINAL,
    RECONSTRUCTION,
    Cell,
    above_chance,
    comparisons,
    decomposition,
)
from blurjax.analysis.history import Arrays, as_json
from blurjax.analysis.recorded import PointRecord, Recorded, points_of
from blurjax.config.settings import Config
from blurjax.runtime.errors import UserError
from blurjax.runtime.run_directory import FORMAT, RunDirectory, jsonable, read_json

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
    total = {name: primary(point).get(name) for name in ("mean", "interval", "p")}
    return {"values": point["values"], "trials": len(point["trials"]), **total}
