"""Compares finished runs: what was set otherwise, what came out, and paired differences where these are possible.

Axes: T trials, N test images.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blurjax.analysis import limits, statistics
from blurjax.analysis.compared_run import Run, corresponding, read_run, same_test_images
from blurjax.analysis.contrasts import PRIMARY, costs
from blurjax.analysis.types import Block, Cell
from blurjax.analysis.verdicts import verdict
from blurjax.config.loading import flat
from blurjax.config.settings import ReportConfig
from blurjax.config.view_table import VIEWS, in_order
from blurjax.runtime import UserError, jsonable

ENVIRONMENT = ("python", "backend", "devices")


def collect_comparison(directories: Sequence[Path]) -> Block:
    """Compares finished runs with the first of them.

    Args:
      directories: at least two run directories, which are only read.

    Returns:
      The COMPARISON of docs/comparing.md, as plain lists, numbers and strings, with the `history` of each point.

    Raises:
      UserError: a directory is no finished run, or there are fewer than two different ones.
    """
    if len({path.resolve() for path in directories}) < max(2, len(directories)):
        raise UserError("A comparison needs two or more different run directories; name others.")
    first, *others = runs = [read_run(path) for path in directories]
    pairs = [pair for other in others for pair in _pairs(first, other)]
    return jsonable(
        {
            "runs": [_describe(run) for run in runs],
            "settings": [*_settings_that_differ(runs)],
            "points": [
                {"run": run.name} | _summary(point)
                for run in runs
                for point in run.results["points"]
            ],
            "pairs": _judged(pairs, first.config.report),
            # One about the first run alone is said once.
            "limits": [
                *dict.fromkeys(s for other in others for s in limits.limits_of(first, other, pairs))
            ],
        }
    )


def _describe(run: Run) -> Block:
    dataset = run.results["dataset"]
    return {
        "name": run.name,
        "dataset": {name: dataset[name] for name in ("name", "image_shape", "examples")}
        | {"classes": len(dataset["class_names"])},
        "seeds": run.config.seeds,
        "confidence": run.config.report.confidence,
        "margin": run.config.report.margin / 100,
    }


def _settings_that_differ(runs: Sequence[Run]) -> Iterator[Block]:
    """Yields what was not the same in all runs: settings, then facts of the data, then versions and devices."""
    for facts in ([flat(run.config) for run in runs], [*map(_facts, runs)]):
        for name in dict.fromkeys(itertools.chain(*facts)):
            values = [fact.get(name) for fact in facts]
            if any(value != values[0] for value in values):
                yield {"name": name, "values": values}


def _facts(run: Run) -> dict[str, Any]:
    dataset, environment = run.results["dataset"], run.environment
    packages, commit = environment.get("packages", {}), environment.get("git_commit")
    return {
        "data set": dataset["name"],
        **{f"{split} images": number for split, number in dataset["examples"].items()},
        "image shape": dataset["image_shape"],
        "classes": len(dataset["class_names"]),
        **{name: environment.get(name) for name in ENVIRONMENT},
        "git commit": commit and commit.replace(commit[12:40], ""),
        **{f"version of {name}": packages[name] for name in packages},
    }


def _summary(point: Mapping[str, Any]) -> Block:
    """Returns what a table shows of a point, and its curves."""
    accuracy, history = point["accuracy"], point["history"]
    psnr = point["reconstruction"]["psnr"].get("test", {}).get("mean")
    return {
        "values": point["values"],
        "trials": point["trials"],
        "accuracy": {
            view: accuracy[view][VIEWS[view].own_test_view]
            for view in in_order(accuracy)
            if VIEWS[view].own_test_view in accuracy[view]
        },
        "cost": point["decomposition"].get(PRIMARY),
        "psnr": psnr,
        "history": {
            "autoencoder": history["autoencoder"],
            **{
                v: history["classifier"][v]
                for v in ("original", "reconstruction")
                if v in history["classifier"]
            },
        },
    }


def _pairs(first: Run, other: Run) -> list[Block]:
    """Returns the paired differences of two runs at the points that correspond; none where test images are others."""
    if same_test_images(first.results["dataset"], other.results["dataset"]) is not True:
        return []
    return [
        pair
        for i, j in corresponding(first.points, other.points)
        if (pair := _pair(first, other, i, j)) is not None
    ]


def _pair(first: Run, other: Run, i: int, j: int) -> Block | None:
    """Returns the differences at two points, over the seeds that both have; None without any."""
    points = first.points[i], other.points[j]
    trials = [seed for seed in points[0].seeds if seed in points[1].seeds]
    if not trials:
        return None
    one, two = (
        {
            cell: answers[[point.seeds.index(seed) for seed in trials]]
            for cell, answers in point.correct().items()
        }
        for point in points
    )
    confidence = first.config.report.confidence
    costs_of = [{**totals, **causes} for totals, causes in map(costs, (one, two))]
    values = {"accuracy": _lost(one, two), "cost": _more(*costs_of)}
    blocks = first.results["points"][i], other.results["points"][j]
    return {
        "first": first.name,
        "second": other.name,
        "values": [point.point._asdict() for point in points],
        "trials": trials,
        "learned": all(block["chance"].get("learned", True) for block in blocks),
        "own_costs": {name: [own[name].mean() for own in costs_of] for name in values["cost"]},
        **{
            kind: {name: _difference(v, confidence) for name, v in by_name.items()}
            for kind, by_name in values.items()
        },
    }


def _lost(one: Mapping[Cell, np.ndarray], two: Mapping[Cell, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns by how much the first run is more often right, f64[T,N] for each train view on its own test view."""
    cells = [(view, VIEWS[view].own_test_view) for view in in_order({train for train, _ in one})]
    return {
        view: statistics.paired(one[view, test], two[view, test])
        for view, test in cells
        if (view, test) in one and (view, test) in two
    }


def _more(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns by how much more each cost and cause is in the second run, f64[T,N]."""
    return {
        name: statistics.paired(second[name], values)
        for name, values in first.items()
        if name in second
    }


def _difference(values: np.ndarray, confidence: float) -> Any:
    return statistics.difference(values, confidence), not values.any()


def _judged(pairs: Sequence[Block], settings: ReportConfig) -> list[Block]:
    """Returns the pairs with estimates as JSON; the primary difference of each has a p, corrected for their number."""
    estimates = {
        number: pair["cost"][PRIMARY][0]
        for number, pair in enumerate(pairs)
        if PRIMARY in pair["cost"]
    }
    p = statistics.holm({str(n): statistics.two_sided_p(e) for n, e in estimates.items()})
    margin, alpha = settings.margin / 100, 1 - settings.confidence
    judged = []
    for number, pair in enumerate(pairs):
        block = pair | {
            kind: {
                name: estimate.as_json() | {"exact": exact}
                for name, (estimate, exact) in pair[kind].items()
            }
            for kind in ("accuracy", "cost")
        }
        if number in estimates:
            found = verdict(estimates[number], margin, alpha, p=p[str(number)])._asdict()
            if not pair["learned"]:
                found |= {"verdict": None, "sentence": limits.NOTHING_LEARNED}
            block["cost"][PRIMARY] |= found
        judged.append(block)
    return judged
