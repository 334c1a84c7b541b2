"""Builds results.json, whose form is in docs/run_directory.md, from what a run left on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blurjax.analysis import scores, statistics
from blurjax.analysis.chance import chance_of_originals, withhold, withhold_of_warm_starts
from blurjax.analysis.contrasts import (
    ORIGINAL,
    PRIMARY,
    RECONSTRUCTION,
    SHUFFLED,
    WARM_STARTS,
    checks,
    compare,
    decompose,
)
from blurjax.analysis.recorded_run import RecordedPoint, RecordedRun
from blurjax.analysis.training_length import evaluated_accuracy, training_length
from blurjax.analysis.types import Block
from blurjax.analysis.verdicts import smallest_equivalent
from blurjax.config.settings import Config
from blurjax.config.trials import points, views_in_use
from blurjax.config.view_table import VIEWS
from blurjax.runtime import FORMAT, RunDirectory, UserError, jsonable, read_json


def collect_results(run: RunDirectory, config: Config) -> Block:
    """Computes the content of results.json from predictions, metrics and the results.json before it.

    Only trials that the settings ask for count, and of these only complete cases: a trial with a
    model that was frozen leaves all views of its point, and is listed under `failures`.

    Args:
      run: a run whose classifiers are all evaluated.
      config: its settings, fitted to the data.

    Returns:
      Plain lists, numbers and strings, as they are read back from results.json.

    Raises:
      Unfinished: something is not there yet.
      UserError: something is damaged.
    """
    recorded = RecordedRun(run, config)
    known = read_json(run.fingerprints) if run.fingerprints.exists() else {}
    recorded_points = [recorded.at(point) for point in points(config)]
    failures = dict.fromkeys(f for point in recorded_points for f in point.failures)
    blocks = [_point(recorded, point) for point in recorded_points]
    results = jsonable(
        {
            "format": FORMAT,
            "dataset": recorded.dataset,
            "views": {"train": config.train_views, "test": config.test_views},
            "evaluation": config.classifier.model_dump(include={"mirror_test", "select"}),
            "points": blocks,
            "curves": _curves(blocks),
            "tuned": _tuned(recorded_points, config),
            "audit": read_json(run.audit) if run.audit.exists() else None,
            "accepted_changes": known.get("accepted_changes", []),
            "analyses": [],
            "failures": [failure._asdict() for failure in failures],
            "seconds": read_json(run.seconds) if run.seconds.exists() else {},
        }
    )
    # Compared with those of before, in the form in which they are read back.
    return results | {"analyses": _analyses(run, results["points"])}


def _point(recorded: RecordedRun, point: RecordedPoint) -> Block:
    """Computes an entry of `points`; its blocks are empty where no trial is left."""
    settings, num_classes = recorded.config.report, len(recorded.dataset["class_names"])
    confidence, correct = settings.confidence, point.correct()
    quality = scores.image_quality(point.quality)
    rebuilt, fitted, blur = quality.get("reconstruction", {}), point.fitted_views, {}
    if fitted:
        blur = {"sigma": scores.mean_and_trials(fitted["sigma"]), "reachable": fitted["reachable"]}
    shuffled = point.cells.get((SHUFFLED, VIEWS[SHUFFLED].own_test_view))
    chance = chance_of_originals(correct, point, confidence)
    probed = {kind: a["prediction"] == a["label"] for kind, a in point.probes.items()}
    # Probes have all labels of the train split.
    on_code = probed if point.point.train_examples is None else {}
    compared = compare(correct, shuffled, num_classes, settings, on_code=on_code)
    if "identity" in compared:
        first, second = (point.cells[cell]["prediction"] for cell in checks()["identity"])
        compared["identity"]["exact"] = np.array_equal(first, second)
    warm = {name: compared.pop(name) for name in WARM_STARTS if name in compared}
    return {
        "values": point.point._asdict(),
        "trials": point.seeds,
        "failures": [failure._asdict() for failure in point.failures],
        **scores.transfer_scores(point.cells, num_classes, confidence),
        "chance": chance,
        "reconstruction": {n: rebuilt.get(n, {}) for n in ("psnr", "ssim")},
        "quality": quality,
        "spectra": scores.spectra(point.quality),
        "blur": blur,
        "sizes": _sizes(recorded, point),
        "probe": {
            kind: statistics.accuracy(answers, confidence).as_json()
            for kind, answers in probed.items()
        },
        "per_class_psnr": scores.per_class_psnr(point.quality, point.cells, num_classes),
        "per_class_change": scores.per_class_change(point.cells, num_classes, confidence),
        "flips": _flips(recorded, point),
        "training_length": training_length(point, recorded.config),
        "generalisation_gap": {
            view: scores.generalisation_gap(curves, confidence)
            for view, curves in point.classifier_curves.items()
        },
        "history": {
            "autoencoder": scores.history(point.autoencoder_curves),
            "classifier": {v: scores.history(c) for v, c in point.classifier_curves.items()},
        },
        "decomposition": withhold(decompose(correct, settings), chance),
        "comparisons": withhold(compared, chance)
        | withhold_of_warm_starts(warm, point, confidence),
    }


def _sizes(recorded: RecordedRun, point: RecordedPoint) -> Block:
    """Returns what an image takes in the views that are compressed, and how the codecs were fitted."""
    height, width, _ = recorded.dataset["image_shape"]
    sizes = {codec: arrays["bytes"].astype(np.float64) for codec, arrays in point.codecs.items()}
    if "quantised" in views_in_use(recorded.config) and point.seeds:
        sizes = {"quantised": np.full(len(point.seeds), float(point.point.bottleneck))} | sizes
    return {
        view: {
            "bytes": scores.mean_and_trials(size),
            "bits_per_pixel": scores.mean_and_trials(8 * size / (height * width)),
        }
        | (
            {
                "quality": scores.mean_and_trials(point.codecs[view]["quality"]),
                "reachable": point.codecs[view]["reachable"],
            }
            if view in point.codecs
            else {}
        )
        for view, size in sizes.items()
    }


def _flips(recorded: RecordedRun, point: RecordedPoint) -> Block:
    """Returns the test images whose correctness differs most often between originals and reconstructions.

    Empty where they were not kept: they are for the first of the swept values other than the bottleneck.
    """
    config, kept, correct = recorded.config, recorded.flips, point.correct()
    bottleneck = point.point.bottleneck
    is_first = point.point == next(p for p in points(config) if p.bottleneck == bottleneck)
    if kept is None or not is_first or not {ORIGINAL, RECONSTRUCTION} <= correct.keys():
        return {}
    if bottleneck not in kept["bottleneck"]:
        return {}
    row = kept["bottleneck"].tolist().index(bottleneck)
    # Kept while trials could still turn out to be frozen: counted again over those that are left.
    count = statistics.flips(correct[ORIGINAL], correct[RECONSTRUCTION])[kept["index"][row]]
    shown = {name: kept[name][row] for name in ("index", "name", "label")} | {"count": count}
    return shown | scores.usual_answers(point.cells, kept["index"][row])


def _curves(points: Sequence[Block]) -> list[Block]:
    """Computes accuracy and PSNR against the bottleneck: one curve per combination of the other values."""
    lines: dict[tuple[float, float, float], list[Block]] = {}
    for point in sorted(points, key=lambda point: point["values"]["bottleneck"]):
        _, rate, decay, labels = point["values"].values()
        lines.setdefault((rate, decay, labels or math.inf), []).append(point)
    others = ("learning_rate", "weight_decay", "train_examples")
    return [
        {name: line[0]["values"][name] for name in others} | _curve(line)
        for _, line in sorted(lines.items())
        if any(point["trials"] for point in line)
    ]


def _curve(line: Sequence[Block]) -> Block:
    # A point that every trial has left was not shown to be equivalent either.
    verdicts = {point["values"]["bottleneck"]: _primary(point).get("verdict") for point in line}
    line = [point for point in line if point["trials"]]
    bottlenecks = [point["values"]["bottleneck"] for point in line]
    accuracy: Block = {}
    for view, row in line[0]["accuracy"].items():
        test = VIEWS[view].own_test_view
        if test in row:
            entries = [point["accuracy"][view][test] for point in line]
            accuracy[view] = {"test_view": test} | {
                name: [entry[name] for entry in entries]
                for name in ("mean", "interval", "interval_trials")
            }
    return {
        "bottleneck": bottlenecks,
        "accuracy": accuracy,
        "psnr": {
            view: [point["quality"][view]["psnr"]["test"]["mean"] for point in line]
            for view in line[0]["quality"]
            if view != "original"
        },
        "verdict": [verdicts[bottleneck] for bottleneck in bottlenecks],
        "smallest_equivalent": smallest_equivalent(verdicts),
    }


def _tuned(points: Sequence[RecordedPoint], config: Config) -> list[Block] | None:
    """Computes results with the learning rate that suits each train view best, by its own validation images.

    One entry per combination of the other values that has trials left; None where no learning
    rates are swept.
    """
    if len(config.learning_rates) < 2:
        return None
    blocks = []
    for values in dict.fromkeys(p.point._replace(learning_rate=0) for p in points):
        at_values = [p for p in points if p.seeds and p.point._replace(learning_rate=0) == values]
        if not at_values:
            continue
        best = {}
        for view in config.train_views:
            curves = [p.classifier_curves[view] for p in at_values]
            accuracies = [evaluated_accuracy(c, config).mean() for c in curves]
            best[view] = at_values[np.argmax(accuracies)]
        blocks.append(values._asdict() | _with_rates(best, config))
    return blocks


def _with_rates(best: Mapping[str, RecordedPoint], config: Config) -> Block:
    """Computes accuracies and causes with each train view's own point; trials that failed in any leave all."""
    trials = [seed for seed in config.seeds if all(seed in point.seeds for point in best.values())]
    correct = {
        (train, test): answers[[point.seeds.index(seed) for seed in trials]]
        for train, point in best.items()
        for (view, test), answers in point.correct().items()
        if view == train and trials
    }
    chance = chance_of_originals(correct, best.get("original"), config.report.confidence)
    accuracy: Block = {}
    for (train, test), answers in correct.items():
        entry = statistics.accuracy(answers, config.report.confidence).as_json()
        accuracy.setdefault(train, {})[test] = entry
    return {
        "learning_rate": {view: point.point.learning_rate for view, point in best.items()},
        "trials": trials,
        "accuracy": accuracy,
        "decomposition": withhold(decompose(correct, config.report), chance),
    }


def _analyses(run: RunDirectory, points: Sequence[Block]) -> list[Block]:
    """Returns every set of trials whose results were ever computed here, and the primary comparison of each.

    Adding trials until a p is small enough raises false alarms; this puts it on record.
    """
    try:
        before = read_json(run.results) if run.results.exists() else {}
    except UserError as error:
        advice = "Remove it: everything but its record of analyses is computed again."
        raise UserError(f"{error} {advice}") from None
    analyses = before.get("analyses", [])
    # Results of earlier versions do not name the number of labelled images.
    old, new = (
        [({"train_examples": None} | point["values"], point["trials"]) for point in block]
        for block in (before.get("points", []), points)
    )
    if analyses and old == new:
        return analyses
    latest = [
        {"values": point["values"], "trials": len(point["trials"])}
        | {name: _primary(point).get(name) for name in ("mean", "interval", "p")}
        for point in points
    ]
    return [*analyses, {"points": latest}]


def _primary(point: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the primary comparison; empty where its cells or trials are not there."""
    return point["decomposition"].get(PRIMARY, {})
