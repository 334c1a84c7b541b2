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
from blurjax.runtime.files import (  # noqa: F401 some only until all callers import them from there
    DAMAGED,
    TEMPORARY,
    jsonable,
    named_damage,
    os_error_sentence,
    read_json,
    read_npz,
    readable_os_errors,
    synchronize,
    write_atomically,
    write_bytes,
    write_json,
    write_npz,
)

if TYPE_CHECKING:
    import numpy as np

FORMAT = 3
SUBDIRECTORIES = ("checkpoints", "views", "predictions", "figures", "tables")
logger = logging.getLogger("blurjax")


class RunDirectory:
    """Paths and files of one run. Files are replaced whole or not at all; arrays are .npz, never pickles.

    Args:
      path: need not exist.
      writes: False where another process writes for this one, which then only reads.
    """

    def __init__(self, path: str | os.PathLike[str], *, writes: bool = True):
        self.path, self.writes = Path(path), writes
        self._held: lock.Lock | None = None

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def create(self) -> None:
        """Makes the directory and checks that it is one of ours and of this format.

        Raises:
          UserError: it cannot be made or written, holds other files, or was written in another format.
        """
        with readable_os_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            marker = self / "format.json"
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
                self.write_json("format.json", {"format": FORMAT})
        self.check_format()

    def check_format(self) -> None:
        """Raises UserError where this is no run directory, one of another format, or one that leads elsewhere."""
        marker = self / "format.json"
        if not marker.is_file():
            raise UserError(f"{self.path} is not a run of blurjax: it has no format.json.")
        found = read_json(marker).get("format")
        if found != FORMAT:
            raise UserError(
                f"{self.path} was written in format {found}, this version of blurjax reads format {FORMAT}; "
                "name another directory with --out."
            )
        for name in SUBDIRECTORIES:
            if (self / name).is_symlink():
                raise UserError(
                    f"{self / name} is a link, and blurjax writes only inside the run directory; remove it."
                )

    @contextlib.contextmanager
    def lock(self, *, take_over: bool = False) -> Iterator[None]:
        """Holds the directory for one writer, and keeps what is logged meanwhile in run.log.

        Args:
          take_over: even from another machine that was alive a moment ago.

        Raises:
          UserError: another process holds it.
        """
        with readable_os_errors(self.path), lock.hold(self / ".lock", take_over=take_over) as held:
            self._held = held
            for left in self.path.rglob(f".*{TEMPORARY}"):  # by a process that was killed
                left.unlink(missing_ok=True)
            with _log_to(self / "run.log"):
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
        path = self / "fingerprints.json"
        known = read_json(path) if path.exists() else {}
        settings = json.loads(json.dumps(settings))
        if stage not in known:
            self.write_json("fingerprints.json", known | {stage: settings})
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

    def write_bytes(self, name: str, content: bytes) -> None:
        """Replaces a file."""
        if self.writes:
            write_bytes(self / name, content)

    def write_json(self, name: str, value: Any) -> None:
        """Replaces a file by JSON; numbers that are not finite become null."""
        if self.writes:
            write_json(self / name, value)

    def write_npz(self, name: str, /, **arrays: np.ndarray) -> None:
        """Replaces a file by compressed arrays; equal arrays give equal bytes."""
        if self.writes:
            write_npz(self / name, **arrays)

    # metrics.jsonl

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Adds one line to metrics.jsonl and waits until it is on the disk."""
        if not self.writes:
            return
        self.check_owner()
        with (self / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(jsonable(line), allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def metrics(self) -> list[dict[str, Any]]:
        """All whole lines of metrics.jsonl.

        Raises:
          UserError: it is damaged.
        """
        path = self / "metrics.jsonl"
        if not path.exists():
            return []
        lines = path.read_bytes().split(b"\n")
        with named_damage(path):
            # What follows the last newline was cut off by a crash.
            return [json.loads(line) for line in lines[:-1]]

    def keep_metrics(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drops the lines of metrics.jsonl for which keep is False, and a line cut off by a crash."""
        kept = [json.dumps(line) + "\n" for line in self.metrics() if keep(line)]
        self.write_bytes("metrics.jsonl", "".join(kept).encode())


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
