"""Files that are written whole or not at all, and read with errors that name the file."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from blurjax.runtime.errors import UserError

if TYPE_CHECKING:
    import numpy as np

TEMPORARY = ".blurjax-tmp"
"""Suffix of files that are not complete yet."""
DAMAGED = (ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading a .npz or JSON file may raise where its bytes have changed."""


def expand_path(path: str | os.PathLike[str]) -> Path:
    """Replaces ~ by the home directory; raises UserError where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"The path {str(path)!r} cannot be found: {error}") from None


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replaces a file by what `write` writes, and waits until it is on the disk; a failed write changes nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    synchronize(path.parent)


def temporary_beside(path: Path) -> Path:
    """Returns a new name in the directory of a path, which is short however long the path's own name is."""
    return path.with_name(f".{uuid.uuid4().hex}{TEMPORARY}")


def synchronize(path: Path) -> None:
    """Waits until a file, or the list of names in a directory, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and user-space file systems synchronize files only.
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a file atomically."""
    write_atomically(path, lambda file: file.write(content))


def write_json(path: Path, value: Any) -> None:
    """Replaces a file by JSON; numbers that are not finite become null."""
    write_bytes(path, (json.dumps(jsonable(value), indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file.

    Raises:
      UserError: it is damaged.
    """
    content = path.read_bytes()
    with named_damage(path):
        return json.loads(content)


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Replaces a file by compressed arrays; equal arrays give equal bytes."""
    import numpy as np

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in arrays.items():
                # An entry that is opened by name has a fixed date instead of the current one.
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)

    write_atomically(path, write)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Returns all arrays of a file.

    Raises:
      UserError: it is damaged, or holds pickled objects.
    """
    import numpy as np

    with path.open("rb") as file, named_damage(path), np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@contextlib.contextmanager
def named_damage(path: Path) -> Iterator[None]:
    """Turns the errors of reading a damaged file into a UserError that names it."""
    try:
        yield
    except DAMAGED as error:
        raise UserError(f"{path} is damaged: {error}.") from None


def jsonable(value: Any) -> Any:
    """Converts arrays and NumPy scalars to lists and numbers, and numbers that are not finite to None."""
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    if hasattr(value, "tolist"):  # an array; NumPy is not imported for this
        return jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextlib.contextmanager
def readable_os_errors(path: Path) -> Iterator[None]:
    """Turns an OSError of a path, or of what lies in it, into a UserError that says what to do; others pass."""
    try:
        yield
    except ConnectionError:
        raise  # of a user's function, or of standard output, such as by `| head`
    except OSError as error:
        if not concerns(error, path):
            raise
        # Of a file that is renamed, the name that it was to get.
        where, why = error.filename2 or error.filename or path, error.strerror or error
        if str(where).endswith(TEMPORARY):
            where = Path(where).parent
        match error.errno:
            case errno.ENOSPC | errno.EDQUOT:
                sentence = (
                    f"The disk is full: {where} could not be written; "
                    "free some space and run the same command again."
                )
            case errno.EROFS:
                sentence = f"{where} cannot be written ({why}); use another directory."
            case errno.EACCES | errno.EPERM:
                sentence = (
                    f"{where} cannot be read or written ({why}); "
                    "correct the permissions or use another directory."
                )
            case errno.ENOENT:
                sentence = f"{where} has disappeared; was the run directory deleted?"
            case _:
                sentence = f"{where}: {why}."
        raise UserError(sentence) from None


def concerns(error: OSError, path: Path) -> bool:
    """Returns whether an error may be of a path, what lies there or leads there; False where it names another place."""
    name = error.filename2 or error.filename
    if not isinstance(name, str):
        return True
    place, folder = Path(name).absolute(), path.absolute()
    if not os.path.isdir(path):  # noqa: PTH112 (Path.is_dir may raise the same error again)
        folder = folder.parent  # where a file is written under a temporary name
    return place.is_relative_to(folder) or folder.is_relative_to(place)
