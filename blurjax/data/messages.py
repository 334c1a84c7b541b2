"""Names and paths in sentences that users read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from blurjax.runtime import UserError


def printable(name: object) -> str:
    """A name or path for a sentence: escaped where it holds control characters."""
    text = str(name)
    return text if text.isprintable() else repr(text)


def join_names(names: Sequence[str], most: int = 10) -> str:
    """The first `most` names, printable and joined by commas, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more


def valid_utf8(name: str) -> str:
    """The name of a file as text that any file and page can hold: escaped where it is not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def explain_read_errors(place: Path) -> Iterator[None]:
    """Turns an OSError while a place is read into a UserError that says what to check."""
    try:
        yield
    except OSError as error:
        where = printable(error.filename or place)
        raise UserError(
            f"{where} cannot be read ({error.strerror or error}); check the path and its permissions."
        ) from None
