"""Checkpoints: exact, the last two kept, damaged ones passed over with a warning that names them."""

import logging
import shutil

import jax
import numpy as np
import pytest

from blurjax.engine import make_mesh, per_trial
from blurjax.runtime import UserError
from blurjax.train.checkpoints import Checkpoints


def tree(step, rows=2):
    return {
        "params": {"kernel": np.full((rows, 3), step, np.float32)},
        "step": np.full(rows, step, np.int32),
    }


def placed(step, rows=2, devices=2):
    return jax.device_put(tree(step, rows), per_trial(make_mesh(devices, jax.devices())))


@pytest.fixture
def saved(tmp_path):
    with Checkpoints(tmp_path / "job") as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, placed(step))
    return tmp_path / "job"


def restore(path, like=None):
    with Checkpoints(path) as checkpoints:
        return checkpoints.restore(tree(0) if like is None else like)


def test_the_newest_is_restored_exactly_and_two_are_kept(saved):
    found = restore(saved)
    np.testing.assert_array_equal(found["params"]["kernel"], tree(3)["params"]["kernel"])
    assert found["step"].dtype == np.int32
    assert sorted(path.name for path in saved.iterdir() if path.name.isdigit()) == ["2", "3"]


@pytest.mark.parametrize(("saving", "rows"), [(1, 3), (2, 4)])
def test_the_rows_that_are_wanted_come_back_whatever_the_devices(tmp_path, saving, rows):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, placed(1, rows, saving))
    found = restore(tmp_path, tree(0, rows=3))
    jax.tree.map(np.testing.assert_array_equal, found, tree(1, rows=3))
    assert restore(tmp_path, tree(0, rows=5)) is None


def test_nothing_there_is_none(tmp_path):
    assert restore(tmp_path / "empty") is None


def truncate(path):
    for file in path.rglob("*"):
        if file.is_file() and "d" in file.parts:
            file.write_bytes(file.read_bytes()[:10])


def flip(path):
    for file in path.rglob("*"):
        if file.is_file() and "d" in file.parts:
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 0xFF
            file.write_bytes(content)


def halve(path):
    for child in path.iterdir():
        if child.is_dir():
            shutil.rmtree(child)


@pytest.mark.parametrize("damage", [truncate, flip, halve])
def test_a_damaged_one_is_passed_over_by_name(saved, caplog, damage):
    damage(saved / "3")
    with caplog.at_level(logging.WARNING, "blurjax"):
        found = restore(saved)
    np.testing.assert_array_equal(found["step"], [2, 2])
    messages = [record.message for record in caplog.records if record.name == "blurjax"]
    assert len(messages) == 1
    assert str(saved / "3") in messages[0]
    assert [path for path in saved.iterdir() if path.name.startswith("damaged-3-")]
    with Checkpoints(saved) as checkpoints:  # the step can be saved again
        checkpoints.save(3, placed(3))
    np.testing.assert_array_equal(restore(saved)["step"], [3, 3])


@pytest.mark.parametrize(
    "like",
    [
        {"params": {"kernel": np.zeros((2, 4), np.float32)}, "step": np.zeros(2, np.int32)},
        {"params": {"weights": np.zeros((2, 3), np.float32)}, "step": np.zeros(2, np.int32)},
    ],
    ids=["shape", "name"],
)
def test_what_does_not_fit_is_of_another_model_and_stays_where_it_is(saved, like):
    before = sorted(path.name for path in saved.iterdir())
    with pytest.raises(UserError, match=r"of another model: params/kernel has the shape \(3,\)"):
        restore(saved, like)
    assert sorted(path.name for path in saved.iterdir()) == before
