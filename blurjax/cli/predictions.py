"""What `blurjax predict` prints."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blurjax.cli.output import aligned
from blurjax.config import Point
from blurjax.data.given_images import find_images, read_each
from blurjax.data.messages import printable
from blurjax.experiment import SavedRun
from blurjax.runtime import UserError, jsonable

UNUSABLE = 2
"""The exit code where a file could not be used."""
COLUMNS = ("file", "class", "probability", "spread", "psnr")

Row = dict[str, Any]


def predict(run: SavedRun, parsed: argparse.Namespace) -> int:
    """Prints what the classifiers of a run say of images, and returns the exit code.

    Raises:
      UserError: a path does not exist, no image can be used, or the run has no such classifiers.
    """
    paths = find_images(parsed.images)
    shape, limit = run.image_shape, run.config.data.max_pixels
    images, failed = read_each(paths, shape, max_pixels=limit)
    for path, reason in failed.items():
        print(f"blurjax: {printable(path)} cannot be used as an image: {reason}.", file=sys.stderr)
    if not len(images):
        raise UserError(
            "There is no image to classify; name image files, or folders that hold some."
        )
    values = {name: getattr(parsed, name) for name in Point._fields}
    values = {name: value for name, value in values.items() if value is not None}
    probabilities = run.predict(images, parsed.train_view, parsed.test_view, **values)
    psnr = _psnr(run, images, values)
    usable = [path for path in paths if path not in failed]
    rows = [
        _row(path, run.class_names, probabilities[:, i], psnr[i]) for i, path in enumerate(usable)
    ]
    if parsed.json:
        print(json.dumps(jsonable(rows), ensure_ascii=False, indent=1))
    elif parsed.csv:
        table = [COLUMNS, *([row[name] for name in COLUMNS] for row in rows)]
        csv.writer(sys.stdout, lineterminator="\n").writerows(table)
    else:
        _print_table(rows, len(probabilities), parsed)
    return UNUSABLE if failed else 0


def _psnr(run: SavedRun, images: np.ndarray, values: Mapping[str, Any]) -> Sequence[float | None]:
    """Returns the PSNR in dB of each image's reconstructions, of the mean squared error of the trials that classify.

    None where the run has codes of several sizes and no one was named.
    """
    bottleneck = values.get("bottleneck")
    if bottleneck is None and len(run.config.bottlenecks) > 1:
        return [None] * len(images)
    errors = []
    for seed in run.trials(**values):
        rebuilt = run.autoencoder(seed, bottleneck).reconstruct(images)
        errors.append(np.square(rebuilt.astype(np.float64) - images).mean(axis=(1, 2, 3)))
    with np.errstate(divide="ignore"):
        return (10 * np.log10(255.0**2 / np.mean(errors, axis=0))).tolist()


def _row(
    path: Path, class_names: Sequence[str], probabilities: np.ndarray, psnr: float | None
) -> Row:
    """Returns what is printed of an image whose classes have the probabilities [T,K]."""
    mean = probabilities.mean(axis=0, dtype=np.float64)
    best = int(mean.argmax())
    spread = float(probabilities[:, best].std(ddof=1)) if len(probabilities) > 1 else None
    return {
        "file": str(path),
        "class": class_names[best],
        "probability": float(mean[best]),
        "spread": spread,
        "psnr": psnr,
        "probabilities": dict(zip(class_names, mean.tolist(), strict=True)),
    }


def _print_table(rows: Sequence[Row], num_classifiers: int, parsed: argparse.Namespace) -> None:
    def number(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    cells = [
        (
            printable(row["file"]),
            printable(row["class"]),
            number(row["probability"], 3),
            number(row["spread"], 3),
            number(row["psnr"], 1),
        )
        for row in rows
    ]
    cells.insert(0, COLUMNS)
    print(*aligned(cells, left={0, 1}), sep="\n")
    shown = "as they are" if parsed.test_view == "original" else "as reconstructions"
    classifiers, spread = (
        f"mean of {num_classifiers} classifiers",
        "its standard deviation between them",
    )
    if num_classifiers == 1:
        classifiers, spread = "of 1 classifier", "not known of one classifier"
    print(
        f"\nprobability: {classifiers} trained on {parsed.train_view}, shown the images {shown}"
        f"\nspread: {spread}"
        "\npsnr: of the reconstructions, in dB"
    )
