"""What compilers say of the ways to lower convolutions, for devices that need not be there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

WAYS = [(how, most) for how in ("auto", "lax", "patches") for most in (1, 4, 8, 16, 32)]
"""compute.convolution, and how many trials side by side."""


TRIALS = 32


def print_lowerings(
    targets: Sequence[str], dtype: str, batch_size: int, json_file: Path | None
) -> None:
    """Prints a line for every target, model and way as it is compiled, and writes all to a file."""
    print(
        f"As compiled, not measured: {dtype}, {TRIALS} trials; memory traffic and products of a step of one trial, "
        "temporary memory of all"
    )
    rows = []
    for target in targets:
        for row in lowerings(target, dtype, batch_size):
            rows.append(row)
            said = row["error"][:80]
            if not said:
                said = f"{row['bytes'] / 1e9:.3f} GB  {row['flops'] / 1e9:.2f} GFLOP  "
                said += f"{row['temporary_bytes'] / 1e9:.2f} GB"
            way = f"{row['convolution']}, {row['side_by_side']} side by side"
            print(f"  {target:<14}{row['program']:<20}{way:<26}{said}", flush=True)
    if json_file:
        json_file.write_text(json.dumps(rows, indent=1) + "\n")


def lowerings(target: str, dtype: str, batch_size: int) -> Iterator[dict[str, Any]]:
    """Compiles the training of W1 and of the default autoencoder at 32x32 in all ways.

    Yields:
      For every way and model the memory traffic of a step of one trial in bytes, its floating-point operations, and the
      temporary memory in bytes.
    """
    from blurjax import load_config
    from blurjax.engine import find_target
    from blurjax.experiment import compile_experiment
    from blurjax.experiment.calls import TRAINING
    from blurjax.experiment.preparation import prepare
    from blurjax.experiment.stand_in import known_size, stand_in

    for convolution, most in WAYS:
        settings = {
            "data.source": "tfds:cifar10",
            "sweep.num_seeds": TRIALS,
            "views.train": ["original"],
            "views.test": ["original"],
            "compute.convolution": convolution,
            "compute.trials_per_vmap": most,
        }
        for section in ("autoencoder", "classifier"):
            settings[f"{section}.dtype"] = dtype
            settings[f"{section}.batch_size"] = batch_size
        config = load_config(None, settings)
        size = known_size(config)
        assert size is not None
        fitted, dataset = prepare(config, stand_in(config, size))
        found = compile_experiment(
            fitted, dataset, find_target(target), wanted=lambda call: call.kind == TRAINING
        )
        for program in found.programs:
            yield {
                "target": target,
                "convolution": convolution,
                "side_by_side": found.trials_per_vmap,
                "program": program.name,
                "bytes": program.bytes / TRIALS,
                "flops": program.flops / TRIALS,
                "temporary_bytes": program.temporary_bytes,
                "error": program.error,
            }
