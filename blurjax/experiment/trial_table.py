"""Files with one row a trial, to which the rows of further trials are added."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from blurjax.engine.types import Trial
from blurjax.runtime.run_directory import RunDirectory, read_npz

Arrays = dict[str, np.ndarray]


def add_missing_rows(
    run: RunDirectory,
    name: str,
    wanted: Sequence[Trial],
    evaluate: Callable[[list[Trial]], Arrays],
    shared: Mapping[str, np.ndarray] | None = None,
) -> bool:
    """Evaluates the trials that a file lacks and appends them to it.

    Args:
      run: the run directory.
      name: of the .npz file in it, which need not exist.
      wanted: what its rows should be; further ones that it has stay.
      evaluate: trials -> arrays with a leading axis of trials.
      shared: arrays without one, the same for all rows.

    Returns:
      Whether anything was missing.
    """
    shared = shared or {}
    path = run / name
    old = read_npz(path) if path.exists() else None
    known = set() if old is None else set(trials_of(old))
    missing = [trial for trial in wanted if trial not in known]
    if not missing:
        return False
    columns = Trial(*(np.array(column) for column in zip(*missing, strict=True)))
    new = evaluate(missing) | columns._asdict() | dict(shared)
    run.write_npz(name, **(new if old is None else merge_rows(old, new, shared.keys())))
    return True


def trials_of(arrays: Mapping[str, np.ndarray]) -> list[Trial]:
    """What each row is."""
    columns = [arrays[field].tolist() for field in Trial._fields]
    return [Trial(*row) for row in zip(*columns, strict=True)]


def merge_rows(
    old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray], shared: Collection[str]
) -> Arrays:
    """Appends the rows of further trials.

    Arrays named in `shared` have no axis of trials; those that only one side has (logits, where the size of the run
    has crossed their limit) are left out.
    """
    return {
        name: old[name] if name in shared else np.concatenate([old[name], new[name]])
        for name in new
        if name in old
    }
