"""Folders and TFDS data sets, decoded once into the cache and memory-mapped from then on."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blurjax.config import DataConfig
from blurjax.data import cache, folder, pixels, prepared
from blurjax.data.dataset import SPLITS, Examples, listed, pixels_sha256, shown, user_path
from blurjax.errors import UserError
from blurjax.run_directory import read_json, write_json

if TYPE_CHECKING:
    from blurjax.data.decode import Decoded

SAMPLE = 200
"""Images that an image size or number of channels is fitted to."""
_LOG_SECONDS = 10
_log = logging.getLogger("blurjax")


def cache_directory(config: DataConfig) -> Path:
    """Where entries of the cache lie."""
    return user_path(config.cache_dir or cache.default_directory())


def load_folder(path: str, config: DataConfig) -> tuple[str, Examples]:
    """Name and images of `folder:PATH`.

    Raises:
      UserError: see `folder.scan`; an image is unreadable or too small, unless such are skipped.
    """
    listing = folder.scan(user_path(path))
    root = listing.root.resolve()

    def build(directory: Path) -> None:
        from blurjax.data import decode

        files = [file for part in listing.splits.values() for file in part]
        spread = np.unique(np.linspace(0, len(files) - 1, SAMPLE).astype(int))
        sample = (root / files[position].path for position in spread)
        size, channels = pixels.fit(sample, config.image_size, config.channels)
        parts = (
            (split, batch)
            for split, part in listing.splits.items()
            for batch in decode.decode_files(
                [os.fsencode(root / file.path) for file in part],
                np.array([file.label for file in part]),
                [file.name for file in part],
                size,
                channels,
            )
        )
        _Build(directory, root, config, (size, size, channels), len(files)).run(
            parts, listing.class_names
        )

    rows = {split: [tuple(file) for file in part] for split, part in listing.splits.items()}
    key = cache.key(folder=str(root), files=rows, **_settings(config))
    examples = _read(cache.entry(cache_directory(config), key, build), listing.notes)
    return folder.File(root.name or "/", 0, 0, 0).name, examples


def load_tfds(name: str, config: DataConfig) -> tuple[str, Examples]:
    """Name and images of `tfds:NAME[/CONFIG]`.

    Raises:
      UserError: it is not prepared on this machine, or has no such split or no labelled images;
        an image is unreadable, unless such are skipped.
    """
    version = prepared.find(name, prepared.data_directory(config.data_dir))
    settings = {f"{split}_split": getattr(config, f"{split}_split") for split in SPLITS}

    def build(directory: Path) -> None:
        from blurjax.data import decode

        dataset = decode.PreparedDataset(name, version)
        used = {setting: split for setting, split in settings.items() if split is not None}
        for setting, split in used.items():
            dataset.check_split(split, setting)
        sample = dataset.sample(config.train_split, SAMPLE)
        size, channels = pixels.fit(sample, config.image_size, config.channels)
        parts = (
            (setting.removesuffix("_split"), batch)
            for setting, split in used.items()
            for batch in dataset.decode(split, size, channels)
        )
        _Build(directory, Path(name), config, (size, size, channels), None).run(
            parts, dataset.class_names
        )

    files = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(version.iterdir())]
    key = cache.key(tfds=str(version.resolve()), files=files, **settings, **_settings(config))
    return name, _read(cache.entry(cache_directory(config), key, build), ())


def _settings(config: DataConfig) -> dict[str, object]:
    """What decoded images depend on besides the files."""
    return {
        "image_size": config.image_size,
        "channels": config.channels,
        "on_bad_image": config.on_bad_image,
        "decoder": pixels.VERSION,
    }


class _Build:
    """Writes decoded images, and what belongs to them, into an entry of the cache."""

    def __init__(
        self,
        directory: Path,
        source: Path,
        config: DataConfig,
        shape: tuple[int, int, int],
        expected: int | None,
    ):
        self._directory = directory
        self._source = source
        self._skips = config.on_bad_image == "skip"
        self._shape = shape
        self._expected = expected
        self._names: list[str] = []
        self._labels: list[int] = []
        self._splits: list[int] = []
        self._skipped: list[str] = []

    def run(self, parts: Iterator[tuple[str, Decoded]], class_names: tuple[str, ...]) -> None:
        """Decodes all (split, batch)."""
        logged = time.monotonic()
        _log.info("Decoding the images of %s; this happens once.", shown(self._source))
        with cache.ImageWriter(self._directory / "images.npy", self._shape) as writer:
            for split, batch in parts:
                self._append(writer, split, batch)
                if time.monotonic() > logged + _LOG_SECONDS:
                    logged = time.monotonic()
                    total = f" of {self._expected:,}" if self._expected else ""
                    _log.info("Decoded %s%s images.", f"{len(self._names):,}", total)
        self._check()
        np.save(self._directory / "labels.npy", np.array(self._labels, np.int32))
        np.save(self._directory / "splits.npy", np.array(self._splits, np.int8))
        images = np.load(self._directory / "images.npy", mmap_mode="r")
        meta = {
            "class_names": class_names,
            "names": self._names,
            "skipped": self._skipped,
            "pixels_sha256": pixels_sha256(images),
        }
        write_json(self._directory / "meta.json", meta)

    def _append(self, writer: cache.ImageWriter, split: str, batch: Decoded) -> None:
        for name, problem in zip(batch.names, batch.problems, strict=True):
            if problem and not self._skips:
                raise UserError(
                    f"{shown(self._source / name)} cannot be used as an image: {problem}; "
                    "remove or replace it, or skip such images with data.on_bad_image=skip."
                )
        good = [position for position, problem in enumerate(batch.problems) if not problem]
        writer.append(batch.images if len(good) == len(batch.names) else batch.images[good])
        self._names += [batch.names[position] for position in good]
        self._labels += batch.labels[good].tolist()
        self._splits += [SPLITS.index(split)] * len(good)
        self._skipped += [
            name for name, problem in zip(batch.names, batch.problems, strict=True) if problem
        ]

    def _check(self) -> None:
        source = shown(self._source)
        if not self._names:
            raise UserError(f"{source} has no readable image; look at {shown(self._skipped[0])}.")
        if min(self._labels) < 0:
            raise UserError(f"{source} hides the labels of a split; choose splits with labels.")
        if len(set(self._names)) < len(self._names):
            raise UserError(
                f"The splits asked of {source} overlap, so that test images would be trained on; "
                "change data.train_split, data.validation_split or data.test_split."
            )


def _read(entry: Path, notes: tuple[str, ...]) -> Examples:
    meta = read_json(entry / "meta.json")
    splits = np.load(entry / "splits.npy")
    shipped = {name: np.flatnonzero(splits == code) for code, name in enumerate(SPLITS)}
    skipped = meta["skipped"]
    if skipped:
        were = "image was" if len(skipped) == 1 else "images were"
        names = listed([shown(name) for name in skipped])
        notes = (*notes, f"{len(skipped)} unusable {were} skipped: {names}.")
    return Examples(
        images=np.load(entry / "images.npy", mmap_mode="r"),
        labels=np.load(entry / "labels.npy"),
        names=tuple(meta["names"]),
        class_names=tuple(meta["class_names"]),
        shipped={name: rows for name, rows in shipped.items() if name == "train" or len(rows)},
        pixels_sha256=meta["pixels_sha256"],
        notes=notes,
    )
