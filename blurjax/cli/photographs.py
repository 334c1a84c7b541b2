"""What `blurjax sharpness` prints, writes and moves."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from blurjax.cli.output import PAGES, aligned, check_file
from blurjax.data.messages import printable, valid_utf8
from blurjax.report.contact_sheet import Preview, contact_sheet
from blurjax.runtime import UserError, expand_path, jsonable, write_bytes
from blurjax.runtime.transfers import Transfer, make_transfers, plan_transfers
from blurjax.sharpness import (
    MAX_PIXELS,
    NOTHING,
    RATED_SIZE,
    RatedFile,
    Unreadable,
    find_bursts,
    find_photographs,
    rate_found,
    sharpest,
)

BLURRY, FAILED = 1, 2
"""Exit codes: at least one photograph is blurry; a file could not be read, moved or copied."""
CSV_COLUMNS: tuple[str, ...] = (
    "file",
    "probability",
    "low",
    "high",
    "kind",
    "sigma",
    "blurry",
    "burst",
    "sharpest",
    "width",
    "height",
)
COLUMNS = ("blurry", "probability", "interval", "kind", "sigma", "burst", "file")

Row = dict[str, Any]


def check_options(parsed: argparse.Namespace) -> None:
    """Raises UserError where options make no sense, such as --csv *.jpg, which would replace a photograph."""
    if not 0 <= parsed.threshold <= 1:
        raise UserError(
            f"--threshold is a probability from 0 to 1 and cannot be {parsed.threshold:g}."
        )
    for option, value in (("top", parsed.top), ("max-pixels", parsed.max_pixels)):
        if value is not None and value < 1:
            raise UserError(f"--{option} must be at least 1.")
    check_file("csv", parsed.csv, (".csv",))
    check_file("html", parsed.html, PAGES)
    if parsed.move_to and parsed.copy_to:
        raise UserError("--move-to and --copy-to exclude each other; name one of them.")
    if parsed.yes and not (parsed.move_to or parsed.copy_to):
        raise UserError("--yes says that files are to be moved or copied; name --move-to DIR, too.")


def sharpness(parsed: argparse.Namespace) -> int:
    """Rates photographs, shows them, moves or copies the blurry ones, and returns the exit code.

    Raises:
      UserError: a path does not exist, or there is no photograph.
    """
    folder = parsed.move_to or parsed.copy_to
    folder = expand_path(folder) if folder else None
    paths, unreadable = find_photographs(parsed.paths)
    if folder:
        plan_transfers([], folder, move=False)  # says now where the folder is none
        paths = _outside(folder, paths)
    if not paths and not unreadable:
        raise UserError("There is no photograph to rate; name image files, or folders of some.")
    rated, failed = _rate(paths, parsed)
    unreadable += failed
    found = _found(rated, unreadable, parsed)
    for path, reason in unreadable:
        print(f"blurjax: {printable(path)} cannot be rated: {reason}.", file=sys.stderr)
    shown = rated[: parsed.top]
    say = (lambda text: None) if parsed.json else print
    if not parsed.json:
        _print_table(found)
    if parsed.csv:
        _write(parsed.csv, _csv(found["images"]))
        say(f"The table is {printable(parsed.csv)}")
    if parsed.html:
        previews = {_text(f.path): Preview(f.preview, f.rating.regions) for f in shown}
        _write(parsed.html, contact_sheet(found, previews))
        say(f"The page is {printable(parsed.html)}")
    has_failed = bool(unreadable)
    if folder:
        plan = plan_transfers(
            [file.path for file in shown if _is_blurry(file, parsed)],
            folder,
            move=bool(parsed.move_to),
        )
        done = _transfer(plan, parsed, say)
        transfers = [
            {"file": _text(source), "target": target and _text(target), "reason": reason or None}
            for source, target, reason in done
        ]
        found |= {"done": parsed.yes, "transfers": transfers}
        has_failed |= any(p.target and not d.target for p, d in zip(plan, done, strict=True))
    if parsed.json:
        print(json.dumps(jsonable(found), ensure_ascii=False, indent=1))
    is_blurry = any(_is_blurry(file, parsed) for file in rated)
    return FAILED if has_failed else BLURRY if is_blurry else 0


def _outside(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """Returns the files that do not lie in a folder or below it."""
    place = os.path.realpath(folder)
    kept = [path for path in paths if not Path(os.path.realpath(path)).is_relative_to(place)]
    if paths and not kept:
        raise UserError(f"All photographs lie in {printable(folder)} already; name another folder.")
    return kept


def _rate(
    paths: Sequence[Path], parsed: argparse.Namespace
) -> tuple[list[RatedFile], list[Unreadable]]:
    """Returns rated files, the blurriest first, and those that cannot be rated; shows a bar on a terminal."""
    rated, unreadable = [], []
    results = rate_found(
        paths, previews=bool(parsed.html), max_pixels=parsed.max_pixels or MAX_PIXELS
    )
    for result in tqdm(results, total=len(paths), unit=" photographs", disable=None):
        if isinstance(result, Unreadable):
            unreadable.append(result)
        elif parsed.html:
            rated.append(result)
        else:  # the most of the memory of a rated file
            rating = replace(result.rating, regions=np.zeros((0, 0), np.float32))
            rated.append(replace(result, rating=rating))
    rated.sort(key=lambda file: (-file.rating.probability, -file.rating.sigma))
    return rated, unreadable


def _found(
    rated: Sequence[RatedFile], unreadable: Sequence[Unreadable], parsed: argparse.Namespace
) -> dict[str, Any]:
    """Returns what --json prints (docs/sharpness.md)."""
    burst_of, sharpest_of_bursts = {}, set()
    for number, burst in enumerate(find_bursts([file.thumbnail for file in rated]), start=1):
        burst_of |= dict.fromkeys(burst, number)
        sharpest_of_bursts.add(burst[sharpest([rated[i].rating for i in burst])])
    rows: list[Row] = [
        {
            "file": _text(file.path),
            "probability": file.rating.probability,
            "interval": [*file.rating.interval],
            "kind": file.rating.kind,
            "sigma": file.rating.sigma,
            "blurry": _is_blurry(file, parsed),
            "burst": burst_of.get(i),
            "sharpest": i in sharpest_of_bursts,
            "width": file.size[0],
            "height": file.size[1],
        }
        for i, file in enumerate(rated)
    ]
    blurry = sum(row["blurry"] for row in rows)
    verb = "is" if blurry == 1 else "are"
    failed = f" {len(unreadable):,} could not be rated." if unreadable else ""
    return {
        "threshold": parsed.threshold,
        "rated_size": RATED_SIZE,
        "summary": f"{blurry:,} of {len(rows):,} photographs {verb} blurry with a probability of at least "
        f"{parsed.threshold:g}.{failed}",
        "images": rows[: parsed.top],
        "unreadable": [{"file": _text(path), "reason": reason} for path, reason in unreadable],
    }


def _is_blurry(file: RatedFile, parsed: argparse.Namespace) -> bool:
    return file.rating.kind != NOTHING and file.rating.probability >= parsed.threshold


def _text(path: Path) -> str:
    return valid_utf8(str(path))


def _csv(rows: Sequence[Row]) -> str:
    """Returns rows as CSV: those of --json, the interval in two columns."""
    file = io.StringIO()
    writer = csv.DictWriter(file, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "low": row["interval"][0], "high": row["interval"][1]} for row in rows)
    return file.getvalue()


def _write(path: Path, text: str) -> None:
    try:
        write_bytes(expand_path(path), text.encode())
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"{printable(path)} cannot be written ({reason}); name another file."
        ) from None


def _print_table(found: Mapping[str, Any]) -> None:
    cells: list[tuple[str, ...]] = [COLUMNS]
    for row in found["images"]:
        low, high = row["interval"]
        burst = "" if row["burst"] is None else f"{row['burst']}{'*' * row['sharpest']}"
        numbers = (f"{row['probability']:.2f}", f"{low:.2f}-{high:.2f}", row["kind"])
        blurry, sigma = "yes" * row["blurry"], f"{row['sigma']:.1f}"
        cells.append((blurry, *numbers, sigma, burst, printable(row["file"])))
    if found["images"]:
        print(*aligned(cells, left={COLUMNS.index("file")}), sep="\n")
        print(
            f"\nblurry: with a probability of at least {found['threshold']:g}\n"
            "probability: that the photograph is blurry, with its interval over the detectors\n"
            f"sigma: the Gaussian blur that would cost as much, in pixels of at most {RATED_SIZE}\n"
            "burst: near-equal photographs have the same number, and * marks the sharpest of them\n"
        )
    print(found["summary"])


def _transfer(
    plan: Sequence[Transfer], parsed: argparse.Namespace, say: Callable[[str], None]
) -> list[Transfer]:
    """Moves or copies what is planned where --yes was given, and says what it does or would do."""
    verb, done = ("move", "moved") if parsed.move_to else ("copy", "copied")
    results = make_transfers(plan, move=bool(parsed.move_to)) if parsed.yes else plan
    made = []
    for transfer in results:
        source, target, reason = transfer
        if target is None:
            say(f"stays: {printable(source)}, since {reason}")
        else:
            say(
                f"{done if parsed.yes else f'would {verb}'}: {printable(source)} -> {printable(target)}"
            )
        made.append(transfer)
    if not parsed.yes:
        say(f"Nothing was {done}; --yes does it.")
    return made
