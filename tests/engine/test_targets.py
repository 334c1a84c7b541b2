"""Devices that programs are compiled for, by name; and the figures that are known of them."""

import re

import jax
import pytest

from blurjax.engine import find_target, targets, this_machine
from blurjax.engine.hardware import HARDWARE

SPECS = {path.stem: path.read_text() for path in targets._GPUS.glob("*.txtpb")}


def test_this_machine_has_what_jax_has_started():
    target = this_machine()
    assert target.devices == tuple(jax.devices())
    assert (target.platform, target.processes) == (jax.default_backend(), 1)


def test_the_cpu_devices_share_the_memory_of_the_machine():
    target = find_target("cpu")
    assert target.platform == "cpu"
    assert len(target.devices) == 2
    assert 2**28 < target.hardware.memory < 2**46
    assert target.hardware.peak("float32") is None


@pytest.mark.parametrize(
    ("name", "count", "processes", "memory"),
    [
        ("tpu:v5e", 1, 1, 16),
        ("tpu:v5e:1x1", 1, 1, 16),
        ("tpu:v6e:1x1", 1, 1, 32),
        ("tpu:v5e:2x4", 8, 1, 16),
        ("tpu:v5e:4x4", 16, 4, 16),
    ],
)
def test_slices_of_tpus_by_their_topology(name, count, processes, memory):
    pytest.importorskip("libtpu")
    target = find_target(name)
    assert target.platform == "tpu"
    assert (len(target.devices), target.processes) == (count, processes)
    assert target.hardware.memory == memory * 2**30
    assert target.hardware.available < target.hardware.memory


@pytest.mark.parametrize(
    "name",
    ["tpu", "tpu:v9", "tpu:v5e:2", "tpu:v5e:2x2:1", "tpu:h100", "gpu:v5e", "gpu:h100:0", "cpu:2"],
)
def test_what_is_no_target_is_a_sentence_that_names_some(name):
    with pytest.raises(ValueError, match=f"There is no target {name}; name cpu, tpu:KIND"):
        find_target(name)


def test_a_topology_that_does_not_exist_is_a_sentence():
    pytest.importorskip("libtpu")
    with pytest.raises(ValueError, match=r"libtpu knows no topology tpu:v5e:3x7 \("):
        find_target("tpu:v5e:3x7")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tpu:v5e", r"for TPUs needs the package libtpu; .*pip install 'blurjax\[tpu\]'"),
        ("gpu:t4", r"for GPUs needs the package jax_cuda13_plugin; .*'blurjax\[cuda\]'"),
    ],
)
def test_a_compiler_that_is_not_installed_names_the_extra(name, says, monkeypatch):
    def missing(module):
        raise ImportError(module)

    monkeypatch.setattr(targets.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=says):
        find_target(name)


def test_every_gpu_has_a_description_for_the_compiler_and_figures_that_agree():
    assert SPECS.keys() == {name for name in HARDWARE if not name.startswith("v")}
    for name, text in SPECS.items():
        memory, bandwidth = (
            int(re.search(rf"{field}: (\d+)", text)[1])
            for field in ("device_memory_size", "memory_bandwidth")
        )
        assert memory == HARDWARE[name].memory
        assert bandwidth == HARDWARE[name].bandwidth


def test_every_figure_names_its_source_and_is_plausible():
    for hardware in HARDWARE.values():
        assert hardware.source.startswith("https://")
        assert hardware.bfloat16 >= hardware.float32
        # All are between a T4 and what may come: a slip by a factor of a thousand would show.
        assert 8e12 <= hardware.float32 <= 1e15
        assert 3e11 <= hardware.bandwidth <= 1e13
