"""Times contenders in turn, round by round, so that other load on the machine affects all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_REPEATS = 512
"""Repeats of a contender in one round; also the steps of a chunk in blurjax."""


@dataclass(frozen=True)
class Contender:
    """A function to be timed."""

    name: str
    run: Callable[[int], None]
    """Repeats the work a number of times and returns when it is done."""
    trials: int = 1
    steps: int = 1
    """Steps of each trial in one repeat."""


Times = dict[str, np.ndarray]
"""Milliseconds of one step of one trial f64[rounds], by contender."""


def interleave(contenders: Sequence[Contender], rounds: int, seconds: float) -> Times:
    """Times every contender in every round for about that many seconds; each round starts with another one."""
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
    """Returns how often a contender must repeat its work to take that long; compiles it first."""
    contender.run(1)
    repeats = 1
    while (taken := _seconds(contender, repeats)) < seconds / 2 and repeats < MOST_REPEATS:
        repeats = min(MOST_REPEATS, 2 * repeats)
    return min(MOST_REPEATS, max(1, round(repeats * seconds / taken)))


def spread(values: np.ndarray) -> list[float]:
    """Returns the first and third quartile."""
    return [float(quartile) for quartile in np.quantile(values, (0.25, 0.75))]


def row(
    workload: str, contender: str, trials: int, times: np.ndarray, **more: Any
) -> dict[str, Any]:
    """Returns one row of the results; `more` comes last."""
    return {
        "workload": workload,
        "contender": contender,
        "trials": trials,
        "ms_per_trial_step": float(np.median(times)),
        "spread": spread(times),
        "rounds": len(times),
        **more,
    }
