"""Results that several points have a part in: curves against the bottleneck, and tuned learning rates."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blurjax.analysis import statistics
from blurjax.analysis.comparisons import decomposition
from blurjax.analysis.recorded import PointRecord
from blurjax.analysis.verdicts import smallest_equivalent
from blurjax.config.settings import Config

OWN_TEST_VIEW = {
    "infold": "crossfit",
    "mixed": "reconstruction",
    "identity": "original",
    "reseeded": "original",
    "shuffled": "original",
}
"""What a view that is not tested on is tested on instead; the others are tested on themselves."""

Block = dict[str, Any]


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
    verdicts = {point["values"]["bottleneck"]: primary(point).get("verdict") for point in line}
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
    correct = {
        (train, test): answers[[record.trials.index(seed) for seed in trials]]
        for train, record in chosen.items()
        for (view, test), answers in record.correct().items()
        if view == train and trials
    }
    accuracy: Block = {}
    for (train, test), answers in correct.items():
        entry = statistics.accuracy(answers, config.report.confidence).as_json()
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


def primary(point: Mapping[str, Any]) -> Mapping[str, Any]:
    """The primary comparison; empty where its cells or trials are not there."""
    return point["decomposition"].get("on_reconstructions", {})
