"""Tables that commands print, and files that they write beside these."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from blurjax.data.messages import printable
from blurjax.runtime import UserError, expand_path

PAGES = (".html", ".htm")


def aligned(rows: Sequence[Sequence[str]], left: Collection[int]) -> Iterator[str]:
    """Yields lines of columns as wide as their longest cell, aligned to the left or else to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            f"{cell:{'<' if number in left else '>'}{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


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
