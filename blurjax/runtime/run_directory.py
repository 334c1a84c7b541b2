"""The run directory: atomic writes, one writer, fingerprints, metrics. Its layout is in docs/run_directory.md."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blurjax.runtime import lock
from blurjax.runtime.errors import UserError
from blurjax.runtime.files import (
    TEMPORARY,
    expand_path,
    jsonable,
    named_damage,
    read_json,
    readable_os_errors,
    write_bytes,
    write_json,
    write_npz,
)

if TYPE_CHECKING:
    import numpy as np

FORMAT = 4
MARK = "format.json"
"""A file that every run directory holds; it is written first."""
SUBDIRECTORIES = ("checkpoints", "views", "predictions", "figures", "tables")
logger = logging.getLogger("blurjax")


class RunDirectory:
    """Paths and files of one run. Files are replaced whole or not at all; arrays are .npz, never pickles.

    Args:
      path: need not exist; ~ is the home directory.
      writes: False where another process writes for this one, which then only reads.
    """

    def __init__(self, path: str | os.PathLike[str], *, writes: bool = True):
        self.path = path = expand_path(path)
        self.writes = writes
        self.format, self.config = path / MARK, path / "config.yaml"
        self.environment, self.fingerprints = path / "environment.json", path / "fingerprints.json"
        self.dataset, self.audit = path / "dataset.json", path / "audit.json"
        self.metrics_file, self.seconds = path / "metrics.jsonl", path / "seconds.json"
        self.gallery, self.flips = path / "predictions/gallery.npz", path / "predictions/flips.npz"
        self.fitted_views = path / "views/fitted.npz"
        self.principal_components = path / "views/pca.npz"
        self.code_ranges = path / "views/quantised.npz"
        self.results, self.report = path / "results.json", path / "report.html"
        self.interim = path / "interim.html"
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

    def codec(self, codec: str) -> Path:
        """The file of a codec's quality for each autoencoder."""
        return self.path / f"views/{codec}.npz"

    def decoded(self, codec: str, quality: int) -> Path:
        """The file of all images as a codec leaves them at a quality."""
        return self.path / f"views/{codec}-{quality}.npz"

    def job(self, name: str) -> Path:
        """The directory of a job's checkpoints, such as "classifier/original/job-0"."""
        return self.path / "checkpoints" / name

    def job_file(self, name: str) -> Path:
        """The list of a job's trials."""
        return self.job(name) / "job.json"

    def create(self) -> None:
        """Creates the directory, and checks that an existing one is a run directory of this format.

        Raises:
          UserError: it cannot be created or written, holds other files, or was written in another format.
        """
        with readable_os_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self.check_place()
            if not self.format.exists():
                self.write_json(self.format, {"format": FORMAT})
        self.check_format()

    def check_place(self) -> None:
        """Raises UserError where something else than a run of this format lies at the path."""
        with readable_os_errors(self.path):
            if self.format.exists():
                self.check_format()
            elif self.path.exists():
                for name in sorted(path.name for path in self.path.iterdir()):
                    if not (name.startswith(".lock") or name.endswith(TEMPORARY)):
                        raise UserError(
                            f"{self.path} is not empty and not a run of blurjax (it holds {name}); "
                            "name another directory with --out."
                        )

    def check_format(self) -> None:
        """Raises UserError where this is no run directory, has another format, or has links to elsewhere in it."""
        with readable_os_errors(self.path):
            if not self.format.is_file():
                raise UserError(f"{self.path} is not a run of blurjax: it has no format.json.")
            found = read_json(self.format).get("format")
        if found != FORMAT:
            raise UserError(
                f"{self.path} was written in format {found}, this version of blurjax reads format {FORMAT}; "
                "name another directory with --out."
            )
        for path in map(self.path.joinpath, SUBDIRECTORIES):
            if path.is_symlink():
                raise UserError(
                    f"{path} is a link, and blurjax writes only inside the run directory; remove it."
                )

    @contextlib.contextmanager
    def lock(self, *, take_over: bool = False) -> Iterator[None]:
        """Makes this process the only writer, and keeps the log in run.log meanwhile.

        Args:
          take_over: take the directory even from another machine that was alive a moment ago.

        Raises:
          UserError: another process is writing to it.
        """
        path = self.path / ".lock"
        with readable_os_errors(self.path), lock.hold(path, take_over=take_over) as self._held:
            for left in self.path.rglob(f".*{TEMPORARY}"):  # by a process that was killed
                left.unlink(missing_ok=True)
            with _log_to(self.path / "run.log"):
                yield

    def check_owner(self) -> None:
        """Raises UserError where the directory was deleted or taken over since it was locked."""
        if self._held is not None:
            self._held.check()

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
        """Adds a line to metrics.jsonl and waits until it is on the disk."""
        if not self.writes:
            return
        self.check_owner()
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(jsonable(line), allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def metrics(self) -> list[dict[str, Any]]:
        """Returns the lines of metrics.jsonl; one that a crash cut off is left out.

        Raises:
          UserError: it is damaged.
        """
        if not self.metrics_file.exists():
            return []
        *lines, _ = self.metrics_file.read_bytes().split(b"\n")  # after the last newline: cut off
        with named_damage(self.metrics_file):
            return [json.loads(line) for line in lines]

    def metrics_with_trials(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Yields each line of metrics.jsonl with the fields of its job's trials."""
        trials: dict[str, list[dict[str, Any]]] = {}
        for line in self.metrics():
            job = line["job"]
            if job not in trials:
                trials[job] = read_json(self.job_file(job))["trials"]
            yield line, trials[job]

    def keep_metrics(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drops the lines of metrics.jsonl for which `keep` is False, and one that a crash cut off."""
        kept = [json.dumps(line) + "\n" for line in self.metrics() if keep(line)]
        self.write_bytes(self.metrics_file, "".join(kept).encode())


def is_run_directory(path: Path) -> bool:
    """Returns whether a directory was written by blurjax, in whatever format."""
    try:
        content = json.loads((path / MARK).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and isinstance(content.get("format"), int)


@contextlib.contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Appends log messages of blurjax to a file, with the time."""
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
