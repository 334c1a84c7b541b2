"""The run directory: atomic writes, one writer, fingerprints, metrics. Its layout is in docs/run_directory.md."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from blurjax.runtime import lock
from blurjax.runtime.errors import UserError

FORMAT = 4
SUBDIRECTORIES = ("checkpoints", "views", "predictions", "figures", "tables")
TEMPORARY = ".blurjax-tmp"
"""Ends the names of files that are not whole yet."""
DAMAGED = (ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading an open .npz or JSON file may raise where bytes of it have changed."""
logger = logging.getLogger("blurjax")


class RunDirectory:
    """Paths and files of one run. Files are replaced whole or not at all; arrays are .npz, never pickles.

    Args:
      path: need not exist.
      writes: False where another process writes for this one, which then only reads.
    """

    def __init__(self, path: str | os.PathLike[str], *, writes: bool = True):
        self.path = path = Path(path)
        self.writes = writes
        self.format, self.config = path / "format.json", path / "config.yaml"
        self.environment, self.fingerprints = path / "environment.json", path / "fingerprints.json"
        self.dataset, self.audit = path / "dataset.json", path / "audit.json"
        self.metrics_file, self.seconds = path / "metrics.jsonl", path / "seconds.json"
        self.gallery, self.flips = path / "predictions/gallery.npz", path / "predictions/flips.npz"
        self.fitted_views = path / "views/fitted.npz"
        self.principal_components = path / "views/pca.npz"
        self.results, self.report = path / "results.json", path / "report.html"
        self.figures, self.tables = path / "figures", path / "tables"
        self._held: lock.Lock | None = None

    def predictions(self, train_view: str, test_view: str) -> Path:
        """The file of what classifiers of a train view predict of the test split in a test view."""
        return self.path / f"predictions/{train_view}-on-{test_view}.npz"

    def quality(self, view: str, split: str) -> Path:
        """The file of a view's image quality on a split."""
        return self.path / f"predictions/quality-{view}-{split}.npz"

    def probe(self, kind: str) -> Path:
        """The file of what a kind of probe predicts from the codes of the test split."""
        return self.path / f"predictions/code-{kind}.npz"

    def job(self, name: str) -> Path:
        """The directory of a job's checkpoints, such as "classifier/original/job-0"."""
        return self.path / "checkpoints" / name

    def job_file(self, name: str) -> Path:
        """The list of a job's trials."""
        return self.job(name) / "job.json"

    def create(self) -> None:
        """Makes the directory and checks that it is one of ours and of this format.

        Raises:
          UserError: it cannot be made or written, holds other files, or was written in another format.
        """
        with readable_os_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            marker = self.format
            if not marker.exists():
                names = sorted(path.name for path in self.path.iterdir())
                strangers = [
                    name for name in names if not name.startswith((".format.json.", ".lock"))
                ]
                if strangers:
                    raise UserError(
                        f"{self.path} is not empty and not a run of blurjax (it holds {strangers[0]}); "
                        "name another directory with --out."
                    )
                self.write_json(marker, {"format": FORMAT})
        self.check_format()

    def check_format(self) -> None:
        """Raises UserError where this is no run directory, one of another format, or one that leads elsewhere."""
        marker = self.format
        if not marker.is_file():
            raise UserError(f"{self.path} is not a run of blurjax: it has no format.json.")
        found = read_json(marker).get("format")
        if found != FORMAT:
            raise UserError(
                f"{self.path} was written in format {found}, this version of blurjax reads format {FORMAT}; "
                "name another directory with --out."
            )
        for name in SUBDIRECTORIES:
            if (self.path / name).is_symlink():
                raise UserError(
                    f"{self.path / name} is a link, and blurjax writes only inside the run directory; remove it."
                )

    @contextlib.contextmanager
    def lock(self, *, take_over: bool = False) -> Iterator[None]:
        """Holds the directory for one writer, and keeps what is logged meanwhile in run.log.

        Args:
          take_over: even from another machine that was alive a moment ago.

        Raises:
          UserError: another process holds it.
        """
        with readable_os_errors(self.path), lock.hold(self.path / ".lock", take_over=take_over) as held:
            self._held = held
            for left in self.path.rglob(f".*{TEMPORARY}"):  # by a process that was killed
                left.unlink(missing_ok=True)
            with _log_to(self.path / "run.log"):
                yield

    def check_owner(self) -> None:
        """Raises UserError where the directory was deleted or taken over since it was locked."""
        if self._held is not None:
            self._held.check()

    def check_fingerprint(self, stage: str, settings: Mapping[str, Any]) -> None:
        """Refuses to continue a stage that was run with other settings; remembers those of a new stage.

        Args:
          stage: name of the stage.
          settings: dotted key -> value of everything that the stage's results depend on.

        Raises:
          UserError: the stage was run with other settings; names the first that differs.
        """
        path = self.fingerprints
        known = read_json(path) if path.exists() else {}
        settings = json.loads(json.dumps(settings))
        if stage not in known:
            self.write_json(path, known | {stage: settings})
            return
        old = known[stage]
        keys = sorted(settings.keys() | old.keys())
        differing = [key for key in keys if settings.get(key) != old.get(key)]
        if differing:
            key, more = differing[0], len(differing) - 1
            others = f" ({more} more {'settings differ' if more > 1 else 'setting differs'})"
            raise UserError(
                f"{self.path} was made with {key} = {old.get(key)!r}, not {settings.get(key)!r}"
                f"{others if more else ''}; name another directory with --out, or use the old setting."
            )

    def write_bytes(self, path: Path, content: bytes) -> None:
        """Replaces a file of the directory."""
        if self.writes:
            write_bytes(path, content)

    def write_json(self, path: Path, value: Any) -> None:
        """Replaces a file of the directory by JSON; numbers that are not finite become null."""
        if self.writes:
            write_json(path, value)

    def write_npz(self, path: Path, /, **arrays: np.ndarray) -> None:
        """Replaces a file of the directory by compressed arrays; equal arrays give equal bytes."""
        if self.writes:
            write_npz(path, **arrays)

    # metrics.jsonl

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Adds one line to metrics.jsonl and waits until it is on the disk."""
        if not self.writes:
            return
        self.check_owner()
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(jsonable(line), allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def metrics(self) -> list[dict[str, Any]]:
        """All whole lines of metrics.jsonl.

        Raises:
          UserError: it is damaged.
        """
        path = self.metrics_file
        if not path.exists():
            return []
        lines = path.read_bytes().split(b"\n")
        with _named_damage(path):
            # What follows the last newline was cut off by a crash.
            return [json.loads(line) for line in lines[:-1]]

    def keep_metrics(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drops the lines of metrics.jsonl for which keep is False, and a line cut off by a crash."""
        kept = [json.dumps(line) + "\n" for line in self.metrics() if keep(line)]
        self.write_bytes(self.metrics_file, "".join(kept).encode())


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replaces a file by what `write` writes: whole and on the disk, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    synchronize(path.parent)


def synchronize(path: Path) -> None:
    """Waits until a file, or the list of names in a directory, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems, and those in user space, do this for files alone.
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
    """The content of a JSON file.

    Raises:
      UserError: it is damaged.
    """
    content = path.read_bytes()
    with _named_damage(path):
        return json.loads(content)


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Replaces a file by compressed arrays; equal arrays give equal bytes."""

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in arrays.items():
                # Opened by name, an entry has a fixed date and not today's.
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)

    write_atomically(path, write)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file.

    Raises:
      UserError: it is damaged, or holds pickled objects.
    """
    with path.open("rb") as file, _named_damage(path), np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@contextlib.contextmanager
def _named_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGED as error:
        raise UserError(f"{path} is damaged: {error}.") from None


def jsonable(value: Any) -> Any:
    """Arrays and NumPy scalars to lists and numbers; what is not finite to None."""
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


@contextlib.contextmanager
def readable_os_errors(path: Path) -> Iterator[None]:
    """Turns an OSError into the sentence that a user can act on."""
    try:
        yield
    except OSError as error:
        raise UserError(os_error_sentence(error, path)) from None


def os_error_sentence(error: OSError, path: Path) -> str:
    """What is wrong with the disk or the directory, in one sentence."""
    where = error.filename or path
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full: {where} could not be written; free some space and run the same command again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where} cannot be written ({error.strerror}); name another directory with --out."
    if error.errno == errno.ENOENT:
        return f"{where} has disappeared; was the run directory deleted?"
    return f"{where}: {error.strerror or error}."


@contextlib.contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Appends what blurjax logs, with the time."""
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
