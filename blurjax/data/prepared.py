"""Finds TFDS data sets that are prepared on disk, without TensorFlow and without a network."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from blurjax.data.dataset import listed, shown, user_path
from blurjax.runtime.errors import UserError

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def data_directory(configured: Path | None) -> Path:
    """Where prepared data sets lie: as configured, or where TFDS itself would look."""
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return user_path(configured or default)


def find(name: str, directory: Path) -> Path:
    """The directory of the newest prepared version of NAME or NAME/CONFIG.

    Raises:
      UserError: it is not prepared, or a configuration must be named.
    """
    place = directory / name
    if re.fullmatch(r"\w+(/[\w.+-]+)?", name) is None:
        raise UserError(
            f"tfds:{shown(name)} names no data set; write tfds:NAME or tfds:NAME/CONFIG."
        )
    newest = _newest_version(place)
    if newest is not None:
        return newest
    configs = (
        [] if "/" in name else [path.name for path in _folders(place) if _newest_version(path)]
    )
    if len(configs) == 1:
        return find(f"{name}/{configs[0]}", directory)
    if configs:
        raise UserError(
            f"{name} is prepared in several configurations ({listed(configs)}); name one, "
            f"as in tfds:{name}/{configs[0]}."
        )
    raise UserError(_not_prepared(name, directory))


def all_prepared(directory: Path) -> Iterator[tuple[str, str]]:
    """Yields (NAME or NAME/CONFIG, sentence) for every prepared data set of labelled images."""
    for dataset in _folders(directory):
        places = [
            dataset,
            *(path for path in _folders(dataset) if not _VERSION.fullmatch(path.name)),
        ]
        for place in places:
            newest = _newest_version(place)
            if newest is not None and _has_labelled_images(newest):
                yield place.relative_to(directory).as_posix(), _sizes(newest)


def _not_prepared(name: str, directory: Path) -> str:
    arguments = repr(name)
    if directory != data_directory(None):
        arguments += f", data_dir={str(directory)!r}"
    command = (
        f"import tensorflow_datasets as tfds; tfds.builder({arguments}).download_and_prepare()"
    )
    return (
        f"{name} is not prepared in {shown(directory)}, and preparing it needs the network; "
        f'where there is one, run: python -c "{command}"'
    )


def _newest_version(place: Path) -> Path | None:
    versions = [
        path
        for path in _folders(place)
        if _VERSION.fullmatch(path.name) and (path / "dataset_info.json").is_file()
    ]
    return max(versions, key=lambda path: [int(n) for n in path.name.split(".")], default=None)


def _folders(place: Path) -> list[Path]:
    try:
        return sorted(path for path in place.iterdir() if path.is_dir())
    except OSError:
        return []


def _has_labelled_images(version: Path) -> bool:
    try:
        features = json.loads((version / "features.json").read_text(encoding="utf-8"))
        top = features["featuresDict"]["features"].values()
        kinds = {feature["pythonClassName"].rpartition(".")[2] for feature in top}
    except (OSError, ValueError, KeyError, AttributeError):
        return False
    return {"Image", "ClassLabel"} <= kinds


def _sizes(version: Path) -> str:
    try:
        splits = json.loads((version / "dataset_info.json").read_text(encoding="utf-8"))["splits"]
        counts = [(s["name"], sum(int(n) for n in s["shardLengths"])) for s in splits]
    except (OSError, ValueError, KeyError, TypeError):
        return "prepared, but its description is damaged."
    return f"prepared: {', '.join(f'{count:,} {name}' for name, count in counts)} images."
