"""What `blurjax plan` does and prints."""

from __future__ import annotations

import argparse
import json
import math
import sys
from functools import partial
from typing import Any

from blurjax.cli.output import aligned
from blurjax.config import Config
from blurjax.data import Dataset
from blurjax.engine import find_target
from blurjax.engine.hardware import GIB
from blurjax.experiment import (
    CompiledExperiment,
    CompiledProgram,
    compile_experiment,
)
from blurjax.experiment.layout import arrangement
from blurjax.experiment.plan import duration
from blurjax.experiment.preparation import prepare
from blurjax.experiment.stand_in import Size, known_size, stand_in
from blurjax.runtime import UserError, jsonable

DOES_NOT_FIT = 1
"""The exit code where a program does not compile, or the memory of a device is not enough."""
COLUMNS = (
    *("program", "trials", "fits", "arguments", "results", "temporary", "needed"),
    *("GFLOP", "GB", "at best", "between devices"),
)
REASON_LETTERS = 300


def plan(config: Config, parsed: argparse.Namespace) -> int:
    """Compiles an experiment for all targets, prints what comes out, and returns the exit code.

    Raises:
      UserError: there is no such target, or its compiler is not installed; or settings and data do not fit.
    """
    try:
        targets = [find_target(name) for name in parsed.target]
    except (ValueError, ImportError) as error:
        raise UserError(str(error)) from error
    config, dataset, note = _data(config, parsed.stand_in)
    is_seen = sys.stderr.isatty()
    say = partial(print, file=sys.stderr, flush=True) if is_seen else lambda _: None
    found = []
    for target in targets:
        found.append(compile_experiment(config, dataset, target, say=say))
        if not parsed.json:
            if len(found) == 1:
                print(f"{_describe(dataset, note)}\n{LEGEND}")
            print(f"\n{_table(found[-1])}", flush=True)
    if parsed.json:
        print(json.dumps(jsonable({"data": note, "targets": [*map(_record, found)]}), indent=1))
    return 0 if all(experiment.works for experiment in found) else DOES_NOT_FIT


def _data(config: Config, given: list[int] | None) -> tuple[Config, Dataset, str]:
    """Returns settings, the data or a stand-in, and where its size is from."""
    if given is not None:
        train, test, classes = given
        pixels, channels = config.data.image_size or 0, config.data.channels or 3
        size = Size(train, test, classes, pixels, channels)
        if not size.pixels:
            raise UserError("--stand-in needs the size of the images; name --data.image_size, too.")
        return *prepare(config, stand_in(config, size)), "a stand-in of the size given"
    size = known_size(config)
    if size is not None:
        return *prepare(config, stand_in(config, size)), "a stand-in of the published size"
    return *prepare(config), "read"


def _describe(dataset: Dataset, note: str) -> str:
    counts = ", ".join(f"{len(found):,} {name}" for name, found in dataset.splits.items())
    shape = "x".join(map(str, dataset.image_shape))
    classes = len(dataset.class_names)
    return f"{dataset.name}: {counts} images of {shape}, {classes} classes ({note})"


LEGEND = """\
Of each device: memory while the program runs (arguments, results that take no argument's place, temporary; needed:
these and what else lies there); of one step of its trials the products, the memory traffic and the least time."""


def _table(found: CompiledExperiment) -> str:
    """Returns what is printed of a target."""
    rows = [COLUMNS, *(_row(program, found.fits(program)) for program in found.programs)]
    has = f"{found.hardware.available / GIB:.1f} GiB of memory each"
    head = f"{found.target}: {found.devices} x {found.hardware.name}, {has}; "
    head += arrangement(found.mesh, found.trials_per_vmap)
    if (found.most_per_vmap or 0) > found.trials_per_vmap:
        head += f" (memory for {found.most_per_vmap})"
    notes = [f"note: {note}" for note in found.notes]
    return "\n".join(
        [head, *(f"  {line}" for line in (*notes, *aligned(rows, left={0}), *_verdict(found)))]
    )


def _row(program: CompiledProgram, fits: bool) -> tuple[str, ...]:
    first = program.name, str(program.trials), "yes" if fits else "NO"
    if program.error:
        return (*first, *"-" * (len(COLUMNS) - len(first)))
    sizes = (
        program.argument_bytes,
        program.output_bytes,
        program.temporary_bytes,
        program.needed_bytes,
    )
    sent = ", ".join(f"{count} {name}" for name, count in program.collectives.items())
    bound = program.step_bound
    return (
        *first,
        *(f"{size / 1e6:,.0f} MB" for size in sizes),
        f"{program.flops / 1e9:,.2f}",
        f"{program.bytes / 1e9:,.3f}",
        "-" if bound is None else f"{1e3 * bound:.3f} ms",
        sent or "nothing",
    )


def _verdict(found: CompiledExperiment) -> list[str]:
    """Returns what works, what does not, and how fast it can be at best."""
    lines = []
    for program in found.programs:
        if program.error and not program.temporary_bytes:
            lines.append(f"{program.name} does not compile: {program.error[:REASON_LETTERS]}")
        elif not found.fits(program):
            lines.append(
                f"{program.name} needs {program.needed_bytes / GIB:.1f} GiB, more than the "
                f"{found.hardware.available / GIB:.1f} GiB of a device; lower {_too_large(program, found)}."
            )
    if not lines:
        lines.append("Everything compiles and fits.")
    if found.bound is not None:
        lines.append(
            f"At the peak rates of memory and matrix units the experiment takes {duration(found.bound)}: a bound, not "
            "an estimate."
        )
    return lines


def _too_large(program: CompiledProgram, found: CompiledExperiment) -> str:
    """Returns the settings that most of the memory of a program is for."""
    if program.needed_bytes > 2 * program.temporary_bytes:
        return "data.resident_limit or sweep.num_seeds"
    if found.trials_per_vmap > 1:
        return "compute.trials_per_vmap"
    if not program.name.startswith("train "):  # evaluations have the classifiers' batches, whole
        return "classifier.batch_size"
    model = "autoencoder" if program.name == "train autoencoders" else "classifier"
    return f"{model}.batch_size, or raise compute.microbatches"


def _record(found: CompiledExperiment) -> dict[str, Any]:
    """Returns what `--json` prints of a target."""
    hardware = found.hardware
    return {
        "target": found.target,
        "devices": found.devices,
        "device": hardware.name,
        "memory_bytes": hardware.available,
        "bytes_per_second": hardware.bandwidth,
        "flops_per_second": {"float32": hardware.float32, "bfloat16": hardware.bfloat16},
        "source": hardware.source,
        "mesh": found.mesh,
        "trials_per_vmap": found.trials_per_vmap,
        "most_per_vmap": found.most_per_vmap,
        "works": found.works,
        "notes": found.notes,
        "bound_seconds": found.bound,
        "programs": [
            {
                "name": p.name,
                "trials": p.trials,
                "steps": p.steps,
                "compiles": not p.error,
                "error": p.error or None,
                "fits": found.fits(p),
                "argument_bytes": p.argument_bytes,
                "output_bytes": p.output_bytes,
                "temporary_bytes": p.temporary_bytes,
                "other_bytes": p.other_bytes,
                "needed_bytes": p.needed_bytes,
                "step_flops": p.flops,
                "step_bytes": None if math.isnan(p.bytes) else p.bytes,
                "step_bound_seconds": p.step_bound,
                "collectives": p.collectives,
                "compilation_seconds": round(p.seconds, 1),
            }
            for p in found.programs
        ],
    }
