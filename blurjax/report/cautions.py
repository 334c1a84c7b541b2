"""Sentences about reasons to doubt the answer of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from blurjax.analysis import statistics
from blurjax.analysis.formatting import count, percent
from blurjax.analysis.types import Point, Results

LITTLE_GAIN = 0.1
"""In dB: less than this, from twice the steps or from principal components, counts as nothing."""
MOST_IN_HEADLINE = 2
MANY_REPEATED = 0.01
"""Groups of identical images across splits, as a share of the test images, beyond which the headline says so."""


class Doubt(NamedTuple):
    """A reason to doubt the answer."""

    sentence: str
    """Follows "Caution: "."""
    short: str | None
    """Follows the verdict and "but" in the headline; None where the headline needs none."""


def doubts_about(points: Sequence[Point]) -> list[Doubt]:
    """Returns the reasons to doubt what some points of a run say, the gravest first.

    Args:
      points: entries of `points` of results.json that have trials.
    """
    reasons = {
        _few_trials: None,  # there is no verdict then
        _behind_components: "the autoencoder was not trained well enough to say why",
        _short_autoencoders: "with longer training the autoencoder would keep more",
        _short_classifiers: "the classifiers were not trained long enough",
    }
    return [Doubt(said, short) for reason, short in reasons.items() for said in reason(points)]


def doubts_about_run(results: Results) -> list[Doubt]:
    """Returns the reasons to doubt all that a run says: of its data, and of its code."""
    groups, tested = _repeated_groups(results), results["dataset"]["examples"]["test"]
    is_grave = groups > MANY_REPEATED * tested
    repeated = "some of the test images may have been trained on" if is_grave else None
    return [
        *(Doubt(sentence, repeated) for sentence in _repeated_images(results)),
        *(Doubt(sentence, None) for sentence in _skipped_images(results)),
        *(
            Doubt(sentence, "the code was changed within the run")
            for sentence in _changed_code(results)
        ),
    ]


def in_headline(doubts: Sequence[Doubt]) -> str:
    """Returns what a headline says after its verdict: nothing, or ", but ..."."""
    named = [doubt.short for doubt in doubts if doubt.short is not None][:MOST_IN_HEADLINE]
    return f", but {' and '.join(named)}" if named else ""


def _repeated_groups(results: Results) -> int:
    return results["audit"]["exact"]["across_splits"] if results["audit"] else 0


def _repeated_images(results: Results) -> Iterator[str]:
    groups = _repeated_groups(results)
    if groups:
        yield (
            f"{count(groups, 'group')} of identical images {'has' if groups == 1 else 'have'} copies in more than "
            "one of train, validation and test, so that accuracies may be higher than on new images (see the audit of "
            "the data; data.duplicates: drop leaves such copies out of train)."
        )


def _skipped_images(results: Results) -> Iterator[str]:
    for note in results["dataset"]["notes"]:
        if " skipped" in note:
            yield f"{note[0].lower()}{note[1:]}"


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
    gaps = components_ahead(points)
    if gaps:
        _, bottleneck, rebuilt, linear = max(gaps)
        yield (
            f"with {count(bottleneck, 'float')} the autoencoder's reconstructions are less faithful "
            f"than those from as many principal components (PSNR {rebuilt:.2f} against {linear:.2f} dB on "
            "validation). It was not trained well enough to show what a code of this size can keep: more "
            "epochs, smaller batches, another learning rate or more width may help."
        )


def components_ahead(points: Sequence[Point]) -> list[tuple[float, int, float, float]]:
    """Returns where principal components keep more: (by how many dB, floats, PSNR of the autoencoder, of these)."""
    gaps = []
    for point in points:
        quality = [point["quality"].get(view) for view in ("reconstruction", "pca")]
        psnr = [q and q["psnr"]["validation"]["mean"] for q in quality]
        if None not in psnr and psnr[1] - psnr[0] >= LITTLE_GAIN:
            gaps.append((psnr[1] - psnr[0], point["values"]["bottleneck"], *psnr))
    return gaps


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
            f"with twice the steps, autoencoders of {count(bottleneck, 'float')} reach {after:.2f} dB on validation in "
            f"place of {before:.2f} ({trials}): trained longer they would keep more, and the answer may be another."
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
