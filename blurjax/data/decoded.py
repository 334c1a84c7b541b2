"""Folders and TFDS data sets, decoded once into the cache and memory-mapped from then on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from blurjax.config.sections import DataConfig
from blurjax.data import cache, decode, folder, pixels, prepared
from blurjax.data.dataset import (
    SPLITS,
    Examples,
    listed,
    pixels_sha256,
    readable,
    shown,
    text,
    user_path,
)
from blurjax.runtime.errors import UserError
from blurjax.runtime.run_directory import read_json, write_json

SAMPLE = 200
"""Images that an image size or number of channels is fitted to."""
_LOG_SECONDS = 10
_log = logging.getLogger("blurjax")


def load_folder(path: str, config: DataConfig) -> tuple[str, Examples]:
    """Name and images of `folder:PATH`.

    Raises:
      UserError: see `folder.scan`; an image is unreadable or too small, unless such are skipped.
    """
    listing = folder.scan(user_path(path))
    listing = listing._replace(root=listing.root.resolve())

    key = {"folder": str(listing.root), "files": listing.splits}
    examples = _examples(
        lambda: decode.Folder(listing), list(listing.splits), config, key, listing.notes
    )
    return text(listing.root.name or "/"), examples


def load_tfds(name: str, config: DataConfig) -> tuple[str, Examples]:
    """Name and images of `tfds:NAME[/CONFIG]`.

    Raises:
      UserError: it is not prepared on this machine, or damaged, or has no such split or no labelled
        images; an image is unreadable, unless such are skipped.
    """
    data_dir = prepared.data_directory(config.data_dir)
    with readable(data_dir):
        version = prepared.find(name, data_dir)
        statuses = [(path.name, path.stat()) for path in sorted(version.iterdir())]
    settings = {split: getattr(config, f"{split}_split") for split in SPLITS}
    splits = {split: called for split, called in settings.items() if called is not None}

    files = [(file, status.st_size, status.st_mtime_ns) for file, status in statuses]
    key = {f"{split}_split": called for split, called in settings.items()}
    key |= {"tfds": str(version.resolve()), "files": files}
    examples = _examples(
        lambda: decode.PreparedDataset(name, version, splits), list(splits), config, key, ()
    )
    return name, examples


def _examples(
    source: Callable[[], decode.Source],
    splits: list[str],
    config: DataConfig,
    key: dict[str, object],
    notes: tuple[str, ...],
) -> Examples:
    """Decoded images from the cache, or from the source, which is opened only then.

    Args:
      source: opens it.
      splits: that the source has and that are asked for.
      config: settings of the data.
      key: what the images depend on besides `config`.
      notes: of the source.
    """
    name = cache.key(
        **key,
        image_size=config.image_size,
        channels=config.channels,
        on_bad_image=config.on_bad_image,
        decoder=pixels.VERSION,
    )
    root = cache.directory(config.cache_dir)
    entry = cache.entry(root, name, lambda directory: _build(directory, source(), splits, config))
    return _read(entry, splits, notes)


def _build(directory: Path, source: decode.Source, splits: list[str], config: DataConfig) -> None:
    """Writes decoded images, and what belongs to them, into an entry of the cache."""
    size, channels = pixels.fit(source.sample(SAMPLE), config.image_size, config.channels)
    labels, codes, names, skipped = [], [], [], []
    batches = ((split, batch) for split in splits for batch in source.decode(split, size, channels))
    _log.info("Decoding the images of %s; this happens once.", shown(source.place))
    with cache.ImageWriter(directory / "images.npy", (size, size, channels)) as writer:
        for split, batch in _logged(batches, source.size):
            good = np.array([not problem for problem in batch.problems])
            if not good.all() and config.on_bad_image == "error":
                raise _unusable(source.place, batch)
            if batch.labels.min() < 0:
                raise UserError(
                    f"{shown(source.place)} hides the labels of a split; choose splits with labels."
                )
            writer.append(batch.images[good])
            labels += batch.labels[good].tolist()
            codes += [SPLITS.index(split)] * int(good.sum())
            for name, is_good in zip(batch.names, good, strict=True):
                (names if is_good else skipped).append(name)
    _check(source.place, names, skipped)
    np.save(directory / "labels.npy", np.array(labels, np.int32))
    np.save(directory / "splits.npy", np.array(codes, np.int8))
    images = np.load(directory / "images.npy", mmap_mode="r")
    meta = {
        "class_names": source.class_names,
        "names": names,
        "skipped": skipped,
        "pixels_sha256": pixels_sha256(images),
    }
    write_json(directory / "meta.json", meta)


def _logged(
    batches: Iterable[tuple[str, decode.Decoded]], total: int
) -> Iterator[tuple[str, decode.Decoded]]:
    """Yields the batches, and says now and then how far they are."""
    logged, done = time.monotonic(), 0
    for split, batch in batches:
        yield split, batch
        done += len(batch.names)
        if time.monotonic() > logged + _LOG_SECONDS:
            logged = time.monotonic()
            _log.info("Decoded %s of %s images.", f"{done:,}", f"{total:,}")


def _unusable(place: Path, batch: decode.Decoded) -> UserError:
    name, problem = next(pair for pair in zip(batch.names, batch.problems, strict=True) if pair[1])
    return UserError(
        f"{shown(place / name)} cannot be used as an image: {problem}; "
        "remove or replace it, or skip such images with data.on_bad_image=skip."
    )


def _check(place: Path, names: list[str], skipped: list[str]) -> None:
    if not names:
        raise UserError(f"{shown(place)} has no readable image; look at {shown(skipped[0])}.")
    if len(set(names)) < len(names):
        raise UserError(
            f"The splits asked of {shown(place)} overlap, so that test images would be trained on; "
            "change data.train_split, data.validation_split or data.test_split."
        )


def _read(entry: Path, splits: list[str], notes: tuple[str, ...]) -> Examples:
    meta = read_json(entry / "meta.json")
    codes = np.load(entry / "splits.npy")
    skipped = meta["skipped"]
    if skipped:
        were = "image was" if len(skipped) == 1 else "images were"
        notes = (*notes, f"{len(skipped)} unusable {were} skipped: {listed(skipped)}.")
    return Examples(
        images=np.load(entry / "images.npy", mmap_mode="r"),
        labels=np.load(entry / "labels.npy"),
        names=tuple(meta["names"]),
        class_names=tuple(meta["class_names"]),
        # A split of which nothing is left is still one: no other takes its place.
        shipped={split: np.flatnonzero(codes == SPLITS.index(split)) for split in splits},
        pixels_sha256=meta["pixels_sha256"],
        notes=notes,
    )
