"""Whether two runs hold the same, bit by bit, but for how long they took."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from blurjax.runtime.files import read_npz

PLAIN = ("config.yaml", "dataset.json", "fingerprints.json", "audit.json", "format.json")


def assert_same_run(ours: Path, theirs: Path) -> None:
    """Results, predictions, metrics, figures, tables, final parameters; and nothing is left over."""
    assert _names(ours) == _names(theirs)
    for name in _names(ours):
        one, other = ours / name, theirs / name
        if name in PLAIN or one.suffix in (".png", ".csv", ".tex"):
            assert one.read_bytes() == other.read_bytes(), name
        elif one.suffix == ".npz":
            assert_same_arrays(read_npz(one), read_npz(other), name)
    assert _results(ours) == _results(theirs)
    assert _metrics(ours) == _metrics(theirs)
    for job in sorted(path.parent for path in ours.rglob("job.json")):
        name = job.relative_to(ours)
        assert_same_arrays(final_states(ours / name), final_states(theirs / name), str(name))


def assert_same_arrays(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], of: str) -> None:
    assert ours.keys() == theirs.keys(), of
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=f"{of}: {name}")


def _names(run: Path) -> set[str]:
    """All files but those of checkpoints, of which a run may keep one more, and the log of warnings."""
    paths = (path.relative_to(run) for path in run.rglob("*") if path.is_file())
    return {
        str(path) for path in paths if path.parts[0] != "checkpoints" and path.name != "run.log"
    }


def _results(run: Path) -> dict:
    results = json.loads((run / "results.json").read_text())
    return {name: value for name, value in results.items() if name != "seconds"}


def _metrics(run: Path) -> list[str]:
    """Sorted, since the order of jobs is that of their ends; a line that is there twice counts twice."""
    return sorted((run / "metrics.jsonl").read_text().splitlines())


def final_states(job: Path) -> dict[str, np.ndarray]:
    """The arrays of a job's last checkpoint, read without blurjax."""
    handlers = {"job": ocp.StandardCheckpointHandler()}
    with ocp.CheckpointManager(job.absolute(), item_handlers=handlers) as manager:
        step = manager.latest_step()
        saved = manager.item_metadata(step)["job"].tree
        like = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), saved)
        tree = manager.restore(step, args=ocp.args.Composite(job=ocp.args.StandardRestore(like)))
    flat: dict[str, np.ndarray] = {}
    _flatten(tree["job"]["tree"], "", flat)
    return flat


def _flatten(tree: object, prefix: str, flat: dict[str, np.ndarray]) -> None:
    if isinstance(tree, dict):
        for name, value in tree.items():
            _flatten(value, f"{prefix}/{name}", flat)
    elif isinstance(tree, list | tuple):
        for position, value in enumerate(tree):
            _flatten(value, f"{prefix}/{position}", flat)
    elif tree is not None:
        flat[prefix] = np.asarray(tree)
