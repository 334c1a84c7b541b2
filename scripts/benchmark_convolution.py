#!/usr/bin/env python
"""Measures the ways to compute a convolution: the tables of docs/engine.md.

    python scripts/benchmark_convolution.py [--repeats 9]

Interleaved in one process; medians of milliseconds, and medians of ratios to the first way of each
table. Takes a few minutes on two cores.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import jax
from jax import lax

from blurjax.models import contractions, lowering
from blurjax.models.layers import convolution, upsample_2x, upsample_convolution

BATCH = 64
SAME = ((1, 1), (1, 1))
STATIC = {"size": (3, 3), "padding": SAME, "precision": None}


def in_loop(function: Callable, steps: int) -> Callable:
    """Repeats a function with slightly different arguments, so that no run can be removed or hoisted."""

    def run(*arguments: jax.Array) -> tuple[jax.Array, ...]:
        def step(_: jax.Array, arguments: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            results = lax.optimization_barrier(function(*arguments))
            nudge = sum(x.ravel()[0] for x in jax.tree.leaves(results)) * 1e-9
            return tuple(a.at[(0,) * a.ndim].add(nudge) for a in arguments)

        return lax.fori_loop(0, steps, step, arguments)

    return run


def compare(
    title: str, ways: dict[str, Callable], *shapes: tuple, steps: int, repeats: int
) -> None:
    """Prints a table with the median time of every way and its ratio to the first."""
    arguments = [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]
    programs = {name: jax.jit(in_loop(way, steps)) for name, way in ways.items()}
    for program in programs.values():
        jax.block_until_ready(program(*arguments))
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeats):
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program(*arguments))
            times[name].append((time.perf_counter() - start) * 1e3 / steps)
    first = next(iter(times.values()))
    print(f"\n{title} (n = {repeats})\n\n| way | ms | ratio |\n| --- | --- | --- |")
    for name, own in times.items():
        ratio = statistics.median(a / b for a, b in zip(own, first, strict=True))
        print(f"| {name} | {statistics.median(own):.1f} | {ratio:.2f} |", flush=True)


def with_gradients(function: Callable) -> Callable:
    """Returns a function that computes the value and both gradients."""

    def run(images: jax.Array, kernel: jax.Array) -> tuple:
        value, pull_back = jax.vjp(function, images, kernel)
        return value, pull_back(value)

    return run


def by(name: str) -> Callable:
    """Returns the convolution with a named lowering."""
    return lambda images, kernel: convolution(images, kernel, lowering=name)


def compare_algorithms(repeats: int) -> None:
    """Prints a table for each part of a convolution: as "hybrid" has it, and by Winograd's algorithm."""
    static = {"padding": SAME, "precision": None}
    for size, channels, features in ((16, 32, 64), (16, 64, 128), (8, 128, 128)):
        images, dy = (BATCH, size, size, channels), (BATCH, size, size, features)
        kernel = (3, 3, channels, features)
        parts = {
            "forward": ((images, kernel), static),
            "images_gradient": ((dy, kernel), static),
            "kernel_gradient": ((images, dy), STATIC),
        }
        for part, (shapes, how) in parts.items():
            ways = {
                name: functools.partial(getattr(lowering.LOWERINGS[name], part), **how)
                for name in ("hybrid", "winograd")
            }
            title = f"{part} {channels} -> {features} on {BATCH}x{size}x{size}, in a loop"
            compare(title, ways, *shapes, steps=4, repeats=repeats)


def main() -> None:
    """Prints all tables."""
    parser = argparse.ArgumentParser(description="Ways to compute a convolution.")
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    print(f"{jax.default_backend()}, {jax.local_device_count()} device(s), jax {jax.__version__}")

    for size, channels, features in ((16, 32, 64), (16, 64, 128), (32, 32, 64)):
        images, dy = (BATCH, size, size, channels), (BATCH, size, size, features)
        parts = {
            "shifts, micro-batches": contractions.cached_kernel_gradient,
            "shifts, whole batch": contractions.shift_kernel_gradient,
            "patches": contractions.patch_kernel_gradient,
        }
        ways = {name: functools.partial(f, **STATIC) for name, f in parts.items()}
        title = f"Kernel gradient {channels} -> {features} on {BATCH}x{size}x{size}, in a loop"
        compare(title, ways, images, dy, steps=4, repeats=repeats)
        if size == 16 and channels == 32:
            ways = {"shifts, micro-batches": ways["shifts, micro-batches"]}
            ways["lax"] = functools.partial(contractions.lax_kernel_gradient, **STATIC)
            compare(title, ways, images, dy, steps=2, repeats=3)

    compare_algorithms(repeats)

    for size, channels, features in ((8, 128, 64), (32, 32, 3)):
        ways = {
            "upsample_convolution": with_gradients(upsample_convolution),
            "two steps": with_gradients(lambda x, k: convolution(upsample_2x(x), k)),
        }
        title = f"Upsampling to {2 * size}x{2 * size} and convolution {channels} -> {features}"
        shapes = (BATCH, size, size, channels), (3, 3, channels, features)
        compare(f"{title}, value and gradients", ways, *shapes, steps=2, repeats=repeats)

    trials, shapes = 4, ((4, BATCH, 16, 16, 32), (4, 3, 3, 32, 64))
    one = with_gradients(by("auto"))
    ways = {"lax.map of auto": lambda x, k: lax.map(lambda a: one(*a), (x, k))}
    for name in ("auto", "patches", "lax"):
        ways[f"vmap of {name}"] = jax.vmap(with_gradients(by(name)))
    title = f"{trials} trials of 32 -> 64 on {BATCH}x16x16, value and gradients"
    compare(title, ways, *shapes, steps=1, repeats=min(repeats, 5))


if __name__ == "__main__":
    main()
