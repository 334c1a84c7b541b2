"""Checkpoints of one job: saved in the background, the last two kept, damaged ones passed over."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

KEPT = 2
logger = logging.getLogger("blurjax")


class Checkpoints:
    """Orbax checkpoints of a pytree of host arrays, by step."""

    def __init__(self, directory: Path):
        options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, enable_async_checkpointing=True)
        self._directory = directory
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        self._manager.close()  # waits for what is being written

    def save(self, step: int, tree: Any) -> None:
        """Writes a pytree of NumPy arrays in the background; nothing happens where the step is there already."""
        if step not in self._manager.all_steps():
            self._manager.save(step, args=ocp.args.StandardSave(tree))

    def restore(self, like: Any) -> Any | None:
        """The newest checkpoint that is whole, or None where there is none.

        Args:
          like: a pytree of arrays or shapes and dtypes. What does not fit it counts as damaged.
        """
        abstract = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                tree = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
                _check_fits(tree, abstract)
            except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged file
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                logger.warning(
                    "The checkpoint %s is damaged and passed over (%s).",
                    self._directory / str(step),
                    reason,
                )
                self._manager.delete(step)
            else:
                return tree
        return None


def _check_fits(tree: Any, like: Any) -> None:
    """Orbax casts silently; a checkpoint of another dtype or shape is not ours."""

    def check(path: Any, found: np.ndarray, expected: np.ndarray) -> None:
        if found.dtype != expected.dtype or found.shape != expected.shape:
            name = jax.tree_util.keystr(path)
            raise ValueError(
                f"{name} is {found.dtype}{found.shape}, expected {expected.dtype}{expected.shape}"
            )

    jax.tree_util.tree_map_with_path(check, tree, like)
