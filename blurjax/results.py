"""From what a run left on disk to results.json, whose form is in docs/run_directory.md.

Axes: T trials (the seeds of one point), P points of a curve.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from blurjax import measures, recorded, scores, statistics
from blurjax.comparisons import Judging, comparisons, decomposition
from blurjax.config import Config
from blurjax.errors import UserError
from blurjax.recorded import Arrays, Cell, PointRecord, Recorded, points_of
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
    return jsonable(
        {
            "format": FORMAT,
            "dataset": source.dataset,
            "views": {"train": config.train_views, "test": config.test_views},
            "points": points,
            "curves": curves(points),
            "tuned": tuned(records, config),
            "audit": _json_or(run, "audit.json", None),
            "looks": _looks(_before(run), jsonable(points)),
            "failures": recorded.unique(failures),
            "seconds": _json_or(run, "seconds.json", {}),
        }
    )


def _json_or(run: RunDirectory, name: str, missing: Any) -> Any:
    return read_json(run / name) if (run / name).exists() else missing


def _before(run: RunDirectory) -> Any:
    try:
        return _json_or(run, "results.json", {})
    except UserError as error:
        advice = "Remove it: all but its record of looks is made again."
        raise UserError(f"{error} {advice}") from None


def _judging(config: Config) -> Judging:
    return Judging(config.report.confidence, config.report.margin / 100)


def _point(source: Recorded, record: PointRecord) -> Block:
    block = {
        "values": record.point._asdict(),
        "trials": record.trials,
        "failures": record.failures,
    }
    return block | (_measurements(source, record) if record.trials else _nothing_left())


def _measurements(source: Recorded, record: PointRecord) -> Block:
    """The blocks of a point that are numbers."""
    config, num_classes = source.config, len(source.class_names)
    confidence = config.report.confidence
    if not all(curve["epoch"] for curve in record.curves["classifier"].values()):
        raise recorded.unfinished(source.directory, "metrics.jsonl lacks a classifier")
    quality = measures.quality(record.quality)
    painted = quality.get("reconstruction", {"psnr": {}, "ssim": {}})
    return measures.evaluations(record.cells, num_classes, confidence) | {
        "reconstruction": {name: painted[name] for name in ("psnr", "ssim")},
        "quality": quality,
        "spectra": measures.spectra(record.quality),
        "blur": measures.blur(record.blur),
        "probe": measures.probes(record.probes, confidence),
        "per_class_change": measures.per_class_change(record.cells, num_classes, confidence),
        "flips": measures.flips(source.flips, record.point.bottleneck)
        if _is_first(record, config)
        else {},
        "autoencoder_converged": measures.autoencoder_converged(record.curves["autoencoder"]),
        "generalisation_gap": {
            view: measures.generalisation_gap(curve, confidence)
            for view, curve in record.curves["classifier"].items()
        },
        "history": record.curves,
        "decomposition": decomposition(record.correct(), _judging(config)),
        "comparisons": comparisons(
            record.correct(), _above_chance(record.cells, num_classes), _judging(config)
        ),
    }


def _is_first(record: PointRecord, config: Config) -> bool:
    """Whether it is the point of its bottleneck whose images were kept."""
    return record.point[1:] == (config.learning_rates[0], config.weight_decays[0])


def _above_chance(cells: Mapping[Cell, Arrays], num_classes: int) -> np.ndarray | None:
    shuffled = cells.get(("shuffled", "original"))
    if shuffled is None:
        return None
    return scores.above_chance(shuffled["label"], shuffled["prediction"], num_classes)


def _nothing_left() -> Block:
    """The blocks of a point that every trial has left."""
    cells = ("accuracy", "loss", "ece", "per_class", "confusion")
    views = ("quality", "spectra", "blur", "probe", "per_class_change", "flips")
    others = ("autoencoder_converged", "generalisation_gap", "decomposition", "comparisons")
    return {
        **{name: {} for name in (*cells, *views, *others)},
        "reconstruction": {"psnr": {}, "ssim": {}},
        "history": {"autoencoder": {"epoch": []}, "classifier": {}},
    }


# Across points.


def own_test_view(view: str, test_views: Iterable[str]) -> str | None:
    """The test view that answers how well classifiers do what they were trained for; None: not tested."""
    own = OWN_TEST_VIEW.get(view, view)
    return own if own in test_views else None


def curves(points: Sequence[Block]) -> list[Block]:
    """Accuracy and PSNR against the bottleneck: one curve per learning rate and weight decay.

    Args:
      points: of results.json; those without trials are left out.
    """
    by_recipe: dict[tuple[float, float], list[Block]] = {}
    for point in sorted(points, key=lambda point: point["values"]["bottleneck"]):
        if point["trials"]:
            recipe = point["values"]["learning_rate"], point["values"]["weight_decay"]
            by_recipe.setdefault(recipe, []).append(point)
    return [
        {"learning_rate": rate, "weight_decay": decay} | _curve(line)
        for (rate, decay), line in sorted(by_recipe.items())
    ]


def _curve(line: Sequence[Block]) -> Block:
    first, bottlenecks = line[0], [point["values"]["bottleneck"] for point in line]
    own = {view: own_test_view(view, tests) for view, tests in first["accuracy"].items()}
    verdicts = {
        point["values"]["bottleneck"]: total["verdict"]
        for point in line
        if (total := point["decomposition"].get("on_reconstructions"))
    }
    return {
        "bottleneck": bottlenecks,
        "accuracy": {
            view: {"test_view": test}
            | {
                name: [point["accuracy"][view][test][name] for point in line]
                for name in ("mean", "interval", "interval_trials")
            }
            for view, test in own.items()
            if test is not None
        },
        "psnr": {
            view: [point["quality"][view]["psnr"]["test"]["mean"] for point in line]
            for view in first["quality"]
            if view != "original"
        },
        "verdict": [verdicts.get(bottleneck) for bottleneck in bottlenecks],
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
            if record.trials and record.point[::2] == (bottleneck, decay)
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
    block: Block = {
        "learning_rate": {view: record.point.learning_rate for view, record in chosen.items()},
        "trials": trials,
    }
    if not trials:
        return block | {"accuracy": {}, "decomposition": {}}
    restricted = {record.point: record.only(trials) for record in chosen.values()}
    cells = {
        (train, test): restricted[record.point][train, test]
        for train, record in chosen.items()
        for test in config.test_views
    }
    correct = {cell: a["prediction"] == a["label"] for cell, a in cells.items()}
    accuracy: Block = {}
    for (train, test), answers in correct.items():
        entry = statistics.accuracy(answers, config.report.confidence).as_json()
        accuracy.setdefault(train, {})[test] = entry
    terms = decomposition(correct, _judging(config))
    return block | {"accuracy": accuracy, "decomposition": terms}


def _last_validation(record: PointRecord, view: str) -> float:
    return float(np.mean(record.curves["classifier"][view]["validation"]["accuracy"][-1]))


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
