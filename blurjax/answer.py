"""What a run shows, in sentences computed from results.json.

No sentence claims a direction that its interval does not show. `point` is an entry of `points`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blurjax import statistics
from blurjax.statistics import FEWEST_TRIALS

Results = Mapping[str, Any]
Point = Mapping[str, Any]

OWN = {"original": "originals", "reconstruction": "reconstructions"}


def percent(share: float | None) -> str:
    """A share as a percentage with one decimal; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.1f}%"


def signed(share: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−")


def span(interval: Sequence[float], write: Any = percent) -> str:
    """An interval in words."""
    return f"{write(interval[0])} to {write(interval[1])}"


def contains_zero(interval: Sequence[float]) -> bool:
    """Whether the interval leaves the direction open."""
    return interval[0] <= 0 <= interval[1]


def answer(results: Results, confidence: float) -> list[str]:
    """The answer to the run's question, as paragraphs."""
    points = [point for point in results["points"] if point["trials"]]
    if not points:
        return [
            "Every trial was frozen because a number was not finite: there is nothing to report."
        ]
    opening = [of_point(points[0], confidence)] if len(points) == 1 else _of_points(points)
    return [*opening, _test_set(results["dataset"]), *_caution(points)]


def of_point(point: Point, confidence: float) -> str:
    """What reconstruction costs at one point; else how accurate the classifiers are."""
    cost = point["comparisons"].get("on_reconstructions")
    if cost is None:
        return _accuracies(point)
    original = point["accuracy"]["original"]["original"]["mean"]
    painted = point["accuracy"]["reconstruction"]["reconstruction"]["mean"]
    floats, psnr = point["values"]["bottleneck"], point["reconstruction"]["psnr"]["test"]["mean"]
    quality = "" if psnr is None else f", PSNR {psnr:.1f} dB"
    return (
        f"Trained and tested on reconstructions ({_count(floats, 'float')} kept{quality}), "
        f"classifiers reach {percent(painted)}; trained and tested on originals, "
        f"{percent(original)}. {_cost(cost, confidence)} {_verdict(cost)}"
    )


def _cost(cost: Mapping[str, Any], confidence: float) -> str:
    level, interval = f"{100 * confidence:g}% interval", span(cost["interval"], signed)
    if contains_zero(cost["interval"]):
        return (
            f"The difference is {signed(cost['mean'])} points and its {level}, {interval}, "
            "contains 0: this run shows no direction."
        )
    change = "costs" if cost["mean"] > 0 else "gains"
    size = f"{100 * abs(cost['mean']):.1f}"
    return f"Reconstruction {change} {size} points of accuracy ({level} of the cost: {interval})."


def _verdict(cost: Mapping[str, Any]) -> str:
    if cost["verdict"] is None:
        return cost["sentence"]
    margin = 100 * cost["margin"]
    return f"Verdict against a margin of ±{_count(margin, 'point')}: {cost['sentence']}"


def _accuracies(point: Point) -> str:
    cells = [
        f"{percent(cell['mean'])} trained on {train}, tested on {test}"
        for train, row in point["accuracy"].items()
        for test, cell in row.items()
    ]
    return f"Mean accuracy: {'; '.join(cells)}."


def _of_points(points: Sequence[Point]) -> list[str]:
    verdicts: dict[str, list[str]] = {}
    for point in points:
        cost = point["comparisons"].get("on_reconstructions")
        if cost is not None:
            verdicts.setdefault(cost["verdict"] or "no verdict", []).append(
                f"{name_of(point, points)} ({signed(cost['mean'])})"
            )
    judged = [f"{verdict} at {', '.join(names)}" for verdict, names in verdicts.items()]
    sentences = [f"{len(points)} points were compared."]
    if judged:
        sentences.append(
            "Cost in points of accuracy of training and testing on reconstructions instead of "
            f"originals: {'; '.join(judged)}."
        )
    return [" ".join(sentences + _smallest(points))]


def _smallest(points: Sequence[Point]) -> list[str]:
    """The smallest equivalent bottleneck, if nothing else varies and all have a verdict."""
    costs = {
        point["values"]["bottleneck"]: point["comparisons"].get("on_reconstructions")
        for point in points
    }
    if len(costs) < len(points) or not all(c and c["verdict"] for c in costs.values()):
        return []
    names = ("p", "margin", "smallest_margin", "trials_needed", "sentence")
    smallest = statistics.smallest_equivalent(
        {floats: Verdict(c["verdict"], *(c[name] for name in names)) for floats, c in costs.items()}
    )
    if smallest is None:
        return ["Not even the widest bottleneck was shown to be equivalent to the original."]
    return [
        f"The smallest bottleneck shown to be equivalent to the original is {smallest} floats "
        "(tested from the widest down, stopping at the first failure)."
    ]


def name_of(point: Point, points: Sequence[Point]) -> str:
    """The values in which a point differs from the others."""
    values = point["values"]
    varying = [name for name in values if len({other["values"][name] for other in points}) > 1]
    words = {
        "bottleneck": lambda value: _count(value, "float"),
        "learning_rate": lambda value: f"learning rate {value:g}",
        "weight_decay": lambda value: f"weight decay {value:g}",
    }
    return " and ".join(words[name](values[name]) for name in varying or ["bottleneck"])


def _test_set(dataset: Mapping[str, Any]) -> str:
    counts, size = dataset["class_counts"]["test"], dataset["examples"]["test"]
    chance = max(counts) / sum(counts)
    return (
        f"The test set has {_count(size, 'image')}, so one point is {_count(size / 100, 'image')}; "
        f"always naming its most frequent class would reach {percent(chance)}."
    )


def _caution(points: Sequence[Point]) -> list[str]:
    fewest = min(len(point["trials"]) for point in points)
    if fewest >= FEWEST_TRIALS:
        return []
    return [
        f"Caution: with {_count(fewest, 'trial')} nothing is known about how much trials differ. "
        f"Intervals cover the choice of test images only; run at least {FEWEST_TRIALS} trials "
        "for a verdict."
    ]


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}" + ("" if number == 1 else "s")


# The first experiment.


def first_experiment(point: Point, confidence: float) -> str:
    """What the experiment of 2020 (training climbed, validation did not) probably saw."""
    history = point["history"]["classifier"]["reconstruction"]
    own = _gap(history, "validation")
    sentence = (
        "The experiment of 2020 saw training accuracy climb and validation accuracy stay behind. "
        "Here, trained on reconstructions, the gap between the two went from "
        f"{signed(own[0].mean())} points after the first epoch to {signed(own[-1].mean())} after "
        "the last when validated on reconstructions"
    )
    if "validation_original" not in history:
        return sentence + "."
    other = _gap(history, "validation_original")
    sentence += (
        f", and from {signed(other[0].mean())} to {signed(other[-1].mean())} when validated on "
        "originals"
    )
    return sentence + _which(other[-1] - own[-1], confidence)


def _which(excess: np.ndarray, confidence: float) -> str:
    """Whether it matters what was validated on; excess[T]: how much larger the originals' gap is."""
    twice = np.stack([excess, excess], axis=1)  # no images: the interval of trials alone
    interval = statistics.estimate(twice, confidence).interval_trials
    size = f"{signed(excess.mean())} points"
    if interval is None:
        return f": a difference of {size}, in too few trials to tell from chance."
    level = f"{100 * confidence:g}% interval over trials {span(interval, signed)}"
    if contains_zero(interval):
        return (
            f": a difference of {size} ({level}), so whether it validated on the one or the other "
            "is not what this run can tell apart."
        )
    wider = "originals" if excess.mean() > 0 else "reconstructions"
    return (
        f": a difference of {size} ({level}), so it probably saw more of a gap if it validated on "
        f"{wider}."
    )


def _gap(history: Mapping[str, Any], side: str) -> np.ndarray:
    """[E,T]: accuracy on train minus on this side."""
    train, other = (np.array(history[key]["accuracy"], float) for key in ("train", side))
    return train - other
