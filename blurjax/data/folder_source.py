"""Finds the images, classes and splits in a folder, without opening an image."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from blurjax.config.settings import DataConfig
from blurjax.data.decoding import SAMPLE, EncodedImage, EncodedImages, load_decoded
from blurjax.data.examples import Examples, check_classes
from blurjax.data.messages import (
    expand_path,
    explain_read_errors,
    join_names,
    printable,
    valid_utf8,
)
from blurjax.runtime.errors import UserError

_SPLIT_FOLDERS = {
    "train": ("train", "training", "seg_train"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing", "seg_test"),
}
_NO_IMAGES = ("thumbs.db", "desktop.ini", "__macosx")
_NO_IMAGE_SUFFIXES = (".txt", ".csv", ".json", ".xml", ".md")


class File(NamedTuple):
    """An image file, still unopened."""

    path: str
    """Below the root of the listing; may hold surrogates where a name is not UTF-8."""
    label: int
    size: int
    modified: int
    """Nanoseconds."""

    @property
    def name(self) -> str:
        """The path as text that any file and page can hold."""
        return valid_utf8(self.path)


class Listing(NamedTuple):
    """The content of a folder of images."""

    root: Path
    class_names: tuple[str, ...]
    splits: dict[str, list[File]]
    """Split -> files, sorted bytewise by path; always has "train"."""
    notes: tuple[str, ...]


def load_folder(path: str, config: DataConfig) -> Examples:
    """Loads `folder:PATH`, from the cache where its files are as they were.

    Raises:
      UserError: see `scan` and `load_decoded`.
    """
    listing = scan(expand_path(path))
    listing = listing._replace(root=listing.root.resolve())
    return load_decoded(
        valid_utf8(listing.root.name or "/"),
        lambda: encoded_images(listing),
        list(listing.splits),
        config,
        {"folder": str(listing.root), "files": listing.splits},
        listing.notes,
    )


def encoded_images(listing: Listing) -> EncodedImages:
    """The image files of a folder, for `decoding`."""
    root, files = listing.root, [file for part in listing.splits.values() for file in part]
    spread = np.unique(np.linspace(0, len(files) - 1, SAMPLE).astype(int))
    return EncodedImages(
        place=root,
        class_names=listing.class_names,
        count=len(files),
        splits={
            split: (EncodedImage(root / file.path, file.label, file.name) for file in part)
            for split, part in listing.splits.items()
        },
        sample=(root / files[position].path for position in spread),
    )


def scan(root: Path) -> Listing:
    """Lists the images in `root/train|validation|test/class/...`, or in `root/class/...`.

    Splits may also be called training, valid, val, testing, seg_train and seg_test, and may lie in
    a folder of the same name again. Class folders may have folders within.

    Raises:
      UserError: root is missing or no folder, or holds no class folders, or a class has no images
        in a split, or a folder may not be read.
    """
    with explain_read_errors(root):
        if not root.exists():
            raise UserError(
                f"The folder {printable(root)} does not exist; check data.source, which is "
                "folder:PATH."
            )
        if not root.is_dir():
            raise UserError(
                f"{printable(root)} is not a folder; data.source must name one as folder:PATH."
            )
        places, notes = _split_folders(root), ()
        unused = [folder.name for folder in _folders(root) if folder not in places.values()]
        if places and unused:
            notes += (f"Folders beside the splits were left out: {join_names(unused)}.",)
        classes: dict[str, dict[str, Path]] = {}
        for split, path in (places or {"train": root}).items():
            inner = _folders(path)
            if places and [path.name] == [f.name for f in inner] and _folders(inner[0]):
                path = inner[0]  # seg_train/seg_train, as Kaggle packs the Intel scenes
            classes[split], loose = _class_folders(path)
            if loose:
                files = "1 file was" if loose == 1 else f"{loose} files were"
                place = valid_utf8(path.name)
                notes += (
                    f"{files} left out because of lying beside the class folders of {place}.",
                )
        class_names = tuple(sorted({name for folders in classes.values() for name in folders}))
        splits: dict[str, list[File]] = {split: [] for split in classes}
        for split, folders in classes.items():
            for name, folder in folders.items():
                splits[split] += _files(root, folder, class_names.index(name))
            splits[split].sort(key=lambda file: os.fsencode(file.path))
    labels = {split: [file.label for file in files] for split, files in splits.items()}
    check_classes(printable(root), class_names, labels)
    return Listing(root, class_names, splits, notes)


def _split_folders(root: Path) -> dict[str, Path]:
    """Split -> folder; empty where the folders are classes, even if one is called train."""
    split_of = {name: split for split, names in _SPLIT_FOLDERS.items() for name in names}
    folders = _folders(root)
    found: dict[str, Path] = {}
    for folder in folders:
        split = split_of.get(folder.name.casefold())
        if split in found:
            raise UserError(
                f"{printable(root)} has two folders for the {split} split, {found[split].name} and "
                f"{folder.name}; move one of them away."
            )
        if split is not None:
            found[split] = folder
    only_splits = len(found) == len(folders)
    if "train" not in found:
        if len(found) > 1 and only_splits and all(map(_folders, found.values())):
            names = " and ".join(folder.name for folder in found.values())
            raise UserError(
                f"{printable(root)} has the folders {names}, but none for the train split."
            )
        return {}
    if not only_splits and not _folders(found["train"]):
        return {}
    return {split: found[split] for split in _SPLIT_FOLDERS if split in found}


def _class_folders(path: Path) -> tuple[dict[str, Path], int]:
    """The folders of the classes of a split, and how many files lie beside them."""
    folders, files = _contents(path)
    place = printable(path)
    if not folders:
        found = "images but no class folders" if files else "no class folders"
        raise UserError(
            f"{place} holds {found}; put the images of each class into a folder of its own, "
            f"as in {place}/CLASS/image.jpg."
        )
    if len(folders) == 1 and len(_folders(folders[0])) > 1:
        raise UserError(
            f"{place} has a single class folder, {printable(folders[0].name)}, with folders in it; "
            f"did you mean folder:{printable(folders[0])}?"
        )
    return {valid_utf8(folder.name): folder for folder in folders}, len(files)


def _files(root: Path, folder: Path, label: int) -> Iterator[File]:
    """Yields the images in a folder and below; one linked into itself, or twice, is entered once."""
    chains = (folder.absolute(), folder.resolve())
    above = {place.stat() for chain in chains for place in (chain, *chain.parents)}
    entered = {(status.st_dev, status.st_ino) for status in above}
    begin = len(str(root)) + 1
    for path, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        statuses = {name: Path(path, name).stat() for name in _visible(folders)}
        folders.clear()
        for name, status in statuses.items():
            if (identity := (status.st_dev, status.st_ino)) not in entered:
                entered.add(identity)
                folders.append(name)
        for file in (Path(path, name) for name in _visible(names) if _may_be_image(name)):
            try:
                status = file.stat()
            except OSError:  # a link that leads nowhere, which decoding will report
                status = file.lstat()
            else:
                if not stat.S_ISREG(status.st_mode):  # reading a pipe could wait for ever
                    raise UserError(
                        f"{printable(file)} is not a regular file; remove it from the class folder."
                    )
            yield File(str(file)[begin:], label, status.st_size, status.st_mtime_ns)


def _contents(path: Path) -> tuple[list[Path], list[Path]]:
    """The folders directly in path, sorted bytewise, and the files that may be images; none hidden."""
    _, folders, files = next(os.walk(path, onerror=_raise))
    images = [path / name for name in _visible(files) if _may_be_image(name)]
    return [path / name for name in _visible(folders)], images


def _folders(path: Path) -> list[Path]:
    return _contents(path)[0]


def _visible(names: Iterable[str]) -> list[str]:
    seen = (n for n in names if not n.startswith(".") and n.casefold() not in _NO_IMAGES)
    return sorted(seen, key=os.fsencode)


def _may_be_image(name: str) -> bool:
    return not name.casefold().endswith(_NO_IMAGE_SUFFIXES)


def _raise(error: OSError) -> None:
    raise error
