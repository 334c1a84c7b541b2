"""Sentences computed from results.json: the answer, its reasons and its limits.

No sentence claims a direction that its interval does not show. `point` is an entry of `points`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blurjax.analysis import statistics
from blurjax.analysis.contrasts import ON_CODE, PRIMARY
from blurjax.analysis.formatting import (
    count,
    labels_in_words,
    level,
    p_in_words,
    percent,
    signed,
    signed_span,
)
from blurjax.analysis.types import Point, Results
from blurjax.report.cautions import (
    LITTLE_GAIN,
    Doubt,
    components_ahead,
    doubts_about,
    doubts_about_run,
    in_headline,
)
from blurjax.report.point_names import point_name, recipe_name
from blurjax.report.warm_starts import gains

CAUSES = {
    "information": "information that the reconstructions lack",
    "leakage": (
        "leakage (the autoencoder was trained on the images that the classifier learns from, and may "
        "reconstruct them differently from new ones)"
    ),
}
"""Cause -> what it is called in a sentence."""
MOST_POINTS_NAMED = 4
"""With more points, verdicts are counted instead."""


def answer(results: Results, confidence: float) -> list[str]:
    """Returns the answer to the run's question, as paragraphs."""
    points = [point for point in results["points"] if point["trials"]]
    if not points:
        return [
            "Every trial was frozen because a number was not finite: there is nothing to report."
        ]
    of_run = doubts_about_run(results)
    if len(points) == 1:
        return point_summary(points[0], confidence, of_run)
    doubts = [*doubts_about(points), *of_run]
    answers = [*_several_points(points, doubts), *gains(points, confidence)]
    return [*answers, *_smallest_equivalent(results["curves"]), *_cautions(doubts)]


def point_summary(point: Point, confidence: float, of_run: Sequence[Doubt] = ()) -> list[str]:
    """Returns what reconstruction costs at one point, why, and what limits the answer; else gains and accuracies.

    Args:
      point: one that has trials.
      confidence: level of the intervals.
      of_run: reasons to doubt all of the run, said where they are not said elsewhere.
    """
    doubts = [*doubts_about([point]), *of_run]
    return [*_point_answer(point, confidence, doubts), *_cautions(doubts)]


def _cautions(doubts: Sequence[Doubt]) -> list[str]:
    return [f"Caution: {doubt.sentence}" for doubt in doubts]


def _point_answer(point: Point, confidence: float, doubts: Sequence[Doubt]) -> list[str]:
    total = point["decomposition"].get(PRIMARY)
    if total is None:
        cells = [
            f"{percent(cell['mean'])} trained on {train}, tested on {test}"
            for train, row in point["accuracy"].items()
            for test, cell in row.items()
        ]
        return [*gains([point], confidence), f"Mean accuracy: {'; '.join(cells)}."]
    original, rebuilt = (
        percent(point["accuracy"][view][view]["mean"]) for view in ("original", "reconstruction")
    )
    labels = point["values"]["train_examples"]
    few = f"with {labels_in_words(labels)}, " if labels else ""
    chance, balanced = point["chance"], ""
    if chance["unbalanced"]:
        means = [
            percent(point["balanced_accuracy"][view][view]["mean"])
            for view in ("reconstruction", "original")
        ]
        balanced = f" (as a mean over classes {means[0]} and {means[1]})"
    what = (
        "classifiers trained and tested on reconstructions (images that an autoencoder rebuilt from "
        f"{count(point['values']['bottleneck'], 'float')}) are right for {rebuilt} of the test images, classifiers of "
        f"originals for {original}{balanced}"
    )
    if not chance["learned"]:
        return [
            f"No verdict: {few}{what}, which was not shown to be better than always naming the most frequent class "
            f"({percent(chance['most_frequent'])}). Where nothing was learned, nothing can be lost. "
            f"{_gap(total, confidence)}"
        ]
    verdict = (total["verdict"] or "no verdict").capitalize()
    cost = _cost(total, confidence, _rounded(total, original, rebuilt))
    headline = f"{verdict}{in_headline(doubts)}: {few}{_as_trained(point)}{what}; {cost}."
    # "Worse" and "better" need no more; the others name the margin or what limits the run.
    limits = [total["sentence"]] if total["verdict"] in ("equivalent", "undecided") else []
    limited = ", as far as these autoencoders show it" if components_ahead([point]) else ""
    reasons = _reasons(point["decomposition"], 1 - confidence, limited)
    return [headline, *reasons, *_hidden(point), *limits, *gains([point], confidence)]


def _gap(total: Mapping[str, Any], confidence: float) -> str:
    interval = f"{level(confidence)} interval {signed_span(total['interval'])}"
    return f"The difference is {signed(total['mean'])} points (positive = lost; {interval})."


def _rounded(total: Mapping[str, Any], original: str, rebuilt: str) -> str:
    """Returns a remark where the rounded accuracies suggest another difference."""
    suggested = float(original.rstrip("%")) - float(rebuilt.rstrip("%"))
    shown = float(f"{100 * total['mean']:.1f}")
    return "" if abs(suggested - shown) < 0.05 else "; computed before rounding"


def _as_trained(point: Point) -> str:
    """Returns what limits an answer to these autoencoders, unless twice the steps were seen to give nothing."""
    twice = point["training_length"]["autoencoder"].get("twice_the_steps", {})
    gain = twice.get("gain")
    enough = gain is not None and gain < LITTLE_GAIN
    return "" if enough else "for autoencoders trained this long, "


def _cost(total: Mapping[str, Any], confidence: float, remark: str) -> str:
    name, interval = f"{level(confidence)} interval", signed_span(total["interval"])
    if _contains_zero(total["interval"]):
        return (
            f"the difference is {signed(total['mean'])} points (positive = lost{remark}) and its {name}, {interval}, "
            "contains 0: this run shows no direction"
        )
    judged = ""
    if total["verdict"] is not None:
        margin = f"±{count(100 * total['margin'], 'point')}"
        judged = f", {p_in_words(total['p'])}; judged against a margin of {margin}"
    return f"reconstruction {_change(total)} of accuracy ({name} of the cost: {interval}{judged}{remark})"


def _change(term: Mapping[str, Any]) -> str:
    return f"{'costs' if term['mean'] > 0 else 'gains'} {100 * abs(term['mean']):.1f} points"


def _contains_zero(interval: Sequence[float]) -> bool:
    return interval[0] <= 0 <= interval[1]


def _reasons(terms: Mapping[str, Any], alpha: float, limited: str) -> list[str]:
    """Returns the causes of the total in one sentence; none where the run cannot split it."""
    if not terms.keys() >= CAUSES.keys():
        return []
    parts = []
    for name, noun in CAUSES.items():
        term, p = terms[name], terms[name]["p"]
        certainty = f"({signed_span(term['interval'])}{'' if p is None else f', {p_in_words(p)}'})"
        if _contains_zero(term["interval"]) or (p is not None and p >= alpha):
            difference = f"makes a difference of {signed(term['mean'])} points {certainty}"
            parts.append(f"{noun} {difference}, which cannot be distinguished from 0")
        else:
            parts.append(f"{noun} {_change(term)} {certainty}")
    return [f"Why{limited} (in points of accuracy, positive = lost): {'; '.join(parts)}."]


def _hidden(point: Point) -> list[str]:
    """Says where a network finds more in the code than classifiers find in the image that is rebuilt from it."""
    term = point["comparisons"].get(ON_CODE["mlp"])
    if term is None or term["interval"][0] <= 0:
        return []
    return [
        f"A small network that reads the code itself is right for {percent(point['probe']['mlp']['mean'])}, "
        f"{100 * term['mean']:.1f} points more than classifiers of reconstructions ({signed_span(term['interval'])}): "
        "the image hides what the code still has, so what is counted as missing information is in part only out of "
        "these classifiers' reach."
    ]


def _several_points(points: Sequence[Point], doubts: Sequence[Doubt]) -> list[str]:
    opening = f"{len(points)} combinations of the swept values were compared."
    if PRIMARY not in points[0]["decomposition"]:  # nor in the others: same views
        return [opening]
    totals = [point["decomposition"][PRIMARY] for point in points]
    verdicts: dict[str, list[str]] = {}
    for point, total in zip(points, totals, strict=True):
        name = f"{point_name(point, points)} ({signed(total['mean'])})"
        verdicts.setdefault(total["verdict"] or "no verdict", []).append(name)
    named = len(points) <= MOST_POINTS_NAMED
    judged = "; ".join(
        f"{verdict} at {', '.join(names) if named else len(names)}"
        for verdict, names in verdicts.items()
    )
    costs = [total["mean"] for total in totals]
    paragraphs = [
        f"{opening} Training and testing on reconstructions (images that an autoencoder rebuilt from its code) instead "
        f"of originals: {judged}; the cost goes from {signed_span((min(costs), max(costs)))} points of accuracy "
        f"(positive = lost){in_headline(doubts)}."
    ]
    unlearned = [point for point in points if not point["chance"]["learned"]]
    if unlearned:
        paragraphs.append(
            f"Caution: at {len(unlearned)} of {len(points)} points classifiers of originals were not shown to be "
            "better than always naming the most frequent class; where nothing was learned, nothing can be lost, and "
            "there is no verdict."
        )
    return paragraphs


def _smallest_equivalent(curves: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names the smallest equivalent bottleneck of each curve of several points that all have verdicts."""
    sentences = []
    for curve in curves:
        if len(curve["bottleneck"]) < 2 or None in curve["verdict"]:
            continue
        start = f"{recipe_name(curve)}: t" if len(curves) > 1 else "T"
        smallest = curve["smallest_equivalent"]
        if smallest is None and curve["verdict"][-1] == "equivalent":
            sentences.append(
                f"{start}he largest code has no trial left, so no smaller one was tested."
            )
            continue
        sentences.append(
            f"{start}he largest code ({count(max(curve['bottleneck']), 'float')}) was not shown to be equivalent to "
            "the original, so no smaller one was tested."
            if smallest is None
            else f"{start}he smallest code shown to be equivalent to the original is "
            f"{count(smallest, 'float')} (tested from the largest down, stopping at the first failure)."
        )
    return sentences


def gap_sentence(point: Point, confidence: float) -> str:
    """Says how far training accuracy is ahead of validation accuracy, on reconstructions and on originals.

    Args:
      point: one with classifiers trained on reconstructions.
      confidence: level of the interval over trials.
    """
    history = point["history"]["classifier"]["reconstruction"]
    train, *validation = (
        np.array(history[side]["accuracy"], float)  # [E,T]
        for side in ("train", "validation", "validation_original")
        if side in history
    )
    gaps = [train - accuracy for accuracy in validation]
    (first, last), *others = [(signed(gap[0].mean()), signed(gap[-1].mean())) for gap in gaps]
    sentence = (
        "A classifier that does better on its training images than on new ones is overfitting. Trained on "
        f"reconstructions, accuracy on train minus accuracy on validation went from {first} points after "
        f"the first epoch to {last} after the last when validated on reconstructions"
    )
    if not others:
        return f"{sentence}."
    ((first, last),) = others
    excess = gaps[1][-1] - gaps[0][-1]
    sentence += (
        f", and from {first} to {last} when validated on originals. At the end the two gaps differ by "
        f"{signed(excess.mean())} points"
    )
    _, interval = statistics.over_trials(excess, confidence)
    if interval is None:
        return f"{sentence}, in too few trials to tell from chance."
    sentence += f" ({level(confidence)} interval over trials: {signed_span(interval.tolist())})"
    if _contains_zero(interval.tolist()):
        return f"{sentence}: this run cannot tell whether it matters which images validate."
    wider = "originals" if excess.mean() > 0 else "reconstructions"
    return f"{sentence}: the gap is wider when validated on {wider}."
