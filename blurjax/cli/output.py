"""The files that commands write beside what they print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from blurjax.data.messages import expand_path, printable
from blurjax.runtime import UserError

PAGES = (".html", ".htm")


def check_file(option: str, file: Path | None, suffixes: Sequence[str]) -> None:
    """Raises UserError where an option names a folder, or a file of another kind, which it would replace."""
    if file is None:
        return
    if file.suffix.casefold() not in suffixes:
        raise UserError(
            f"--{option} writes a file and cannot be {printable(file)}; name one that ends in {suffixes[0]}."
        )
    if expand_path(file).is_dir():
        raise UserError(f"--{option} writes a file, and {printable(file)} is a folder.")
