"""From functions of one trial to compiled programs of all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from blurjax.engine import sweep
from blurjax.engine.mesh import Layout
from blurjax.train.batches import evaluation_loop, training_loop

SHARED_ORDER, OWN_ORDER = (None, None, None), (0, None, None)
"""in_axes of positions, start and length where all trials see the same batches, and where each has its own."""
OWN_IMAGES = {"image": 0, "label": None, "index": None}
"""in_axes of data of which each trial has its own images."""


class Compiler(NamedTuple):
    """Sweeps functions over the trials of a layout; programs are compiled when they are first called."""

    layout: Layout
    platform: str
    capacity: int
    """The most steps in one call of a loop."""
    streamed: bool
    """Whether all trials are trained on the same batches."""

    def training(
        self, step: Callable[..., Any], view_axes: Any, data_axes: Any = None
    ) -> Callable[..., Any]:
        """Returns (states, view parameters, data arguments) -> (states, metrics) for a training step."""
        order = SHARED_ORDER if self.streamed else OWN_ORDER
        loop = training_loop(step, self.capacity)
        return jax.jit(self._sweep(loop, (0, view_axes, data_axes, *order)), donate_argnums=0)

    def evaluation(
        self,
        step: Callable[..., Any],
        *axes: Any,
        order: Any = SHARED_ORDER,
        capacity: int | None = None,
    ) -> Callable[..., Any]:
        """Returns (variables, second argument, data arguments) -> per-example results; axes: of the first two."""
        loop = evaluation_loop(step, capacity or self.capacity)
        return jax.jit(self._sweep(loop, (*axes, None, *order)))

    def quickly(self, function: Callable[..., Any], in_axes: Any) -> Callable[..., Any]:
        """Returns a program that runs seldom and is not worth long compilation."""
        return jax.jit(self._sweep(function, in_axes), compiler_options=self.quick_options)

    @property
    def quick_options(self) -> dict[str, Any]:
        """Random parameters take seconds to optimise on CPU, a sort 45 s for a TPU."""
        options = {
            "cpu": {"xla_backend_optimization_level": 0},
            "tpu": {"exec_time_optimization_effort": -1.0},
        }
        return options.get(self.platform, {})

    def _sweep(self, function: Callable[..., Any], in_axes: Any) -> Callable[..., Any]:
        mesh, trials_per_vmap = self.layout
        return sweep(function, in_axes, mesh=mesh, trials_per_vmap=trials_per_vmap)
