"""What a run shows, in sentences computed from results.json.

No sentence claims a direction that its interval does not show. `point` is an entry of `points`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from blurjax.analysis.formatting import count, level, p_in_words, percent, signed, signed_span
from blurjax.analysis.statistics import FEWEST_TRIALS

Results = Mapping[str, Any]
Point = Mapping[str, Any]

CAUSES = {
    "information": "lost information, what this learner can no longer use,",
    "leakage": "leakage, the autoencoder having seen the training images,",
}
"""Cause -> what it is called in a sentence."""
MOST_POINTS_NAMED = 4
"""Of more points verdicts are counted."""


class Fact(NamedTuple):
    """A number that stands beside the answer."""

    label: str
    text: str
    anchor: str
    """The part of "How it was computed" that explains it."""


def answer(results: Results, confidence: float) -> list[str]:
    """The answer to the run's question, as paragraphs."""
    points = [point for point in results["points"] if point["trials"]]
    if not points:
        return [
            "Every trial was frozen because a number was not finite: there is nothing to report."
        ]
    if len(points) > 1:
        return [*_of_points(points, results["curves"]), *_caution(points)]
    return [*of_point(points[0], confidence), *_caution(points)]


def of_point(point: Point, confidence: float) -> list[str]:
    """What reconstruction costs at one point, why, and what limits it; else the accuracies."""
    total = point["decomposition"].get("on_reconstructions")
    if total is None:
        return [_accuracies(point)]
    original = point["accuracy"]["original"]["original"]["mean"]
    painted = point["accuracy"]["reconstruction"]["reconstruction"]["mean"]
    floats = count(point["values"]["bottleneck"], "float")
    headline = (
        f"{_verdict(total).capitalize()}: classifiers trained and tested on reconstructions ({floats} "
        f"kept) reach {percent(painted)}, against {percent(original)} on originals; "
        f"{_cost(total, confidence)}."
    )
    # Worse and better say it all; these also say what they rest on.
    limits = [total["sentence"]] if total["verdict"] in ("equivalent", "undecided") else []
    return [headline, *_why(point["decomposition"], 1 - confidence), *limits]


def contains_zero(interval: Sequence[float]) -> bool:
    """Whether the interval leaves the direction open."""
    return interval[0] <= 0 <= interval[1]


def _verdict(total: Mapping[str, Any]) -> str:
    return total["verdict"] or "no verdict"


def _cost(total: Mapping[str, Any], confidence: float) -> str:
    of_level, interval = f"{level(confidence)} interval", signed_span(total["interval"])
    if contains_zero(total["interval"]):
        return (
            f"the difference is {signed(total['mean'])} points and its {of_level}, {interval}, "
            "contains 0: this run shows no direction"
        )
    change = "costs" if total["mean"] > 0 else "gains"
    return (
        f"reconstruction {change} {_size(total)} of accuracy ({of_level} of the cost: {interval}"
        f"{_p(total)}{_margin(total)})"
    )


def _margin(total: Mapping[str, Any]) -> str:
    if total["verdict"] is None:
        return ""
    return f"; judged against ±{count(100 * total['margin'], 'point')}"


def _p(term: Mapping[str, Any]) -> str:
    return "" if term["p"] is None else f", {p_in_words(term['p'])}"


def _size(term: Mapping[str, Any]) -> str:
    return f"{100 * abs(term['mean']):.1f} points"


def _why(terms: Mapping[str, Any], alpha: float) -> list[str]:
    """The causes of the total in one sentence; nothing where the run cannot split it."""
    if not terms.keys() >= CAUSES.keys():
        return []
    parts = []
    for name, noun in CAUSES.items():
        term = terms[name]
        how_sure = f"({signed_span(term['interval'])}{_p(term)})"
        if contains_zero(term["interval"]) or (term["p"] is not None and term["p"] >= alpha):
            size = f"a difference of {signed(term['mean'])} points {how_sure}"
            told = f"makes {size}, which cannot be told from 0"
        else:
            told = f"{'costs' if term['mean'] > 0 else 'gains'} {_size(term)} {how_sure}"
        parts.append(f"{noun} {told}")
    return [f"Why: {'; '.join(parts)}."]


def _accuracies(point: Point) -> str:
    cells = [
        f"{percent(cell['mean'])} trained on {train}, tested on {test}"
        for train, row in point["accuracy"].items()
        for test, cell in row.items()
    ]
    return f"Mean accuracy: {'; '.join(cells)}."


def _of_points(points: Sequence[Point], curves: Sequence[Mapping[str, Any]]) -> list[str]:
    if (
        "on_reconstructions" not in points[0]["decomposition"]
    ):  # nor in the others, of the same views
        return [f"{len(points)} points were compared."]
    totals = [point["decomposition"]["on_reconstructions"] for point in points]
    verdicts: dict[str, list[str]] = {}
    for point, total in zip(points, totals, strict=True):
        name = f"{name_of(point, points)} ({signed(total['mean'])})"
        verdicts.setdefault(_verdict(total), []).append(name)
    named = len(points) <= MOST_POINTS_NAMED
    judged = "; ".join(
        f"{verdict} at {', '.join(names) if named else len(names)}"
        for verdict, names in verdicts.items()
    )
    costs = [total["mean"] for total in totals]
    sentence = (
        f"{len(points)} points were compared. Training and testing on reconstructions instead of "
        f"originals: {judged}; the cost goes from {signed(min(costs))} to {signed(max(costs))} "
        "points of accuracy."
    )
    return [sentence, *_smallest(curves)]


def _smallest(curves: Sequence[Mapping[str, Any]]) -> list[str]:
    """The smallest equivalent bottleneck of each curve of several points that all have verdicts."""
    sentences = []
    for curve in curves:
        if len(curve["bottleneck"]) < 2 or None in curve["verdict"]:
            continue
        recipe = (
            f"learning rate {curve['learning_rate']:g}, weight decay {curve['weight_decay']:g}: "
        )
        start = recipe[0].upper() + recipe[1:] if len(curves) > 1 else ""
        smallest = curve["smallest_equivalent"]
        sentences.append(
            f"{start}Not even the widest bottleneck was shown to be equivalent to the original."
            if smallest is None
            else f"{start}The smallest bottleneck shown to be equivalent to the original is "
            f"{count(smallest, 'float')} (tested from the widest down, stopping at the first failure)."
        )
    return sentences


def facts(results: Results) -> list[Fact]:
    """What a reader needs beside the answer to judge it."""
    points = [point for point in results["points"] if point["trials"]]
    found = [*_psnr(points), *_converged(points)]
    dataset = results["dataset"]
    counts, size = dataset["class_counts"]["test"], dataset["examples"]["test"]
    trials = sorted(len(point["trials"]) for point in points) or [0]
    ends = trials[0], trials[-1]
    return [
        *found,
        Fact(
            "chance",
            f"{percent(max(counts) / sum(counts))} (the most frequent class)",
            "evaluation",
        ),
        Fact(
            "test set",
            f"{count(size, 'image')}; 1 point = {count(size / 100, 'image')}",
            "intervals",
        ),
        Fact("trials", " to ".join(map(str, dict.fromkeys(ends))), "intervals"),
    ]


def _psnr(points: Sequence[Point]) -> list[Fact]:
    means = [point["reconstruction"]["psnr"].get("test", {}).get("mean") for point in points]
    finite = [mean for mean in means if mean is not None]
    if not finite:
        return []
    ends = dict.fromkeys((f"{min(finite):.1f}", f"{max(finite):.1f}"))
    return [Fact("PSNR", f"{' to '.join(ends)} dB (test)", "quality")]


def _converged(points: Sequence[Point]) -> list[Fact]:
    found = [point["autoencoder_converged"] for point in points if point["autoencoder_converged"]]
    if not found:
        return []
    falls = [block["last_fifth_change"] for block in found]
    steepest = max((fall for fall in falls if fall is not None), default=None)
    state = "levelled off" if all(block["converged"] for block in found) else "still improving"
    how_far = "" if steepest is None else f" (loss {signed(-steepest)}% over its last fifth)"
    return [Fact("autoencoder", state + how_far, "convergence")]


def name_of(point: Point, points: Sequence[Point]) -> str:
    """The values in which a point differs from the others."""
    values = point["values"]
    varying = [name for name in values if len({other["values"][name] for other in points}) > 1]
    words = {
        "bottleneck": lambda value: count(value, "float"),
        "learning_rate": lambda value: f"learning rate {value:g}",
        "weight_decay": lambda value: f"weight decay {value:g}",
    }
    return " and ".join(words[name](values[name]) for name in varying or ["bottleneck"])


def _caution(points: Sequence[Point]) -> list[str]:
    return [*_few_trials(points), *_poor_autoencoder(points)]


def _poor_autoencoder(points: Sequence[Point]) -> list[str]:
    """Principal components are the best linear code: a trained network that keeps less is not at its best."""
    gaps = []
    for point in points:
        painted, linear = (
            point["quality"].get(view, {}).get("psnr", {}).get("validation", {}).get("mean")
            for view in ("reconstruction", "pca")
        )
        if painted is not None and linear is not None and painted < linear:
            gaps.append((linear - painted, point["values"]["bottleneck"], painted, linear))
    if not gaps:
        return []
    _, bottleneck, painted, linear = max(gaps)
    return [
        f"Caution: with {count(bottleneck, 'float')} the autoencoder paints worse than as many principal components do "
        f"({painted:.1f} against {linear:.1f} dB on validation). It was not trained well enough to "
        "show what a code of this size can keep: more epochs, smaller batches, another learning rate or more width "
        "may help."
    ]


def _few_trials(points: Sequence[Point]) -> list[str]:
    fewest = min(len(point["trials"]) for point in points)
    if fewest >= FEWEST_TRIALS:
        return []
    return [
        f"Caution: with {count(fewest, 'trial')} nothing is known about how much trials differ. "
        f"Intervals cover the choice of test images only; run at least {FEWEST_TRIALS} trials "
        "for a verdict."
    ]
