"""Sentences about reasons to doubt the answer of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from blurjax.analysis import statistics
from blurjax.analysis.formatting import count, percent

Results = Mapping[str, Any]
Point = Mapping[str, Any]

LITTLE_GAIN = 0.1
"""In dB: less than this from twice the steps counts as nothing."""


def cautions(results: Results, points: Sequence[Point]) -> list[str]:
    """Returns a sentence for each reason.

    Args:
      results: content of results.json.
      points: those of its points that have trials.
    """
    reasons = _few_trials, _behind_components, _short_autoencoders, _short_classifiers
    doubts = [sentence for reason in reasons for sentence in reason(points)]
    return [f"Caution: {sentence}" for sentence in (*doubts, *_changed_code(results))]


def _few_trials(points: Sequence[Point]) -> Iterator[str]:
    fewest = min(len(point["trials"]) for point in points)
    if fewest < statistics.FEWEST_TRIALS:
        yield (
            f"with {count(fewest, 'trial')} nothing is known about how much trials differ. "
            "Intervals cover the choice of test images only; run at least "
            f"{statistics.FEWEST_TRIALS} trials for a verdict."
        )


def _behind_components(points: Sequence[Point]) -> Iterator[str]:
    """Principal components are the best linear code: a trained network should not keep less."""
    gaps = []
    for point in points:
        quality = [point["quality"].get(view) for view in ("reconstruction", "pca")]
        psnr = [q and q["psnr"]["validation"]["mean"] for q in quality]
        if None not in psnr and psnr[0] < psnr[1]:
            gaps.append((psnr[1] - psnr[0], point["values"]["bottleneck"], *psnr))
    if gaps:
        _, bottleneck, rebuilt, linear = max(gaps)
        yield (
            f"with {count(bottleneck, 'float')} the autoencoder's reconstructions are less faithful "
            f"than those from as many principal components (PSNR {rebuilt:.1f} against {linear:.1f} dB on "
            "validation). It was not trained well enough to show what a code of this size can keep: more "
            "epochs, smaller batches, another learning rate or more width may help."
        )


def _short_autoencoders(points: Sequence[Point]) -> Iterator[str]:
    """Says what twice the steps gave autoencoders at the point where it is most."""
    gains = []
    for point in points:
        twice = point["training_length"]["autoencoder"].get("twice_the_steps")
        if twice and (twice["gain"] or 0) >= LITTLE_GAIN:
            gains.append((twice["gain"], point["values"]["bottleneck"], twice))
    if gains:
        _, bottleneck, twice = max(gains, key=lambda gain: gain[0])
        before, after = _means(twice)
        trials = count(len(twice["after"]), "trial")
        yield (
            f"with twice the steps, autoencoders of {count(bottleneck, 'float')} reach {after:.1f} dB on validation in "
            f"place of {before:.1f} ({trials}): trained longer they would keep more, and the answer may be another."
        )


def _short_classifiers(points: Sequence[Point]) -> Iterator[str]:
    """The same for classifiers, where it is more than the margin."""
    gains = []
    for point in points:
        margin = max((term["margin"] for term in point["decomposition"].values()), default=0.0)
        for view, twice in point["training_length"]["classifier"].items():
            if (twice["gain"] or 0) > margin:
                gains.append((twice["gain"], view, twice))
    if gains:
        _, view, twice = max(gains, key=lambda gain: gain[0])
        before, after = map(percent, _means(twice))
        trials = count(len(twice["after"]), "trial")
        yield (
            f"with twice the steps, classifiers trained on {view} are right for {after} of validation in place of "
            f"{before} ({trials}): they were not trained long enough to show what can be learned."
        )


def _means(twice: Mapping[str, Any]) -> tuple[float, ...]:
    """Returns the means before and after; neither is null where there is a gain."""
    return tuple(sum(twice[side]) / len(twice[side]) for side in ("before", "after"))


def _changed_code(results: Results) -> Iterator[str]:
    parts = list(dict.fromkeys(results["accepted_changes"]))
    if not parts:
        return
    yield (
        f"the code of the {', '.join(parts)} was changed after parts of this run were computed, and that was "
        "accepted. What was there before is not computed again, so its numbers are those of the old code."
    )
