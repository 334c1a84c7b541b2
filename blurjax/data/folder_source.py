"""Finds the images, classes and splits in a folder, without opening an image."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from blurjax.config.sections import DataConfig
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
    """What a folder of images holds."""

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
        _check_folder(root)
        places = _split_folders(root)
        notes = _left_out(root, set(places.values())) if places else ()
        places = {split: _unwrapped(path) for split, path in places.items()} or {"train": root}
        folders = {
            split: {valid_utf8(f.name): f for f in _folders(p)} for split, p in places.items()
        }
        for split, path in places.items():
            _check_class_folders(path, folders[split])
            notes += _loose_files(path)
        class_names = tuple(sorted({name for by_name in folders.values() for name in by_name}))
        number_of = {name: number for number, name in enumerate(class_names)}
        splits = {
            split: _files_of_split(root, by_name, number_of) for split, by_name in folders.items()
        }
    labels = {split: [file.label for file in files] for split, files in splits.items()}
    check_classes(printable(root), class_names, labels)
    return Listing(root, class_names, splits, notes)


def _check_folder(root: Path) -> None:
    if not root.exists():
        raise UserError(
            f"The folder {printable(root)} does not exist; check data.source, which is folder:PATH."
        )
    if not root.is_dir():
        raise UserError(
            f"{printable(root)} is not a folder; data.source must name one as folder:PATH."
        )


def _split_folders(root: Path) -> dict[str, Path]:
    """Split -> folder; empty where the folders are classes, even if one is called train."""
    role_of = {name: split for split, names in _SPLIT_FOLDERS.items() for name in names}
    folders = _folders(root)
    found: dict[str, Path] = {}
    for folder in folders:
        split = role_of.get(folder.name.casefold())
        if split in found:
            raise UserError(
                f"{printable(root)} has two folders for the {split} split, {found[split].name} and "
                f"{folder.name}; move one of them away."
            )
        if split is not None:
            found[split] = folder
    only_roles = len(found) == len(folders)
    if "train" not in found:
        if len(found) > 1 and only_roles and all(map(_folders, found.values())):
            names = " and ".join(folder.name for folder in found.values())
            raise UserError(
                f"{printable(root)} has the folders {names}, but none for the train split."
            )
        return {}
    if not only_roles and not _folders(found["train"]):
        return {}
    return {split: found[split] for split in _SPLIT_FOLDERS if split in found}


def _unwrapped(path: Path) -> Path:
    """seg_train/seg_train -> the inner one, which is how Kaggle packs the Intel scenes."""
    folders = _folders(path)
    if len(folders) == 1 and folders[0].name == path.name and _folders(folders[0]):
        return folders[0]
    return path


def _check_class_folders(path: Path, folders: dict[str, Path]) -> None:
    if not folders:
        what = "images but no class folders" if _inside(path)[1] else "no class folders"
        raise UserError(
            f"{printable(path)} holds {what}; put the images of each class into a folder of its own, "
            f"as in {printable(path)}/CLASS/image.jpg."
        )
    inner = next(iter(folders.values()))
    if len(folders) == 1 and len(_folders(inner)) > 1:
        raise UserError(
            f"{printable(path)} has a single class folder, {printable(inner.name)}, with folders in it; "
            f"did you mean folder:{printable(inner)}?"
        )


def _files_of_split(root: Path, by_name: dict[str, Path], number_of: dict[str, int]) -> list[File]:
    found: list[File] = []
    for name, folder in by_name.items():
        label, begin, prefix = number_of[name], len(str(folder)), str(folder.relative_to(root))
        for file in _walk(folder, _identities_above(folder)):
            status, path = _status(file), prefix + file.path[begin:]
            found.append(File(path, label, status.st_size, status.st_mtime_ns))
    return sorted(found, key=lambda file: os.fsencode(file.path))


def _walk(folder: Path | str, seen: set[tuple[int, int]]) -> Iterator[os.DirEntry[str]]:
    """Yields the files in a folder and below; one linked into itself, or twice, is entered once."""
    folders, files = _inside(folder)
    yield from files
    for inner in folders:
        status = inner.stat()
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            yield from _walk(inner.path, seen)


def _identities_above(folder: Path) -> set[tuple[int, int]]:
    """(device, inode) of a folder and all that it lies in, which a link must not lead back into."""
    chains = (folder.absolute(), folder.resolve())
    above = {place for chain in chains for place in (chain, *chain.parents)}
    return {(status.st_dev, status.st_ino) for status in map(Path.stat, above)}


def _inside(path: Path | str) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
    """The folders directly in path, sorted bytewise, and the files that may be images.

    Without hidden ones; with links that lead nowhere, which decoding will report. One reading of the
    directory tells the kinds: to ask for each file takes a round trip on a network file system.
    """
    folders, files = [], []
    with os.scandir(path) as entries:
        for entry in entries:
            name = entry.name.casefold()
            if name.startswith(".") or name in _NO_IMAGES:
                continue
            if _is_folder(entry):
                folders.append(entry)
            elif not name.endswith(_NO_IMAGE_SUFFIXES):
                files.append(entry)
    return sorted(folders, key=lambda entry: os.fsencode(entry.name)), files


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself
        return False


def _folders(path: Path) -> list[Path]:
    return [Path(entry.path) for entry in _inside(path)[0]]


def _left_out(root: Path, used: set[Path]) -> tuple[str, ...]:
    others = [folder.name for folder in _folders(root) if folder not in used]
    if not others:
        return ()
    return (f"Folders beside the splits were left out: {join_names(others)}.",)


def _loose_files(path: Path) -> tuple[str, ...]:
    count = len(_inside(path)[1])
    if not count:
        return ()
    files = "1 file was" if count == 1 else f"{count} files were"
    return (
        f"{files} left out because of lying beside the class folders of {valid_utf8(path.name)}.",
    )


def _status(file: os.DirEntry[str]) -> os.stat_result:
    """Of the file, or of the link itself where it leads nowhere: decoding will report it."""
    try:
        status = file.stat()
    except OSError:
        return file.stat(follow_symlinks=False)
    # Reading from a pipe or a device could wait for ever.
    if not stat.S_ISREG(status.st_mode):
        raise UserError(
            f"{printable(file.path)} is not a regular file; remove it from the class folder."
        )
    return status
