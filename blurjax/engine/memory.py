"""Device memory: how many trials fit side by side, and what to do when it runs out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

MOST_TRIALS_PER_VMAP = 32
"""Side by side on one device, however much memory it has; not measured on any accelerator."""
SHARE = 0.5
"""Of the free memory that trials side by side may take. The rest is for what `live_bytes` leaves out: the states of
the trials that wait, streamed chunks, the workspaces of convolutions, fragmentation."""


def free_bytes(devices: Iterable[Any]) -> float:
    """Bytes that the fullest of some devices has left; infinite where none of them says (CPUs do not)."""

    def free(device: Any) -> float:
        stats = device.memory_stats() or {}
        return stats.get("bytes_limit", math.inf) - stats.get("bytes_in_use", 0)

    return min(map(free, devices))


def trials_that_fit(trials: int, bytes_per_trial: float, free: float) -> int:
    """Returns how many of a device's trials to run side by side: as many as fit, in groups as even as can be.

    Where 8 of 10 fit, that is 5: a second group of 8 would hold six copies of its last trial.

    Args:
      trials: of one device; at most MOST_TRIALS_PER_VMAP of them run side by side.
      bytes_per_trial: what each needs.
      free: from `free_bytes`, less what will be put on the device besides; SHARE of it may be taken.

    Returns:
      At least 1, which is tried even where it does not fit.
    """
    fitting = max(1, int(min(trials, MOST_TRIALS_PER_VMAP, SHARE * free / bytes_per_trial)))
    groups = math.ceil(trials / fitting)
    return math.ceil(trials / groups)


def live_bytes(function: Callable[..., Any], *args: Any) -> int:
    """The most bytes that are alive at once if a function runs one operation after another, without compiling it.

    Every array counts from the operation that makes it to the last that reads it, arguments throughout. XLA fuses
    some arrays away and adds workspaces of its own: on the training steps of this package its plan for CPUs
    (`compiled.memory_analysis()`, after half a minute of compilation) is 0.6 to 1.4 times this.

    Args:
      function: pure.
      args: pytrees of arrays or of `jax.ShapeDtypeStruct`.
    """
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    return sum(map(_bytes, jaxpr.invars)) + _peak(jaxpr)


def _peak(jaxpr: Jaxpr) -> int:
    """Returns `live_bytes` without the arguments; a loop counts as one round, branches as the largest."""
    last_use = {v: i for i, eqn in enumerate(jaxpr.eqns) for v in _variables(eqn.invars)}
    last_use |= dict.fromkeys(_variables(jaxpr.outvars), len(jaxpr.eqns))
    alive: set[Any] = set()
    live = most = 0
    for i, eqn in enumerate(jaxpr.eqns):
        alive.update(eqn.outvars)
        live += sum(map(_bytes, eqn.outvars))
        most = max(most, live + max(map(_peak, programs_within(eqn)), default=0))
        over = {
            v
            for v in (*eqn.outvars, *_variables(eqn.invars))
            if v in alive and last_use.get(v, i) == i
        }
        alive -= over
        live -= sum(map(_bytes, over))
    return most


def _variables(atoms: Iterable[Any]) -> list[Any]:
    return [atom for atom in atoms if not isinstance(atom, Literal)]


def _bytes(variable: Any) -> int:
    return math.prod(variable.aval.shape) * variable.aval.dtype.itemsize


def programs_within(eqn: Any) -> Iterator[Jaxpr]:
    """Those of a loop, of branches, of a function with a gradient of its own."""
    leaves = jax.tree.leaves(
        list(eqn.params.values()), is_leaf=lambda node: isinstance(node, (ClosedJaxpr, Jaxpr))
    )
    for leaf in leaves:
        if isinstance(leaf, (ClosedJaxpr, Jaxpr)):
            yield leaf.jaxpr if isinstance(leaf, ClosedJaxpr) else leaf
