"""Many trials in one program: `jax.vmap`'s contract, spread over devices and cut into groups that fit.

Each device of a mesh gets a share of the trials, and nothing is communicated between trials. A device computes
`trials_per_vmap` trials side by side and its groups one after another. Side by side suits accelerators, which a small
network cannot fill; one after another suits CPUs, whose caches one trial already fills.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from blurjax.engine.mesh import TRIAL_AXIS, make_mesh, padded_length
from blurjax.engine.types import Array


def sweep(
    function: Callable[..., Any],
    in_axes: Any = 0,
    out_axes: Any = 0,
    *,
    mesh: Mesh | None = None,
    trials_per_vmap: int | None = None,
) -> Callable[..., Any]:
    """Maps a function of one trial over an axis of its arguments, as `jax.vmap` does, on all devices.

    The result is compiled where it is called directly; under `jax.jit` (for example with `donate_argnums`) it becomes
    a part of that program. A trial's result has the same bits alone as among others, for the same `trials_per_vmap`
    and the same number of devices for each trial's batches.

    Args:
      function: pure, takes positional arguments without the axis of trials, returns a pytree of arrays.
      in_axes: as for `jax.vmap`: an int (also a negative one), None for an argument that all trials share, or a tuple
        with one entry, or one pytree prefix, for each argument. With `trials_per_vmap` 1, a branch (`lax.cond`,
        `lax.switch`) on a trial's own value stays a branch; with more, one on a value that is shared.
      out_axes: as for `jax.vmap`: an int, None, or a pytree prefix of the result. None is for a result that does not
        depend on the trial: it is returned once.
      mesh: from `make_mesh`; as many of all devices as there are trials where it is None. Devices along its second
        axis compute the same, but for what the function gives to `share_batches`, or constrains to that axis
        (`jax.lax.with_sharding_constraint`).
      trials_per_vmap: number of trials that a device computes side by side; where it is None, 1 on CPU and on
        other platforms all trials of the device.

    Returns:
      A function of the same positional arguments, which must be pytrees of arrays or numbers. It takes any number of
      trials. Where that is no multiple of trials_per_vmap times the number of devices, copies of the last trial are
      computed and dropped, which copies arguments and results; make them `padded_length` trials long where they are
      used again and again.

    Raises:
      ValueError, TypeError: as `jax.vmap` does when the function is called, of axes that do not fit the arguments or
        the result, of mapped axes of several lengths, of a result with out_axes None that depends on the trial; and
        of a mesh without an axis `trial` of a `trials_per_vmap` below 1, and of a sweep within a sweep.
    """
    if mesh is not None and TRIAL_AXIS not in mesh.axis_names:
        raise ValueError(
            f"sweep needs a mesh with an axis {TRIAL_AXIS!r}, as make_mesh returns it, but its axes are "
            f"{mesh.axis_names}."
        )
    if trials_per_vmap is not None and trials_per_vmap < 1:
        raise ValueError(f"trials_per_vmap is {trials_per_vmap}; it must be at least 1.")
    vmapped = jax.vmap(function, in_axes, out_axes)
    arguments_mapped = jax.vmap(functools.wraps(function)(lambda *args: args), in_axes)
    if isinstance(in_axes, list):  # as jax.vmap reads it
        in_axes = tuple(in_axes)

    def swept(*args: Any) -> Any:
        if TRIAL_AXIS in jax.sharding.get_abstract_mesh().manual_axes:
            raise ValueError(
                "A sweep within a sweep is not supported; use jax.vmap for the inner one."
            )
        # jax.vmap itself finds what does not fit, and says so.
        num_trials = jax.tree.leaves(jax.eval_shape(arguments_mapped, *args))[0].shape[0]
        if not isinstance(out_axes, int):
            jax.eval_shape(vmapped, *args)
        on = make_mesh(num_trials, jax.devices()) if mesh is None else mesh
        side_by_side = trials_per_vmap or _default_trials_per_vmap(num_trials, on)
        padding = padded_length(num_trials, on, side_by_side) - num_trials
        return _map_on_devices(function, args, in_axes, out_axes, on, side_by_side, padding)

    return jax.jit(functools.wraps(function)(swept), inline=True)


def _map_on_devices(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    in_axes: Any,
    out_axes: Any,
    mesh: Mesh,
    side_by_side: int,
    padding: int,
) -> Any:
    """Applies a function to all trials of its arguments, which fill the devices after `padding` copies of the last."""
    leaves, structure = jax.tree.flatten(args)
    axes = _axis_of_each_leaf(in_axes, args)
    pairs = list(zip(leaves, axes, strict=True))
    # A None is a pytree without leaves: both lists have a place for every leaf.
    own = [None if axis is None else _to_front(leaf, axis, padding) for leaf, axis in pairs]
    common = [leaf if axis is None else None for leaf, axis in pairs]

    def on_device(own: list[Any], common: list[Any]) -> Any:
        def one_trial(own: list[Any]) -> Any:
            merged = [b if a is None else a for a, b in zip(own, common, strict=True)]
            return function(*jax.tree.unflatten(structure, merged))

        # Without vmap, a branch on a trial's own value stays a branch.
        batch_size = None if side_by_side == 1 else side_by_side
        result = jax.lax.map(one_trial, own, batch_size=batch_size)
        # The first row here, on every device: later it would have to be sent to the others.
        return _with_axes(lambda x, axis: x[0] if axis is None else x, result, out_axes)

    def spec(axis: int | None) -> P:
        return P() if axis is None else P(TRIAL_AXIS)

    result = jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(P(TRIAL_AXIS), P()),
        out_specs=jax.tree.map(spec, out_axes, is_leaf=_is_none),
        axis_names={TRIAL_AXIS},
        check_vma=False,
    )(own, common)
    return _with_axes(functools.partial(_from_front, padding=padding), result, out_axes)


def _default_trials_per_vmap(num_trials: int, mesh: Mesh) -> int:
    """Returns 1 on CPU, elsewhere the number of trials of one device."""
    if mesh.devices.flat[0].platform == "cpu":
        return 1
    return max(1, -(-num_trials // mesh.shape[TRIAL_AXIS]))


def _is_none(node: Any) -> bool:
    return node is None


def _axis_of_each_leaf(axes: Any, tree: Any) -> list[int | None]:
    """Returns the axis that a pytree prefix gives to each leaf of a tree."""
    found = []
    jax.tree.map(
        lambda axis, subtree: found.extend([axis] * len(jax.tree.leaves(subtree))),
        axes,
        tree,
        is_leaf=_is_none,
    )
    return found


def _with_axes(change: Callable[[Array, int | None], Array], tree: Any, axes: Any) -> Any:
    """Applies a function of a leaf and its axis to each leaf of a tree."""
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, map(change, leaves, _axis_of_each_leaf(axes, tree)))


def _to_front(leaf: Array, axis: int, padding: int) -> Array:
    """Moves the axis of trials to the front and appends copies of the last trial."""
    moved = leaf if axis == 0 else jnp.moveaxis(leaf, axis, 0)
    if not padding:
        return moved
    return jnp.concatenate([moved, jnp.repeat(moved[-1:], padding, axis=0)])


def _from_front(leaf: Array, axis: int | None, padding: int) -> Array:
    """Drops the copies of the last trial and moves the axis of trials where it is wanted."""
    if axis is None:
        return leaf
    own = leaf[: len(leaf) - padding] if padding else leaf
    return own if axis == 0 else jnp.moveaxis(own, 0, axis)
