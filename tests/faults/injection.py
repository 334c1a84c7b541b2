"""Ends a run at a chosen commit point: before something is written, in the middle, or just after."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from blurjax.runtime import files
from blurjax.runtime.run_directory import RunDirectory
from blurjax.train.checkpoints import Checkpoints

Point = tuple[str, str]
"""("before" | "within" | "after", what is written)."""


class Killed(BaseException):
    """What a run ends with at a commit point; nothing may catch it."""


class Injector:
    """Records the commit points that a run passes, and raises Killed at one of them."""

    def __init__(self, out: Path, kill_at: Point | None = None):
        self.out, self.kill_at = out, kill_at
        self.passed: dict[Point, None] = {}

    def at(self, when: str, what: str) -> bool:
        """Passes a point; whether to end there."""
        self.passed[when, what] = None
        return (when, what) == self.kill_at

    def commit(self, what: str, write: Callable[[], Any], half: Callable[[], Any]) -> None:
        """Writes something: not at all, half of it or all of it before the end."""
        if self.at("before", what):
            raise Killed
        if self.at("within", what):
            half()
            raise Killed
        write()
        if self.at("after", what):
            raise Killed


@contextmanager
def injected(injector: Injector) -> Iterator[None]:
    """Puts an injector between a run in this process and everything that it commits."""
    write_atomically = files.write_atomically
    append_metrics, save = RunDirectory.append_metrics, Checkpoints.save

    def injected_write(path: Path, write: Callable[[Any], None]) -> None:
        def half() -> None:
            """The temporary file that a killed process leaves."""
            path.parent.mkdir(parents=True, exist_ok=True)
            left = files.temporary_beside(path)
            with left.open("wb") as file:
                write(file)
            os.truncate(left, left.stat().st_size // 2)

        name = str(path.relative_to(injector.out))
        injector.commit(name, lambda: write_atomically(path, write), half)

    def injected_append(self: RunDirectory, line: dict[str, Any]) -> None:
        def half() -> None:
            text = json.dumps(files.jsonable(line))
            with self.metrics_file.open("a") as file:
                file.write(text[: len(text) // 2])

        name = f"metrics.jsonl: {line['job']} epoch {line['epoch']}"
        injector.commit(name, lambda: append_metrics(self, line), half)

    def injected_save(self: Checkpoints, step: int, tree: Any) -> None:
        def write() -> None:
            save(self, step, tree)
            self._manager.wait_until_finished()

        def half() -> None:
            """The unfinished directory that Orbax renames in the end."""
            write()
            done = self._directory / str(step)
            left = done.with_name(f"{step}.orbax-checkpoint-tmp")
            done.rename(left)
            for path in left.glob("*/d"):
                shutil.rmtree(path)

        job = self._directory.relative_to(injector.out / "checkpoints")
        injector.commit(f"checkpoint: {job} step {step}", write, half)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "write_atomically", injected_write)
        patch.setattr(RunDirectory, "append_metrics", injected_append)
        patch.setattr(Checkpoints, "save", injected_save)
        yield
