"""Finds the images, classes and splits in a folder, without opening an image."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from blurjax.config.settings import DataConfig
from blurjax.data.decoding import SAMPLE, EncodedImage, EncodedImages, load_decoded
from blurjax.data.directories import images, raise_error, subfolders, visible
from blurjax.data.examples import Examples, check_classes
from blurjax.data.file_kinds import is_image
from blurjax.data.messages import (
    explain_read_errors,
    join_names,
    printable,
    valid_utf8,
)
from blurjax.data.split_folders import find_splits
from blurjax.runtime.errors import UserError
from blurjax.runtime.files import expand_path
from blurjax.runtime.run_directory import MARK, is_run_directory


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


_Found = tuple[str, os.stat_result]
"""An image file before classes are numbered: the path below the root, the status."""


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

    Split folders may have other usual names (see `find_splits`), and may lie in a folder of the same name again. Class
    folders may have folders within. Run directories, and files that are no images, are left out with a note.

    Raises:
      UserError: root is missing or no folder, or holds no class folders, or a class has no images in a split, or a
        folder may not be read, or it cannot be told which folders are the classes.
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
        folders, noted, notes = subfolders(root), _Noted([], [], []), []
        places = find_splits(root, folders)
        unused = [folder.name for folder in folders if folder not in places.values()]
        if places and unused:
            notes.append(f"Folders beside the splits were left out: {join_names(unused)}.")
        found: dict[str, dict[str, list[_Found]]] = {}
        for split, path in (places or {"train": root}).items():
            inner = subfolders(path)
            if places and [path.name] == [f.name for f in inner] and subfolders(inner[0]):
                path = inner[0]  # seg_train/seg_train, as Kaggle packs the Intel scenes
            classes = _class_folders(path)
            if loose := len(images(path)):
                files = "1 file was" if loose == 1 else f"{loose} files were"
                place = f"the class folders of {valid_utf8(path.name)}"
                notes.append(f"{files} left out because of lying beside {place}.")
            found[split] = _files_of_classes(root, classes, noted)
            _check_sorted_into_classes(path, found["train"], found[split])
    class_names = tuple(sorted({name for files in found.values() for name in files}))
    splits: dict[str, list[File]] = {}
    for split, files_of in found.items():
        files = [
            File(path, label, status.st_size, status.st_mtime_ns)
            for label, name in enumerate(class_names)
            for path, status in files_of.get(name, ())
        ]
        splits[split] = sorted(files, key=lambda file: os.fsencode(file.path))
    labels = {split: [file.label for file in files] for split, files in splits.items()}
    check_classes(printable(root), class_names, labels)
    return Listing(root, class_names, splits, (*notes, *noted.notes()))


class _Noted(NamedTuple):
    """Paths below the root of what in class folders is worth a note."""

    runs: list[str]
    others: list[str]
    """Files that are no images."""
    inner: list[str]
    """Folders with images, within class folders."""

    def notes(self) -> list[str]:
        """The sentences that a reader of results should know."""
        notes = []
        if self.runs:
            notes.append(f"Run directories of blurjax were left out: {join_names(self.runs)}.")
        if self.others:
            count = len(self.others)
            files = (
                "1 file that is no image was"
                if count == 1
                else f"{count:,} files that are no images were"
            )
            notes.append(f"{files} left out: {join_names(self.others)}.")
        if self.inner:
            inner = join_names(self.inner)
            notes.append(f"Images in folders within class folders count for the class: {inner}.")
        return notes


def _class_folders(path: Path) -> dict[str, list[Path]]:
    """The folders of each class of a split.

    Names that differ in Unicode's normal form alone, which systems choose differently, are one class.
    """
    folders, place = subfolders(path), printable(path)
    if not folders:
        found = "images but no class folders" if images(path) else "no class folders"
        raise UserError(
            f"{place} holds {found}; put the images of each class into a folder of its own, "
            f"as in {place}/CLASS/image.jpg."
        )
    if len(folders) == 1 and len(subfolders(folders[0])) > 1:
        raise UserError(
            f"{place} has a single class folder, {printable(folders[0].name)}, with folders in it; "
            f"did you mean folder:{printable(folders[0])}?"
        )
    classes: dict[str, list[Path]] = {}
    for folder in folders:
        name = unicodedata.normalize("NFC", valid_utf8(folder.name))
        classes.setdefault(name, []).append(folder)
    return classes


def _check_sorted_into_classes(path: Path, train: Iterable[str], of_split: Iterable[str]) -> None:
    """Raises UserError where a split's images lie in one folder that is no class, as those of tiny ImageNet's val."""
    known, names = set(train), list(of_split)
    if len(known) > 1 and len(names) == 1 and names[0] not in known:
        place = printable(path)
        raise UserError(
            f"{place} is not sorted into classes: it holds a single folder, {printable(names[0])}, which is no class "
            f"of the train split; move its images to {place}/CLASS/, or move {printable(path.name)} away, and a part "
            "of train takes its place."
        )


def _files_of_classes(
    root: Path, classes: Mapping[str, Sequence[Path]], noted: _Noted
) -> dict[str, list[_Found]]:
    """The images of each class; a folder with nothing but run directories is none."""
    files_of = {}
    for name, folders in classes.items():
        runs = len(noted.runs)
        files = [file for folder in folders for file in _files(root, folder, noted)]
        if files or len(noted.runs) == runs:
            files_of[name] = files
    return files_of


def _files(root: Path, folder: Path, noted: _Noted) -> Iterator[_Found]:
    """Yields the images in a folder and below; one linked into itself, or twice, is entered once."""
    chains = (folder.absolute(), folder.resolve())
    above = {place.stat() for chain in chains for place in (chain, *chain.parents)}
    entered = {(status.st_dev, status.st_ino) for status in above}
    for path, folders, names in os.walk(folder, followlinks=True, onerror=raise_error):
        if MARK in names and is_run_directory(Path(path)):
            noted.runs.append(valid_utf8(os.path.relpath(path, root)))
            folders.clear()
            continue
        statuses = {name: Path(path, name).stat() for name in visible(folders)}
        folders.clear()
        for name, status in statuses.items():
            if (identity := (status.st_dev, status.st_ino)) not in entered:
                entered.add(identity)
                folders.append(name)
        inner = False
        for file in (Path(path, name) for name in visible(names)):
            try:
                status = file.stat()
            except OSError:  # a link that leads nowhere, which decoding will report
                status = file.lstat()
            else:
                if not stat.S_ISREG(status.st_mode):  # reading a pipe could wait for ever
                    raise UserError(
                        f"{printable(file)} is not a regular file; remove it from the class folder."
                    )
            if is_image(file):
                inner |= path != str(folder)
                yield str(file.relative_to(root)), status
            else:
                noted.others.append(valid_utf8(str(file.relative_to(root))))
        if inner:
            noted.inner.append(valid_utf8(os.path.relpath(path, root)))
