"""Trials side by side: as many as compiled programs fit; and the end when memory runs out."""

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from tiny import config, write_stripes

from blurjax.engine import Target, find_target
from blurjax.experiment.calls import make_programs
from blurjax.experiment.compilation import without_cache
from blurjax.experiment.layout import (
    COMPILATIONS,
    MOST_FLOPS,
    Memory,
    _most_side_by_side,
    _side_by_side,
    make_layout,
)
from blurjax.experiment.preparation import prepare
from blurjax.experiment.run import run_experiment
from blurjax.runtime.errors import UserError, readable_memory_errors


def device(limit, in_use):
    stats = {"bytes_limit": limit, "bytes_in_use": in_use, "num_allocs": 3}
    return SimpleNamespace(memory_stats=lambda: stats, platform="gpu")


def test_the_fullest_device_decides():
    devices = (device(100, 10), device(100, 70), device(50, 0))
    mesh = SimpleNamespace(local_devices=devices)
    assert Target("here", devices, 1).free_bytes(mesh) == 30
    mesh = SimpleNamespace(local_devices=jax.devices("cpu"))  # which do not say
    assert Target("here", devices, 1).free_bytes(mesh) == math.inf


@pytest.mark.parametrize(
    ("trials", "fitting", "expected"),
    [
        (10, 10, 10),
        (10, 9, 5),  # two groups of 5, not of 9, the second of which would be padded by 8
        (10, 4, 4),
        (10, 1, 1),
        (3, 0, 1),  # which is tried even where it does not fit
        (32, math.inf, 32),
        (33, math.inf, 17),
    ],
)
def test_as_many_as_fit_in_even_groups(trials, fitting, expected):
    asked = []

    def memory(count):
        asked.append(count)
        return Memory(100.0 + 7 * count, 7.0 * count)

    assert _side_by_side(trials, 32, 100 + 7 * fitting, memory) == expected
    assert len(asked) <= 2  # memory grows in proportion, so that the second number fits


def test_fewer_devices_are_taken_from_all_processes(source):
    @dataclass(frozen=True)
    class Device:
        id: int
        process_index: int
        platform: str = "gpu"

    there = [Device(number, number // 4) for number in range(8)]
    fitted, _ = prepare(config(source, compute__devices=4, sweep__num_seeds=8))
    layout = make_layout(
        fitted.model_copy(
            update={"compute": fitted.compute.model_copy(update={"trials_per_vmap": 1})}
        ),
        Target("here", tuple(there), 2),
        lambda devices: 1,
        lambda layout: Memory(0.0, 0.0),
        lambda layout: 0.0,
    )
    assert [device.id for device in layout.mesh.devices.flat] == [0, 1, 4, 5]


@pytest.mark.parametrize(
    ("flops", "expected"),
    [(0.0, 32), (MOST_FLOPS / 8, 8), (MOST_FLOPS / 2.1, 2), (MOST_FLOPS, 1), (1e12, 1)],
)
def test_trials_that_compute_much_run_one_after_another(flops, expected):
    assert _most_side_by_side(flops) == expected


@pytest.mark.parametrize(
    ("width", "changes", "expected"),
    [
        (4, {}, 8),
        (
            128,
            {},
            4,
        ),  # a step takes 0.9 GFLOP: 9.5 million products an image, 16 images, and the two gradients
        (256, {}, 1),  # 3.6 GFLOP
        (256, {"compute__mesh": "1x4"}, 4),  # of which each of four devices takes a quarter
    ],
)
def test_wider_networks_have_fewer_side_by_side(source, width, changes, expected):
    pytest.importorskip("libtpu")
    changes |= {"sweep__num_seeds": 8, "classifier__model__width": width}
    fitted, dataset = prepare(config(source, **changes))
    target = find_target("tpu:v5e:2x2" if "compute__mesh" in changes else "tpu:v5e:1x1")
    programs = make_programs(fitted, dataset, target, memory_of=lambda *_: Memory(0.0, 0.0))
    assert programs.layout.trials_per_vmap == expected


def test_what_does_not_compile_is_halved():
    asked = []

    def memory(count):
        asked.append(count)
        return Memory(50.0, 40.0) if count <= 8 else Memory(math.inf, math.inf)

    assert _side_by_side(32, 32, 60, memory) == 8
    assert asked == [32, 16, 8]


def test_what_the_compiler_says_of_a_program_that_is_too_large_counts():
    asked, says = [], {32: 48.0, 8: 14.5}

    def memory(count):
        asked.append(count)
        return Memory(math.inf, says[count]) if count in says else Memory(12.0, 10.0)

    assert _side_by_side(64, 32, 14, memory) == 4
    assert asked == [32, 8, 4]


def test_no_number_that_was_not_seen_to_fit_is_taken():
    asked = []

    def memory(count):
        asked.append(count)
        return Memory(math.inf, math.inf)

    assert _side_by_side(32, 32, 60, memory) == 1
    assert len(asked) == COMPILATIONS


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_stripes(tmp_path_factory.mktemp("data") / "stripes.npz")


@pytest.mark.slow
def test_a_tpu_with_less_memory_has_fewer_side_by_side(source):
    """By the compiler's word; what it leaves is enough for what the training was compiled to need."""
    pytest.importorskip("libtpu")
    fitted, dataset = prepare(config(source, sweep__num_seeds=8))
    target = find_target("tpu:v5e:1x1")

    def side_by_side(memory):
        smaller = replace(target.hardware, memory=memory, share=1.0)
        with without_cache():
            return make_programs(fitted, dataset, replace(target, hardware=smaller)).layout[1]

    assert side_by_side(16e9) == 8
    assert side_by_side(1.0) == 1


def run_out_of_memory(*_):
    jax.block_until_ready(jnp.zeros(2**44))


def test_running_out_of_memory_names_the_settings_to_lower():
    with pytest.raises(UserError) as caught, readable_memory_errors():
        run_out_of_memory()
    settings = ("compute.trials_per_vmap", "classifier.batch_size", "data.image_size")
    places = [str(caught.value).find(name) for name in (*settings, "data.resident_limit")]
    assert places == sorted(places)
    assert places[0] > 0


def test_other_errors_of_the_device_are_left_alone():
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), readable_memory_errors():
        raise jax.errors.JaxRuntimeError("INTERNAL: a bug")


def test_an_experiment_that_runs_out_of_memory_ends_in_the_sentence(source, tmp_path):
    with pytest.raises(UserError, match=r"lower compute\.trials_per_vmap"):
        run_experiment(config(source), tmp_path / "run", progress=run_out_of_memory)
