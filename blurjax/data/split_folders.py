"""Tells folders that are splits from folders that are classes, by their names and by what they hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from blurjax.config.settings import SPLITS
from blurjax.data.directories import subfolders
from blurjax.data.messages import join_names, printable
from blurjax.runtime.errors import UserError

SPLIT_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Usual name -> split."""
_FILLERS = ("", "data", "image", "images", "seg", "split")
"""Words that say nothing beside a split's: train and test_images are of the same data."""
_WORD = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+|\d+")


class _SplitFolder(NamedTuple):
    """A folder whose name has one word for a split, such as train_set or flowers_train."""

    path: Path
    split: str
    rest: tuple[str, ...]
    """The other words, such as ("flowers",), without fillers."""


def find_splits(root: Path, folders: Sequence[Path]) -> dict[str, Path]:
    """Returns split -> folder, in the order of SPLITS; empty where the folders are classes.

    Args:
      root: for messages.
      folders: all folders in it.

    Raises:
      UserError: two folders are called as the same split, or none as train, or the folders seem to be splits under
        names that are not known.
    """
    named = [found for folder in folders if (found := _split_folder(folder)) is not None]
    splits: dict[str, Path] = {}
    for path, split, rest in named:
        # toy_train and blood_test are classes, flowers_train and flowers_test are splits.
        if rest and len({other.split for other in named if other.rest == rest}) < 2:
            continue
        if split in splits:
            raise UserError(
                f"{printable(root)} has two folders for the {split} split, {printable(splits[split].name)} "
                f"and {printable(path.name)}; move one of them away."
            )
        splits[split] = path
    only_splits = len(splits) == len(folders)
    # Else classes of which one is called train.
    if "train" in splits and (only_splits or subfolders(splits["train"])):
        return {split: splits[split] for split in SPLITS if split in splits}
    if len(splits) > 1 and only_splits and all(map(subfolders, splits.values())):
        names = " and ".join(printable(folder.name) for folder in splits.values())
        raise UserError(f"{printable(root)} has the folders {names}, but none for the train split.")
    _check_classes_differ(root, folders)
    return {}


def split_words(name: str) -> tuple[list[str], list[str]]:
    """Returns the splits that words of a name stand for, and its other words: "flowers_val" is of validation."""
    words = [word.casefold().removesuffix("set") for word in _WORD.findall(name)]
    splits = [SPLIT_OF[word] for word in words if word in SPLIT_OF]
    return splits, [word for word in words if word not in SPLIT_OF]


def _split_folder(path: Path) -> _SplitFolder | None:
    splits, words = split_words(path.name)
    if len(splits) != 1:
        return None
    return _SplitFolder(path, splits[0], tuple(word for word in words if word not in _FILLERS))


def _check_classes_differ(root: Path, folders: Sequence[Path]) -> None:
    """Raises UserError where all folders hold the same folders, so that either may be the classes."""
    common: set[str] = set()
    for folder in folders:
        inner = subfolders(folder)
        if len(inner) == 1:  # domain/images/class
            inner = subfolders(inner[0])
        names = {path.name for path in inner}
        if len(names) < 2 or names != (common or names):
            return
        common = names
    if len(folders) > 1:
        raise UserError(
            f"The folders {join_names([path.name for path in folders])} of {printable(root)} all hold the same folders "
            f"({join_names(sorted(common))}): where those are the classes, call the outer ones train, validation and "
            "test; where the outer ones are, put the images of each directly into it."
        )
