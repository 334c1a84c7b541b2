"""Checkpoints of one job: saved in the background, the last two kept, damaged ones passed over."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from blurjax.runtime import UserError, processes

KEPT = 2
ITEM = "job"
logger = logging.getLogger("blurjax")


class Checkpoints:
    """Orbax checkpoints, by step, of a pytree of arrays whose rows belong to trials.

    Every process saves the rows that lie on its devices. What is restored does not depend on how many there were.

    Args:
      directory: of the job.
      read_only: leave the directory as it is; damaged checkpoints are passed over where they are.
    """

    def __init__(self, directory: Path, *, read_only: bool = False):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=KEPT, enable_async_checkpointing=True, create=not read_only
        )
        self._directory, self._read_only = directory, read_only
        handlers = {ITEM: ocp.StandardCheckpointHandler()}  # needed to read what a checkpoint holds
        self._manager = ocp.CheckpointManager(
            directory.absolute(), options=options, item_handlers=handlers
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        with _plain_os_errors(self._directory):
            self._manager.close()  # waits for what is being written

    def save(self, step: int, tree: Any) -> None:
        """Writes a pytree of arrays [T,...] in the background; nothing happens where the step is there already.

        Args:
          step: names the checkpoint.
          tree: of arrays that all lie along the same sharding of their first axis.

        Raises:
          OSError: this one or the one before could not be written.
        """
        if step in self._manager.all_steps():
            return
        content = ocp.args.StandardSave({"tree": tree, "crc32": _placed_checksums(tree)})
        with _plain_os_errors(self._directory):
            self._manager.save(step, args=ocp.args.Composite(**{ITEM: content}))

    def restore(self, like: Any) -> Any | None:
        """Reads the newest checkpoint that is whole; None where there is none. Damaged ones are set aside.

        Args:
          like: a pytree of arrays of the dtypes that were saved, and of the shapes but for the number of rows: the
            first ones are returned, as NumPy arrays.
        """
        abstract = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
        content = {"tree": abstract, "crc32": np.zeros(0, np.uint32)}
        args = ocp.args.Composite(**{ITEM: ocp.args.StandardRestore(content)})
        # Several processes go back to the same step: the newest that process 0 sees and all can read.
        for step in processes.broadcast(sorted(self._manager.all_steps(), reverse=True)):
            restored, damage = {}, None
            try:
                self._check_model(step, abstract)
                restored = self._manager.restore(step, args=args)[ITEM]
                _check(restored, abstract)  # which Orbax does not
            except UserError:
                raise
            except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged file
                damage = error
            if not processes.any_process(damage is not None)[0]:
                return jax.tree.map(lambda x, like: x[: len(like)], restored["tree"], abstract)
            self._set_aside(step, damage or OSError("another process could not read it"))
        return None

    def _check_model(self, step: int, like: Any) -> None:
        """Raises UserError where a checkpoint holds other variables than those expected: it is whole, and another's."""
        saved = _shapes(self._manager.item_metadata(step)[ITEM].tree["tree"])
        expected = _shapes(like)
        for name in sorted({**saved, **expected}):
            if saved.get(name) != expected.get(name):
                raise UserError(
                    f"The checkpoint {self._directory / str(step)} is of another model: {name} has the shape "
                    f"{saved.get(name, 'of nothing')}, expected {expected.get(name, 'nothing')}; restore the model's "
                    "code and settings, or name another directory with --out."
                )

    def _set_aside(self, step: int, error: Exception) -> None:
        """Renames a damaged checkpoint: beside one, Orbax would not save an earlier step."""
        path = self._directory / str(step)
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        logger.warning("The checkpoint %s is damaged; using the one before (%s).", path, reason)
        if self._read_only:
            return
        aside = path.with_name(f"damaged-{step}-{time.time_ns()}")
        processes.barrier(f"damaged {path}")  # all have read it
        processes.on_first(lambda: path.rename(aside))
        self._manager.reload()


@contextlib.contextmanager
def _plain_os_errors(directory: Path) -> Iterator[None]:
    """Turns what TensorStore makes of an OSError, such as that of a full disk, into one again."""
    try:
        yield
    except ValueError as error:
        number = re.search(r"os_error_code='(\d+)'", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(directory)) from error


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Returns the name of every leaf -> its shape without the axis of trials."""
    named, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        "/".join(str(getattr(k, "name", getattr(k, "key", getattr(k, "idx", k)))) for k in path): (
            tuple(leaf.shape[1:])
        )
        for path, leaf in named
    }


def _placed_checksums(tree: Any) -> jax.Array:
    """Checksums u32[T], along the sharding of the arrays; each process computes those of its rows."""
    leaves = jax.tree.leaves(tree)
    sharding = leaves[0].sharding

    def of_rows(index: Any) -> np.ndarray:
        own = [
            next(shard.data for shard in leaf.addressable_shards if shard.index[:1] == index)
            for leaf in leaves
        ]
        return _checksums(own)

    return jax.make_array_from_callback((len(leaves[0]),), sharding, of_rows)


def _checksums(leaves: Sequence[Any]) -> np.ndarray:
    """u32[T], of the bytes of each row of all arrays [T,...] in order."""
    arrays = [np.ascontiguousarray(leaf) for leaf in leaves]
    return np.array([_checksum(row) for row in zip(*arrays, strict=True)], np.uint32)


def _checksum(arrays: Iterable[np.ndarray]) -> int:
    checksum = 0
    for array in arrays:
        checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
    return checksum


def _check(restored: Any, like: Any) -> None:
    """Raises ValueError where shapes are not those expected, or the bytes not those that were saved."""

    def check_shape(path: Any, found: np.ndarray, expected: np.ndarray) -> None:
        if found.shape[1:] != expected.shape[1:] or len(found) < len(expected):
            raise ValueError(
                f"{jax.tree_util.keystr(path)} is {found.shape}, expected {expected.shape}"
            )

    jax.tree_util.tree_map_with_path(check_shape, restored["tree"], like)
    if (restored["crc32"] != _checksums(jax.tree.leaves(restored["tree"]))).any():
        raise ValueError("its checksum is another")
