#!/usr/bin/env python
"""Compares blurjax with other ways to train the same networks, and measures its overheads.

    python scripts/benchmark.py --quick                         # at most three minutes on two cores
    python scripts/benchmark.py --with-torch --json FILE        # W1 to W4
    python scripts/benchmark.py --workloads pipeline startup linear memory reading overlap growth large
    python scripts/benchmark.py --target tpu:v5e:1x1 --dtype bfloat16       # compiles for a TPU that is not there

Within a workload all contenders are timed in turn, round after round, so that other load on the machine affects all of
them alike. Times are medians with quartiles; ratios are medians of the ratios within each round.

  W1        a CNN (3x3 convolutions of 32, 64, 128 filters, ReLU, 2x2 max pooling; dense 128; 10 classes), Adam
  W2        a convolutional autoencoder, 64x64x3, Adam
  W3        W1 at several numbers of trials
  W4        the whole digits experiment, once with a cold and once with a warm cache of programs
  residual  the residual network of preset cifar10, 32x32x3, Adam
  pipeline  the cost of batches: whole epochs against the same number of steps on one batch on the device
  startup   seconds from process start to the first finished step
  linear    seconds of an epoch against the number of examples and of trials
  memory    peak memory against the number of trials, and of trials side by side
  reading   images a second and core: decoding JPEG files and TFRecords, tf.data alone, and the cache
  overlap   whether streamed batches are read while a device (an emulated one) computes
  growth    peak memory of streamed training with ten times the steps and ten times the images
  large     steps and memory at 224x224 pixels and 1,000 classes

blurjax trains as in a real run, with decoded images on the device, an order for each trial, gradient clipping, a
learning rate schedule and a check for values that are not finite. The other contenders get their batches on the device.
"""

from __future__ import annotations

import argparse
import json
import os
import pkgutil
import sys
from pathlib import Path
from typing import Any

WORKLOADS = {
    "W1": "subjects:W1",
    "W2": "subjects:W2",
    "W3": "subjects:W3",
    "W4": "processes:digits",
    "residual": "subjects:residual",
    "pipeline": "subjects:pipeline",
    "startup": "processes:startup",
    "linear": "subjects:linear",
    "memory": "processes:memory",
    "reading": "reading:reading",
    "overlap": "reading:overlap",
    "growth": "processes:growth",
    "large": "processes:large",
}
"""Name -> the function that yields its rows."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the options."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("--workloads", nargs="+", choices=WORKLOADS, default=[*WORKLOADS][:4], metavar="NAME")
    add("--quick", action="store_true", help="short measurements; flax in W1 only")
    add("--rounds", type=int, help="default: 9; with --quick 3")
    add(
        "--seconds",
        type=float,
        help="seconds for each contender in a round; default: 1, with --quick 0.2",
    )
    add(
        "--trials",
        type=int,
        nargs="+",
        help="numbers of trials in W1, W2, W3, residual; default: chosen for the machine",
    )
    add("--batch-size", type=int, default=64)
    add("--dtype", choices=("float32", "bfloat16"), default="float32", help="dtype of activations")
    add("--convolution", default="auto", help="blurjax's compute.convolution")
    add(
        "--trials-per-vmap",
        type=int,
        nargs="+",
        default=[],
        help="measure these in addition to auto",
    )
    add("--mesh", nargs="+", default=[], metavar="TxD", help="measure these in addition to auto")
    add(
        "--images",
        type=Path,
        metavar="FOLDER",
        help="folder of JPEG files for reading; default: random ones",
    )
    add(
        "--target",
        nargs="+",
        metavar="TARGET",
        help="instead of measuring, compile the training of 32 trials in all ways for absent devices",
    )
    add("--with-torch", action="store_true", help="pip install blurjax[benchmark]")
    add("--json", type=Path, metavar="FILE", help="write the results to this file")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (3 if options.quick else 9)
    options.seconds = options.seconds or (0.2 if options.quick else 1.0)
    return options


def main() -> None:
    """Measures, prints tables and writes JSON."""
    options = parse()
    if options.target:
        os.environ["JAX_PLATFORMS"] = "cpu"
    from benchmarks import lowerings

    from blurjax import configure_jax

    configure_jax(cache_programs=False)
    if options.target:
        lowerings.print_lowerings(options.target, options.dtype, options.batch_size, options.json)
        return
    load_before = os.getloadavg()
    rows: list[dict[str, Any]] = []
    # Those in processes of their own come first, before this process occupies the accelerator.
    functions = [f"benchmarks.{WORKLOADS[name]}" for name in options.workloads]
    for function in sorted(functions, key=lambda name: ".processes:" not in name):
        for row in pkgutil.resolve_name(function)(options):
            print_row(row, rows)
            rows.append(row)
    found = {"machine": machine(options, rows, load_before), "rows": rows}
    print_machine(found["machine"])
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def machine(options: argparse.Namespace, rows: list[dict[str, Any]], load: Any) -> dict[str, Any]:
    """Returns where and how the rows were measured."""
    from blurjax.runtime.environment import describe_environment

    environment = describe_environment()
    if options.with_torch:
        from benchmarks.torch_networks import import_torch

        environment["packages"]["torch"] = import_torch().__version__
    rates = {row["contender"]: row["gflop_per_s"] for row in rows if "gflop_per_s" in row}
    return environment | {
        "command": " ".join(sys.argv),
        "load_average_before": load[0],
        "matmul_gflop_per_s": rates,
    }


HEADER = f"{'':<28}{'trials':>7}{'ms per trial-step':>26}{'x blurjax':>22}{'of matmul':>11}"


def print_row(row: dict[str, Any], before: list[dict[str, Any]]) -> None:
    """Prints a row, and a title above the first one of a table."""
    if not before or row["workload"] != before[-1]["workload"]:
        title = [f"{row['workload']}: {row['title']}"]
        title += [f"batch {row['batch_size']}, {row['dtype']}"] if "batch_size" in row else []
        print("\n" + ", ".join([*title, f"n = {row['rounds']}"]))
        if row["spread"]:
            print(HEADER)
    cells = [f"{row['contender']:<28}", f"{row.get('trials', ''):>7}"]
    cells.append(f"{spread_text(row.get('ms_per_trial_step'), row.get('spread')):>26}")
    cells.append(f"{spread_text(row.get('ratio_to_blurjax'), row.get('ratio_spread')):>22}")
    cells.append(f"{row['share_of_matmul']:>11.0%}" if "share_of_matmul" in row else "")
    print("".join(cells).rstrip() + "".join(f"  {part}" for part in remarks(row)), flush=True)


def spread_text(median: float | None, quartiles: list[float] | None) -> str:
    """Returns text such as "1.23 (1.20-1.27)"."""
    if median is None:
        return ""
    numbers = [median, *(quartiles or ())]
    texts = [f"{x:,.0f}" if x >= 100 else f"{x:#.3g}" for x in numbers]
    return texts[0] + (f" ({texts[1]}-{texts[2]})" if quartiles else "")


def remarks(row: dict[str, Any]) -> list[str]:
    """Returns what a row contains apart from times, as texts."""
    found = []
    if "gflop_per_s" in row:
        found.append(f"{row['gflop_per_s']:,.0f} GFLOP/s, {row['size']}x{row['size']}")
    if "seconds" in row:
        found.append(f"{row['seconds']:.1f} s")
    if "seconds_until" in row:
        found.append(", ".join(f"{k} {v:.1f} s" for k, v in row["seconds_until"].items()))
    if "pipeline_share" in row:
        found.append(f"pipeline {row['pipeline_share']:.1%}")
    if "seconds_per_epoch" in row:
        found.append(f"{row['examples']} examples, {row['seconds_per_epoch']:.3g} s an epoch")
    if "images_per_second_and_core" in row:
        found.append(f"{row['images_per_second_and_core']:,.0f} images/s and core")
    if "hidden" in row:
        found.append(f"{row['hidden']:.0%} of reading hidden")
    if "peak_anonymous" in row:
        found.append(f"{row['steps']:,} steps of {row['image_bytes'] / 1e6:,.0f} MB of images")
        found.append(f"anonymous memory {row['peak_anonymous'] / 1e6:,.0f} MB")
    if "exponent" in row:
        found.append(f"cost ~ n^{row['exponent']:.3f}, R² {row['r_squared']:.4f}")
    if "peak_resident_set" in row:
        found.append(f"resident set {row['peak_resident_set'] / 1e6:,.0f} MB")
        found.append(f"(before training {row['resident_set_before'] / 1e6:,.0f} MB)")
    if row.get("peak_device_bytes"):
        found.append(f"device {row['peak_device_bytes'] / 1e6:,.0f} MB")
    return found


def print_machine(found: dict[str, Any]) -> None:
    """Prints the machine and the versions."""
    packages = found["packages"]
    versions = ", ".join(f"{n} {packages[n]}" for n in ("jax", "flax", "torch") if n in packages)
    print(
        f"\n{found['backend']}, {len(found['devices'])} device(s), {found['cores']} cores; {versions}"
    )


if __name__ == "__main__":
    main()
