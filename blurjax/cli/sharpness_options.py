"""The options of `blurjax sharpness`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_options(sharpness: argparse.ArgumentParser) -> None:
    """Adds them to the parser of the command."""
    add = sharpness.add_argument
    paths = "a photograph, or a folder of them and of folders"
    add("paths", nargs="+", type=Path, metavar="PATH", help=paths)
    least = "the probability from which on a photograph counts as blurry (0.5)"
    add("--threshold", type=float, default=0.5, metavar="P", help=least)
    add("--top", type=int, metavar="N", help="show, move and copy the N blurriest alone")
    add("--json", action="store_true", help="print JSON instead of a table")
    add("--csv", type=Path, metavar="FILE.csv", help="also write the table there")
    page = "also write a page of small pictures that shows where they are blurry"
    add("--html", type=Path, metavar="FILE.html", help=page)
    add("--max-pixels", type=int, metavar="N", help="a larger file is not read (300 million)")
    add = sharpness.add_argument_group(
        "what to do with blurry photographs",
        "Without --yes this only says what would be done. Nothing is replaced: a name that is taken gets a number.",
    ).add_argument
    add("--move-to", type=Path, metavar="DIR", help="move them to a folder, which is not searched")
    add("--copy-to", type=Path, metavar="DIR", help="copy them to a folder, which is not searched")
    add("--yes", action="store_true", help="do it")
