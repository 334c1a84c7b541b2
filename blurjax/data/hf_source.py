"""Data sets of Hugging Face's `datasets` that are on this machine; the network is never touched."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from blurjax.config.settings import SPLITS, DataConfig
from blurjax.data.decoding import SAMPLE, EncodedImage, EncodedImages, load_decoded
from blurjax.data.examples import Examples, without_unused_classes
from blurjax.data.messages import join_names, printable
from blurjax.data.split_folders import SPLIT_OF
from blurjax.runtime.errors import UserError
from blurjax.runtime.files import expand_path

_BATCH = 128
_TABLES = {".parquet": "parquet", ".arrow": "arrow"}
"""Suffix of a file -> its builder."""
_LABELS = ("label", "labels", "fine_label", "class", "target", "y")
"""Usual names of the column of labels, the first there counts."""


class _Columns(NamedTuple):
    """Where images and labels stand."""

    image: str
    label: str
    class_names: tuple[str, ...]
    number_of: Mapping[Any, int] | None
    """Value -> label; None where values are labels."""


def load_hf(name: str, config: DataConfig) -> Examples:
    """Loads `hf:PATH`, from the cache where its files are as they were.

    Args:
      name: a directory of `save_to_disk` or of parquet files, a file of parquet or arrow, or the name of a data set in
        the cache of `datasets`.
      config: its split settings name splits of the data set; the defaults stand for the usual names, too, for that of
        validation where no other setting names the same split.

    Raises:
      UserError: it is not there, or `datasets` is not installed, or it has no such split, images or labels, or one
        split is asked for twice.
    """
    datasets = _import_datasets()
    splits = _open(datasets, name)
    chosen = _choose_splits(name, list(splits), config)
    columns = _find_columns(datasets, name, [splits[n] for n in chosen.values()])
    files = [file["filename"] for n in chosen.values() for file in splits[n].cache_files]
    statuses = [(file, Path(file).stat()) for file in files]
    key = {"hf": name, "splits": chosen, "columns": columns[:3]}
    key["files"] = [(file, status.st_size, status.st_mtime_ns) for file, status in statuses]
    opened = {split: splits[n] for split, n in chosen.items()}
    title = Path(name).name
    images = partial(_encoded_images, datasets, title, opened, columns)
    return without_unused_classes(load_decoded(title, images, list(chosen), config, key))


def _import_datasets() -> Any:
    """Imports `datasets`, silent."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise UserError(
            f"hf:PATH needs the package datasets, which cannot be imported ({error}); install it with "
            "`pip install 'blurjax[hf]'`."
        ) from None
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()  # it warns of being offline
    return datasets


@contextlib.contextmanager
def _offline(datasets: Any) -> Iterator[None]:
    """Keeps `datasets` from trying the network for a minute, also where it was imported to use it."""
    before, datasets.config.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _open(datasets: Any, name: str) -> dict[str, Any]:
    """Returns name -> split."""
    path = expand_path(name)
    try:
        if path.is_file():
            if path.suffix not in _TABLES:
                raise UserError(
                    f"{printable(path)} is no parquet or arrow file; hf:PATH takes one, or a directory."
                )
            found = datasets.load_dataset(_TABLES[path.suffix], data_files=str(path))
        elif (path / "dataset_dict.json").exists() or (path / "state.json").exists():
            found = datasets.load_from_disk(str(path))
        else:
            with _offline(datasets):
                found = datasets.load_dataset(str(path) if path.exists() else name)
    except UserError:
        raise
    except Exception as error:  # it raises errors of every kind
        if path.exists():
            reason = " ".join(str(error).split())
            raise UserError(
                f"{printable(path)} cannot be read as a data set of Hugging Face ({reason})."
            ) from None
        raise UserError(
            f"hf:{printable(name)} is neither a path nor a data set in the cache of the package datasets, and nothing "
            "is downloaded here; where there is a network, run: python -c "
            f'"import datasets; datasets.load_dataset({name!r})"'
        ) from None
    return dict(found) if isinstance(found, dict) else {"train": found}


def _choose_splits(name: str, available: list[str], config: DataConfig) -> dict[str, str]:
    """Returns split -> its name in the data set; without a test split, a part of train becomes it."""
    chosen = {}
    for split in SPLITS:
        field = f"{split}_split"
        asked, default = getattr(config, field), DataConfig.model_fields[field].default
        if split != "train" and len(available) == 1 and asked == default:
            continue  # the only split is the train split, whatever its name
        usual = [n for n in available if SPLIT_OF.get(n) == split] if asked == default else []
        if asked is None:  # so far nobody has named it
            usual = [n for n in usual if n not in (config.train_split, config.test_split)]
        if split == "train" and len(available) == 1:
            usual = available
        if asked in available or usual:
            chosen[split] = asked if asked in available else usual[0]
        elif (asked != default and asked is not None) or split == "train":
            raise UserError(
                f"{printable(name)} has no split {printable(asked)}; set data.{field} to one of its splits "
                f"({join_names(available)})."
            )
    if len({*chosen.values()}) < len(chosen):
        raise UserError(
            "Two of data.train_split, data.validation_split and data.test_split name the same split of "
            f"{printable(name)}, so that test images would be trained on; name different ones of its splits "
            f"({join_names(available)}), or none for one that is to be drawn from train."
        )
    return chosen


def _find_columns(datasets: Any, name: str, splits: list[Any]) -> _Columns:
    features = splits[0].features
    images = [column for column, kind in features.items() if isinstance(kind, datasets.Image)]
    classes = [column for column, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    usual = [column for column in _LABELS if column in features]
    labels = [column for column in usual if column in classes] or classes or usual
    if len(images) != 1 or not labels:
        what = "one column of images" if len(images) != 1 else "a column of labels"
        raise UserError(
            f"{printable(name)} does not have {what} (its columns are {join_names(list(features))}); rename or remove "
            "columns with the package datasets, and name what it saves."
        )
    label = labels[0]
    if label in classes:
        return _Columns(images[0], label, tuple(features[label].names), None)
    values = np.unique(np.concatenate([np.asarray(split[label]) for split in splits])).tolist()
    numbers = {value: number for number, value in enumerate(values)}
    return _Columns(images[0], label, tuple(map(str, values)), numbers)


def _encoded_images(
    datasets: Any, name: str, splits: Mapping[str, Any], columns: _Columns
) -> EncodedImages:
    def read(split: str) -> Iterator[EncodedImage]:
        """Yields the images of a split in their order."""
        # Undecoded, so that Pillow decodes every image of every source.
        rows = splits[split].select_columns([columns.image, columns.label])
        rows = rows.cast_column(columns.image, datasets.Image(decode=False))
        for begin in range(0, len(rows), _BATCH):
            batch = rows[begin : begin + _BATCH]
            for i, image in enumerate(batch[columns.image]):
                content = image["bytes"] if image["bytes"] is not None else Path(image["path"])
                value = batch[columns.label][i]
                label = value if columns.number_of is None else columns.number_of[value]
                yield EncodedImage(content, label, f"{split}/{begin + i:07d}")

    count = len(splits["train"])
    spread = np.unique(np.linspace(0, count - 1, SAMPLE).astype(int)).tolist()
    sample = splits["train"].cast_column(columns.image, datasets.Image(decode=False))
    return EncodedImages(
        place=Path(name),
        class_names=columns.class_names,
        count=sum(map(len, splits.values())),
        splits={split: read(split) for split in splits},
        sample=(image["bytes"] or Path(image["path"]) for image in sample[spread][columns.image]),
    )
