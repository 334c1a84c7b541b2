"""Data sets by name: digits, npz:FILE, folder:PATH, tfds:NAME[/CONFIG]."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from blurjax.config.sections import DataConfig
from blurjax.data import arrays, cache, decoded, prepared
from blurjax.data.dataset import (
    Dataset,
    Examples,
    Split,
    check_classes,
    fingerprint,
    shown,
    user_path,
    without_unused_classes,
)
from blurjax.data.duplicates import without_duplicates
from blurjax.data.splits import membership, thinned
from blurjax.runtime.errors import UserError

SOURCES: Mapping[str, Callable[[str, DataConfig], tuple[str, Examples]]] = {
    "digits": arrays.load_digits,
    "npz": arrays.load_npz,
    "folder": decoded.load_folder,
    "tfds": decoded.load_tfds,
}
FORMS = {
    "digits": "digits",
    "npz": "npz:FILE",
    "folder": "folder:PATH",
    "tfds": "tfds:NAME[/CONFIG]",
}
COPY_BYTES = 2**30
"""Splits of memory-mapped images up to this size are copied into memory, larger ones to disk."""


def load(config: DataConfig) -> Dataset:
    """Loads a data set: decoded, of one size, split; equal settings and data give equal arrays.

    Raises:
      UserError: the source is unknown, missing, damaged or unfit for an experiment.
    """
    prefix, _, rest = config.source.partition(":")
    if prefix not in SOURCES:
        raise UserError(_unknown(config.source, prefix))
    if prefix != "digits" and not rest:
        raise UserError(f"The data source {prefix} needs to say which; write {FORMS[prefix]}.")
    name, examples = SOURCES[prefix](rest, config)
    if prefix != "folder":  # there, every class is known to have images
        examples = without_unused_classes(examples)
    labels = {split: examples.labels[rows] for split, rows in examples.shipped.items()}
    check_classes(shown(name), examples.class_names, labels)
    rows = membership(examples.labels, examples.shipped, examples.class_names, config)
    before = len(rows["train"])
    if config.duplicates == "drop":
        examples, rows = without_duplicates(examples, rows)
    dropped = before - len(rows["train"])
    rows = thinned(rows, examples.labels, config)
    return Dataset(
        name=name,
        class_names=examples.class_names,
        splits={split: _take(examples, of_split, config) for split, of_split in rows.items()},
        fingerprint=fingerprint(examples, rows),
        notes=examples.notes,
        dropped=dropped,
    )


def describe(data_dir: Path | None = None) -> list[tuple[str, str]]:
    """What data.source can name.

    Args:
      data_dir: where prepared TFDS data sets lie; None: where TFDS keeps them.

    Returns:
      (name, sentence) of what is there offline, then of the forms that name data of one's own.
    """
    directory = prepared.data_directory(data_dir)
    return [
        ("digits", "1,797 handwritten digits, 8x8 grey, in 10 classes; ships with scikit-learn."),
        *((f"tfds:{name}", sentence) for name, sentence in prepared.all_prepared(directory)),
        (FORMS["npz"], "arrays image (uint8), label and, optionally, split and class_names."),
        (FORMS["folder"], "images in PATH/CLASS/ or PATH/train|validation|test/CLASS/."),
        (FORMS["tfds"], f"a TFDS data set, once prepared in {shown(directory)}."),
    ]


def _take(examples: Examples, rows: np.ndarray, config: DataConfig) -> Split:
    return Split(
        images=_images(examples, rows, config),
        labels=examples.labels[rows],
        names=tuple(examples.names[row] for row in rows),
    )


def _images(examples: Examples, rows: np.ndarray, config: DataConfig) -> np.ndarray:
    images = examples.images
    if rows[-1] - rows[0] + 1 == len(rows):
        return images[rows[0] : rows[-1] + 1]
    is_small = len(rows) * images[0].nbytes <= COPY_BYTES
    if is_small or not isinstance(images, np.memmap):
        return images[rows]
    return cache.gather(cache.directory(config.cache_dir), images, examples.pixels_sha256, rows)


def _unknown(source: str, prefix: str) -> str:
    with contextlib.suppress(OSError):  # a name too long for a path
        path = user_path(source)
        if path.exists():
            form = "folder" if path.is_dir() else "npz"
            return f"There is no data source {shown(source)}; did you mean {form}:{shown(source)}?"
    near = difflib.get_close_matches(prefix.casefold(), SOURCES, n=1, cutoff=0.5)
    if near:
        return f"There is no data source {shown(source)}; did you mean {FORMS[near[0]]}?"
    return f"There is no data source {shown(source)}; choose one of {', '.join(FORMS.values())}."
