"""Training many trials in one program: `vmap`'s contract, spread over devices and cut into pieces that fit.

`sweep(function, mesh, trials_per_vmap, in_axes)` maps a function of one trial over a leading axis T of its arguments,
as `jax.vmap` does, but (1) each device of the mesh gets a share of the trials, with no communication between them, and
(2) a device runs `trials_per_vmap` trials side by side and its groups one after another. Side by side suits
accelerators, which a small network cannot fill; one after another suits CPUs, whose caches it already overflows.

`loop_steps(step)` makes such a function of one trial: many steps over batches gathered on the device, their metrics in
a buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from blurjax.engine.types import Array, Batch, Metrics, Scalar

TRIAL_AXIS, DATA_AXIS = "trial", "data"


def make_mesh(num_trials: int, devices: Sequence[Any], data_devices: int = 1) -> Mesh:
    """A mesh (trial, data), of as many of the devices as there are trials to keep busy.

    Args:
      num_trials: that are trained together.
      devices: at least data_devices; those of one process beside each other.
      data_devices: how many share the batches of each trial.
    """
    groups = [
        devices[i : i + data_devices]
        for i in range(0, len(devices) - data_devices + 1, data_devices)
    ]
    used = np.asarray(_evenly(groups, max(1, min(num_trials, len(groups)))))
    if data_devices == 1:  # without a second axis, nothing is left to a partitioner
        return Mesh(used[:, 0], (TRIAL_AXIS,), axis_types=(AxisType.Auto,))
    return Mesh(used, (TRIAL_AXIS, DATA_AXIS), axis_types=(AxisType.Auto, AxisType.Auto))


def _evenly(groups: Sequence[Sequence[Any]], count: int) -> list[Sequence[Any]]:
    """So many groups of devices, from all processes alike, in their order."""
    of_process: dict[int, int] = {}
    turns = []
    for number, group in enumerate(groups):
        turn = of_process.get(group[0].process_index, 0)
        of_process[group[0].process_index] = turn + 1
        turns.append((turn, number))
    return [groups[number] for number in sorted(number for _, number in sorted(turns)[:count])]


def padded_length(num_trials: int, mesh: Mesh, trials_per_vmap: int) -> int:
    """The least number of trials, at least num_trials, that divides evenly: a remainder would be compiled again."""
    group = mesh.shape[TRIAL_AXIS] * trials_per_vmap
    return -(-num_trials // group) * group


def per_trial(mesh: Mesh) -> NamedSharding:
    """Where arrays with a leading axis of trials lie."""
    return NamedSharding(mesh, P(TRIAL_AXIS))


def in_batches(mesh: Mesh) -> NamedSharding:
    """Where arrays [steps, batch, ...] lie that all trials share: each device holds its part of every batch."""
    return NamedSharding(mesh, P(None, DATA_AXIS) if DATA_AXIS in mesh.axis_names else P())


def shared(mesh: Mesh) -> NamedSharding:
    """Where arrays lie that all trials share: whole, on every device."""
    return NamedSharding(mesh, P())


def sweep(
    function: Callable[..., Any], mesh: Mesh, trials_per_vmap: int, in_axes: tuple[Any, ...]
) -> Callable[..., Any]:
    """Maps a function of one trial over the leading axis of its arguments.

    Args:
      function: pure, of arguments without the trial axis; returns a pytree of arrays.
      mesh: from `make_mesh`; devices along its second axis share what the function constrains to it (`gather_batch`
        does so with batches), and XLA puts the parts together.
      trials_per_vmap: how many trials a device runs side by side.
      in_axes: one entry per argument, 0 (trial axis first) or None (shared by all trials), or a pytree prefix of
        these, as for `jax.vmap`.

    Returns:
      A function of the arguments with T trials, a multiple of mesh.size * trials_per_vmap, to be jitted by the caller;
      its results have a leading axis T.
    """

    def swept(*args: Any) -> Any:
        leaves, treedef = jax.tree.flatten(args)
        axes = _broadcast_axes(in_axes, args)
        specs = [P() if axis is None else P(TRIAL_AXIS) for axis in axes]

        def on_device(*leaves: Array) -> Any:
            mapped = [leaf for leaf, axis in zip(leaves, axes, strict=True) if axis is not None]

            def one_trial(mapped: list[Array]) -> Any:
                own = iter(mapped)
                merged = [
                    leaf if axis is None else next(own)
                    for leaf, axis in zip(leaves, axes, strict=True)
                ]
                return function(*jax.tree.unflatten(treedef, merged))

            if trials_per_vmap == 1:  # without vmap, what a trial decides for itself stays a branch
                return jax.lax.map(one_trial, mapped)
            return jax.lax.map(one_trial, mapped, batch_size=trials_per_vmap)

        return jax.shard_map(
            on_device,
            mesh=mesh,
            in_specs=tuple(specs),
            out_specs=P(TRIAL_AXIS),
            axis_names={TRIAL_AXIS},
            check_vma=False,
        )(*leaves)

    return swept


def _broadcast_axes(in_axes: tuple[Any, ...], args: tuple[Any, ...]) -> list[int | None]:
    """One axis per leaf of args."""

    def is_axis(node: Any) -> bool:
        return node is None or isinstance(node, int)

    axes = jax.tree.map(
        lambda axis, subtree: [axis] * len(jax.tree.leaves(subtree)), in_axes, args, is_leaf=is_axis
    )
    return jax.tree.leaves(axes, is_leaf=lambda node: node is None)


def gather_batch(data: dict[str, Array], positions: Array, step: Scalar | int) -> Batch:
    """The batch of one step, from data on the device.

    Args:
      data: "image" u8[M,H,W,C], "label" i32[M], "index" i32[M]; or with axes [S,B] in place of [M], where they lie in
        the order of the steps already.
      positions: i32[S,B], rows of data, or of no meaning where they lie in order; -1 pads.
      step: row of positions.
    """
    own = jax.lax.dynamic_index_in_dim(positions, step, keepdims=False)
    if data["label"].ndim == 2:
        found = {
            name: jax.lax.dynamic_index_in_dim(array, step, keepdims=False)
            for name, array in data.items()
        }
    else:
        found = {name: array[jnp.maximum(own, 0)] for name, array in data.items()}
    batch: Batch = {
        "image": found["image"].astype(jnp.float32) / 255.0,
        "label": found["label"],
        "index": found["index"],
        "mask": own >= 0,
    }
    if DATA_AXIS in jax.sharding.get_abstract_mesh().axis_names:
        batch = jax.lax.with_sharding_constraint(batch, P(DATA_AXIS))
    return batch


def loop_steps(
    step: Callable[[Any, Any, Batch], tuple[Any, Metrics]], capacity: int
) -> Callable[..., tuple[Any, Metrics]]:
    """Steps of one trial in a loop on the device.

    Args:
      step: (state, view_parameters, batch) -> (state, metrics).
      capacity: most steps a call; any number up to it runs in the same program.

    Returns:
      (state, view_parameters, data, positions i32[S,B], start, length) -> (state, metrics[capacity]) which takes
      `length` steps from row `start` of positions on; metrics beyond `length` are zero.
    """

    def run(
        state: Any,
        view_parameters: Any,
        data: dict[str, Array],
        positions: Array,
        start: Scalar,
        length: Scalar,
    ) -> tuple[Any, Metrics]:
        def body(i: Scalar, carry: tuple[Any, Metrics]) -> tuple[Any, Metrics]:
            state, buffer = carry
            batch = gather_batch(data, positions, start + i)
            state, metrics = step(state, view_parameters, batch)
            return state, jax.tree.map(lambda all_, new: all_.at[i].set(new), buffer, metrics)

        _, abstract = jax.eval_shape(step, state, view_parameters, gather_batch(data, positions, 0))
        buffer = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), abstract)
        return jax.lax.fori_loop(0, length, body, (state, buffer))

    return run


def loop_evaluation(
    eval_step: Callable[[Any, Any, Batch], Metrics], capacity: int
) -> Callable[..., Metrics]:
    """Like `loop_steps`, for a step (params, view_parameters, batch) -> metrics that leaves its parameters alone."""
    run = loop_steps(
        lambda params, views, batch: (params, eval_step(params, views, batch)), capacity
    )
    return lambda *args: run(*args)[1]
