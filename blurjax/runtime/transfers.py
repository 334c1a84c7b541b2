"""Moves or copies files into a folder: nothing is replaced, and nothing is lost if the process is killed."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from blurjax.runtime.errors import UserError
from blurjax.runtime.files import synchronize, temporary_beside


class Transfer(NamedTuple):
    """A file and where it is to go, or has gone."""

    source: Path
    target: Path | None
    """None: it stays where it is."""
    reason: str = ""
    """Why it stays."""


def plan_transfers(paths: Iterable[Path], directory: Path, *, move: bool) -> list[Transfer]:
    """Says where files would go, and changes nothing.

    A name that is taken gets " (2)" and so on, also where it differs in the case of letters alone. A file that is in
    the directory already, under its name and with the same content, stays: it is not copied or moved a second time.
    Links are not moved, since they may not lead anywhere from another place.

    Args:
      paths: of files.
      directory: need not exist.
      move: whether they are to be moved rather than copied.

    Raises:
      UserError: the directory is a file or cannot be read.
    """
    try:
        names = os.listdir(directory)  # noqa: PTH208
    except FileNotFoundError:
        names = []
    except OSError as error:
        raise UserError(
            f"{directory} cannot be used as a folder ({error.strerror or error}); name another one."
        ) from None
    there: dict[str, list[str]] = {}
    for name in names:
        there.setdefault(name.casefold(), []).append(name)
    planned: set[str] = set()
    transfers = []
    for path in paths:
        if move and path.is_symlink():
            transfers.append(Transfer(path, None, "it is a link; move the file that it leads to"))
            continue
        for name in names_for(path.name):
            taken = [directory / other for other in there.get(name.casefold(), [])]
            if not taken and name.casefold() not in planned:
                planned.add(name.casefold())
                transfers.append(Transfer(path, directory / name))
                break
            same = next((other for other in taken if _is_same(path, other)), None)
            if same is not None:
                transfers.append(Transfer(path, None, f"{same} is the same"))
                break
    return transfers


def make_transfers(transfers: Iterable[Transfer], *, move: bool) -> Iterator[Transfer]:
    """Moves or copies files as planned, one after the other, and yields what has become of each.

    A target that has been taken since gets another number. Between file systems a file is copied, and removed when the
    copy is on the disk; a file that fails stays, and the rest goes on.

    Args:
      transfers: of `plan_transfers`.
      move: as there.

    Raises:
      UserError: the folder cannot be made.
    """
    for transfer in transfers:
        if transfer.target is None:
            yield transfer
            continue
        folder = transfer.target.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{folder} cannot be made ({error.strerror or error}); name another folder."
            ) from None
        try:
            yield Transfer(transfer.source, _transfer(transfer.source, transfer.target, move))
        except OSError as error:
            yield Transfer(transfer.source, None, error.strerror or str(error))


def names_for(name: str) -> Iterator[str]:
    """Yields a name and what it becomes where it is taken: "a.jpg", "a (2).jpg", "a (3).jpg", ..."""
    yield name
    path = Path(name)
    for number in itertools.count(2):
        yield f"{path.stem} ({number}){path.suffix}"


def _is_same(path: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(path, other, shallow=False)
    except OSError:
        return False


def _transfer(source: Path, target: Path, move: bool) -> Path:
    """Moves or copies a file and returns its new place.

    The name is reserved by an empty file, which then is replaced: as there is no other way on all file systems to move
    a file where nothing may be replaced.
    """
    target = _reserve(target)
    reserved = target.stat().st_ino
    try:
        is_renamed = move and _is_renamed(source, target)
        if not is_renamed:
            _copy(source, target)
    except BaseException:
        with contextlib.suppress(OSError):
            if target.stat().st_ino == reserved:  # nothing has taken its place
                target.unlink()
        raise
    if move and not is_renamed:
        try:
            synchronize(target.parent)
            source.unlink(missing_ok=True)
        except OSError:
            if source.exists():
                target.unlink()
            raise
    # It is there, whether or not the names are on the disk already.
    with contextlib.suppress(OSError):
        synchronize(target.parent)
        synchronize(source.parent)
    return target


def _reserve(target: Path) -> Path:
    """Makes an empty file under the first name that is free."""
    for name in names_for(target.name):
        with contextlib.suppress(FileExistsError):
            target.with_name(name).touch(exist_ok=False)
            return target.with_name(name)
    raise AssertionError("there is always another name")


def _is_renamed(source: Path, target: Path) -> bool:
    """Moves a file within a file system; returns False where the target lies on another one."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    """Replaces a file by a copy of another one, times and permissions included, that is on the disk."""
    temporary = temporary_beside(target)
    try:
        shutil.copy2(source, temporary)
        synchronize(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
