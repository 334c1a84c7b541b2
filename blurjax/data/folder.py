"""Finds the images, classes and splits in a folder, without opening an image."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from blurjax.data.dataset import listed, shown
from blurjax.errors import UserError

_SPLIT_FOLDERS = {
    "train": ("train", "training", "seg_train"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing", "seg_test"),
}
_NO_IMAGES = (".ds_store", "thumbs.db", "desktop.ini")
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
        return _text(self.path)


class Listing(NamedTuple):
    """What a folder of images holds."""

    root: Path
    class_names: tuple[str, ...]
    splits: dict[str, list[File]]
    """Split -> files, sorted bytewise by path; always has "train"."""
    notes: tuple[str, ...]


def scan(root: Path) -> Listing:
    """Lists the images in `root/train|validation|test/class/...`, or in `root/class/...`.

    Splits may also be called training, valid, val, testing, seg_train and seg_test, and may lie in
    a folder of the same name again. Class folders may have folders within.

    Raises:
      UserError: root is missing or no folder, or holds no class folders, or the classes of its
        splits differ, or a folder may not be read.
    """
    try:
        return _scan(root)
    except OSError as error:
        place = shown(error.filename or root)
        raise UserError(
            f"{place} cannot be read ({error.strerror}); check the path and its permissions."
        ) from None


def _scan(root: Path) -> Listing:
    _check_folder(root)
    places = _split_folders(root)
    notes = _left_out(root, set(places.values())) if places else ()
    places = {split: _unwrapped(path) for split, path in places.items()} or {"train": root}
    folders = {split: {_text(f.name): f for f in _folders(path)} for split, path in places.items()}
    for split, path in places.items():
        _check_class_folders(path, folders[split])
        notes += _loose_files(path)
    class_names = tuple(sorted({name for by_name in folders.values() for name in by_name}))
    splits = {}
    for split, by_name in folders.items():
        _check_same_classes(root, split, by_name, class_names)
        splits[split] = _files_of_split(root, by_name, class_names)
    return Listing(root, class_names, splits, notes)


def _check_folder(root: Path) -> None:
    if not root.exists():
        raise UserError(
            f"The folder {shown(root)} does not exist; check data.source, which is folder:PATH."
        )
    if not root.is_dir():
        raise UserError(f"{shown(root)} is not a folder; data.source must name one as folder:PATH.")


def _split_folders(root: Path) -> dict[str, Path]:
    """Split -> folder; empty where the folders are classes, even if one is called train."""
    role_of = {name: split for split, names in _SPLIT_FOLDERS.items() for name in names}
    folders = _folders(root)
    found: dict[str, Path] = {}
    for folder in folders:
        split = role_of.get(folder.name.casefold())
        if split in found:
            raise UserError(
                f"{shown(root)} has two folders for the {split} split, {found[split].name} and "
                f"{folder.name}; move one of them away."
            )
        if split is not None:
            found[split] = folder
    only_roles = len(found) == len(folders)
    if "train" not in found or not (only_roles or _folders(found["train"])):
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
        what = "images but no class folders" if _files(path) else "no class folders"
        raise UserError(
            f"{shown(path)} holds {what}; put the images of each class into a folder of its own, "
            f"as in {shown(path)}/CLASS/image.jpg."
        )
    inner = next(iter(folders.values()))
    if len(folders) == 1 and len(_folders(inner)) > 1:
        raise UserError(
            f"{shown(path)} has a single class folder, {shown(inner.name)}, with folders in it; "
            f"did you mean folder:{shown(inner)}?"
        )


def _check_same_classes(
    root: Path, split: str, by_name: dict[str, Path], class_names: tuple[str, ...]
) -> None:
    missing = [shown(name) for name in class_names if name not in by_name]
    if missing:
        word = "class" if len(missing) == 1 else "classes"
        raise UserError(
            f"The {split} split of {shown(root)} lacks the {word} {listed(missing)}; every split "
            "needs a folder with images for every class."
        )


def _files_of_split(
    root: Path, by_name: dict[str, Path], class_names: tuple[str, ...]
) -> list[File]:
    found: list[File] = []
    for label, name in enumerate(class_names):
        files = list(_walk(by_name[name], _identities_above(by_name[name])))
        if not files:
            raise UserError(
                f"The class folder {shown(by_name[name])} has no images; add some or remove "
                "the folder."
            )
        for file in files:
            status = _status(file)
            found.append(
                File(str(file.relative_to(root)), label, status.st_size, status.st_mtime_ns)
            )
    return sorted(found, key=lambda file: os.fsencode(file.path))


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Yields the files in a folder and below; one linked into itself, or twice, is entered once."""
    yield from _files(folder)
    for inner in _folders(folder):
        status = inner.stat()
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            yield from _walk(inner, seen)


def _identities_above(folder: Path) -> set[tuple[int, int]]:
    """(device, inode) of a folder and all that it lies in, which a link must not lead back into."""
    chains = (folder.absolute(), folder.resolve())
    above = {place for chain in chains for place in (chain, *chain.parents)}
    return {(status.st_dev, status.st_ino) for status in map(Path.stat, above)}


def _folders(path: Path) -> list[Path]:
    """Folders directly in path, sorted bytewise; without hidden ones and macOS's resource forks."""
    inner = (p for p in path.iterdir() if not p.name.startswith(".") and p.name != "__MACOSX")
    return sorted((p for p in inner if p.is_dir()), key=os.fsencode)


def _files(path: Path) -> list[Path]:
    """Everything else directly in path that may be an image, broken links included."""
    return [p for p in path.iterdir() if not p.is_dir() and _may_be_image(p.name.casefold())]


def _may_be_image(name: str) -> bool:
    is_resource_fork = name.startswith("._")
    return not (is_resource_fork or name in _NO_IMAGES or name.endswith(_NO_IMAGE_SUFFIXES))


def _left_out(root: Path, used: set[Path]) -> tuple[str, ...]:
    others = [shown(folder.name) for folder in _folders(root) if folder not in used]
    if not others:
        return ()
    return (f"Folders beside the splits were left out: {listed(others)}.",)


def _loose_files(path: Path) -> tuple[str, ...]:
    count = len(_files(path))
    if not count:
        return ()
    files = "1 file was" if count == 1 else f"{count} files were"
    return (f"{files} left out because of lying beside the class folders of {_text(path.name)}.",)


def _status(path: Path) -> os.stat_result:
    """Of the file, or of the link itself where it leads nowhere: decoding will report it."""
    try:
        status = path.stat()
    except OSError:
        return path.lstat()
    # Reading from a pipe or a device could wait for ever.
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{shown(path)} is not a regular file; remove it from the class folder.")
    return status


def _text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")
