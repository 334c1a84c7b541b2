"""Says what of two runs may not be compared, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from blurjax.analysis.compared_run import Dataset, Run, corresponding, same_test_images
from blurjax.analysis.formatting import count, level
from blurjax.analysis.statistics import FEWEST_TRIALS

NOTHING_LEARNED = (
    "No verdict: in one of the two, classifiers of originals were not shown to be better than always naming the most "
    "frequent class."
)


def limits_of(first: Run, other: Run, pairs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields a sentence for everything that limits the comparison of a run with the first.

    Args:
      first: the run that all are compared with.
      other: another.
      pairs: the paired differences that were possible, of all runs.
    """
    names = f"{first.name} and {other.name}"
    one, two = first.results["dataset"], other.results["dataset"]
    yield from _data(names, one, two)
    mine = [pair for pair in pairs if pair["second"] == other.name]
    if same_test_images(one, two) is True:
        yield from _trials(names, first, other, mine)
    for side in ("train", "test"):
        views = {*first.results["views"][side]}, {*other.results["views"][side]}
        if alone := sorted(views[0] ^ views[1]):
            verb = "trained" if side == "train" else "tested"
            yield f"{names}: only one of them {verb} on {', '.join(alone)}, which is not compared."
    levels = [run.config.report.confidence for run in (first, other)]
    if levels[0] != levels[1]:
        yield (
            f"{names}: the runs' own intervals are of level {level(levels[0])} and {level(levels[1])}; set "
            "report.confidence alike and run `blurjax report`. Paired differences have the level of the first."
        )
    if not all(pair["learned"] for pair in mine):
        yield f"{names}: {NOTHING_LEARNED.replace('No', 'no', 1)}"
    for run in (first, other):
        if run.results["accepted_changes"]:
            parts = ", ".join(dict.fromkeys(run.results["accepted_changes"]))
            yield f"{run.name}: the code of the {parts} was changed within the run, and that was accepted."


def _data(names: str, one: Dataset, two: Dataset) -> Iterator[str]:
    same = same_test_images(one, two)
    if one["class_names"] != two["class_names"]:
        yield (
            f"{names}: their classes are not the same ({len(one['class_names'])} and {len(two['class_names'])}), so "
            "their accuracies answer different questions. Nothing is subtracted."
        )
    elif one["image_shape"] != two["image_shape"]:
        shapes = [" × ".join(map(str, dataset["image_shape"])) for dataset in (one, two)]
        yield (
            f"{names}: images are {shapes[0]} and {shapes[1]}. Test images of another size are other images, so there "
            "are no paired differences; accuracies stand side by side, each with its own interval."
        )
    elif same is False:
        yield (
            f"{names}: they were not tested on the same images (by content), so there are no paired differences. "
            "Accuracies stand side by side; that one is higher may be due to easier test images."
        )
    elif same is None:
        yield (
            f"{names}: whether their test images are the same is not on record, so there are no paired differences. "
            "Runs of this version record it: give the command of each run again, then compare."
        )
    elif one["fingerprint"] != two["fingerprint"]:
        sizes = [dataset["examples"]["train"] for dataset in (one, two)]
        yield (
            f"{names}: test images are the same, but not those of training or validation ({sizes[0]:,} and "
            f"{sizes[1]:,} to train on), which is a part of every difference."
        )


def _trials(
    names: str, first: Run, other: Run, pairs: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Yields what is said where test images are the same, and trials or points are not."""
    seeds = {*first.config.seeds}, {*other.config.seeds}
    if not seeds[0] & seeds[1]:
        yield f"{names}: they have no seed in common, so there are no paired differences."
        return
    alike = len(corresponding(first.points, other.points))
    if not alike:
        yield f"{names}: no point of the one has the swept values of one of the other, so nothing is subtracted."
        return
    if len(pairs) < alike:
        lost = count(alike - len(pairs), "point")
        yield f"{names}: at {lost} no trial is left in both, so nothing is subtracted there."
    if not pairs:
        return
    fewest = min(len(pair["trials"]) for pair in pairs)
    if seeds[0] != seeds[1]:
        common = count(len(seeds[0] & seeds[1]), "seed")
        yield f"{names}: paired differences are over the {common} that both have."
    if fewest < FEWEST_TRIALS:
        yield (
            f"{names}: with {count(fewest, 'common trial')}, paired differences cover the choice of test images only, "
            "and there is no verdict."
        )
    if (
        max(len(first.points), len(other.points)) > 1
        and min(len(first.points), len(other.points)) > 1
    ):
        most = max(len(first.points), len(other.points))
        if alike < most:
            yield f"{names}: {alike} of up to {most} points have the same swept values; the others are not subtracted."
