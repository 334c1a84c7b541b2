"""Contenders timed in turn, round by round, so that what else the machine does meets all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_REPEATS = 512
"""Of a contender in one round; also the steps of a chunk in blurjax."""


@dataclass(frozen=True)
class Contender:
    """One way to do the work."""

    name: str
    run: Callable[[int], None]
    """Does the work that many times and returns when it is done."""
    trials: int = 1
    steps: int = 1
    """Of each trial each time."""


Times = dict[str, np.ndarray]
"""Milliseconds of one step of one trial f64[rounds], by contender."""


def interleave(contenders: Sequence[Contender], rounds: int, seconds: float) -> Times:
    """Times all contenders in every round, each for about so many seconds, beginning with another one each time."""
    repeats = {contender.name: _repeats(contender, seconds) for contender in contenders}
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        first = number % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            count = repeats[contender.name]
            taken = _seconds(contender, count)
            each = count * contender.steps * contender.trials
            times[contender.name].append(1e3 * taken / each)
    return {name: np.array(values) for name, values in times.items()}


def _seconds(contender: Contender, repeats: int) -> float:
    begun = time.perf_counter()
    contender.run(repeats)
    return time.perf_counter() - begun


def _repeats(contender: Contender, seconds: float) -> int:
    """How often a contender must do its work to take so long; compiles it first."""
    contender.run(1)
    repeats = 1
    while (taken := _seconds(contender, repeats)) < seconds / 2 and repeats < MOST_REPEATS:
        repeats = min(MOST_REPEATS, 2 * repeats)
    return min(MOST_REPEATS, max(1, round(repeats * seconds / taken)))


def spread(values: np.ndarray) -> list[float]:
    """First and third quartile."""
    return [float(quartile) for quartile in np.quantile(values, (0.25, 0.75))]


def row(
    workload: str, contender: str, trials: int, times: np.ndarray, **more: Any
) -> dict[str, Any]:
    """One row of the results; what is more stands at its end."""
    return {
        "workload": workload,
        "contender": contender,
        "trials": trials,
        "ms_per_trial_step": float(np.median(times)),
        "spread": spread(times),
        "rounds": len(times),
        **more,
    }
