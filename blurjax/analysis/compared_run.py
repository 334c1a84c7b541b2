"""A finished run as it is compared with others, and whether two were tested on the same images."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from blurjax.analysis.recorded_run import RecordedPoint, RecordedRun
from blurjax.config import Config, load
from blurjax.config.trials import points
from blurjax.runtime import RunDirectory, UserError, read_json

Dataset = Mapping[str, Any]
"""The block `dataset` of results.json."""


class Run(NamedTuple):
    """A finished run among those compared."""

    name: str
    """Its directory, as it was given."""
    config: Config
    results: Mapping[str, Any]
    environment: Mapping[str, Any]
    points: Sequence[RecordedPoint]
    """In the order of `results["points"]`."""


def read_run(path: Path) -> Run:
    """Reads a run directory.

    Raises:
      UserError: it is none, or the run is not finished.
    """
    directory = RunDirectory(path, writes=False)
    directory.check_format()
    if not directory.results.exists():
        raise UserError(
            f"The run in {path} is not finished: it has no results.json; continue it with the command that began it."
        )
    config, results = load(directory.config), read_json(directory.results)
    environment = read_json(directory.environment) if directory.environment.exists() else {}
    recorded = RecordedRun(directory, config)
    there = [recorded.at(point) for point in points(config)]
    if [block["trials"] for block in results["points"]] != [[*point.seeds] for point in there]:
        raise UserError(
            f"results.json in {path} is of other trials than the settings; run `blurjax report {path}` first."
        )
    return Run(str(path), config, results, environment, there)


def same_test_images(first: Dataset, other: Dataset) -> bool | None:
    """Returns whether two runs were tested on the same images with the same labels; None where that is not known.

    Args:
      first: the block `dataset` of results.json.
      other: that of another run.
    """
    if first["image_shape"] != other["image_shape"] or first["class_names"] != other["class_names"]:
        return False
    if first["fingerprint"] == other["fingerprint"]:  # of all images and splits
        return True
    if first["examples"]["test"] != other["examples"]["test"]:
        return False
    digests = first.get("test_images"), other.get("test_images")
    return None if None in digests else digests[0] == digests[1]


def corresponding(
    first: Sequence[RecordedPoint], other: Sequence[RecordedPoint]
) -> list[tuple[int, int]]:
    """Returns which points of two runs are compared: those of equal values; all, where one run has a single point."""
    both = itertools.product(range(len(first)), range(len(other)))
    if 1 in (len(first), len(other)):
        return [*both]
    return [(i, j) for i, j in both if first[i].point == other[j].point]
