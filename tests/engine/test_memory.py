"""Device memory: what steps are thought to need, how many trials that leaves room for, and the end when it runs out."""

import math
from dataclasses import dataclass
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from tiny import config, write_stripes

from blurjax.engine import Target, memory
from blurjax.engine.hardware import Hardware
from blurjax.engine.memory import free_bytes, live_bytes, trials_that_fit
from blurjax.experiment.networks import Networks, TrainingData
from blurjax.experiment.preparation import prepare
from blurjax.experiment.programs import Programs
from blurjax.experiment.run import run_experiment
from blurjax.experiment.step_memory import bytes_per_trial
from blurjax.models.layers import convolution, max_pool_2x2
from blurjax.runtime.errors import UserError, readable_memory_errors

KILOBYTE = jax.ShapeDtypeStruct((256,), jnp.float32)


@dataclass(frozen=True)
class Device:
    platform: str
    process_index: int = 0


def device(limit, in_use):
    stats = {"bytes_limit": limit, "bytes_in_use": in_use, "num_allocs": 3}
    return SimpleNamespace(memory_stats=lambda: stats)


def test_the_fullest_device_decides():
    assert free_bytes([device(100, 10), device(100, 70), device(50, 0)]) == 30


def test_cpus_do_not_say_how_much_they_have():
    assert free_bytes(jax.devices("cpu")) == math.inf


@pytest.mark.parametrize(
    ("trials", "room", "expected"),
    [
        (10, 10, 10),
        (10, 9.9, 5),  # two groups of 5, not of 9, the second of which would be padded by 8
        (10, 4, 4),
        (3, 0.2, 1),
        (32, math.inf, 32),
        (33, math.inf, 17),
        (1, 100, 1),
    ],
)
def test_as_many_trials_as_fit_in_even_groups(trials, room, expected):
    free = room * 1000 / memory.SHARE
    assert trials_that_fit(trials, 1000, free) == expected


def test_arrays_count_from_their_making_to_their_last_use():
    assert live_bytes(lambda x: x, KILOBYTE) == 1024
    assert live_bytes(lambda x: jnp.tanh(x), KILOBYTE) == 2048
    # The argument, what is read, what is written.
    assert live_bytes(lambda x: jnp.tanh(jnp.exp(jnp.sin(jnp.cos(x)))), KILOBYTE) == 3072
    assert live_bytes(lambda x: (y := jnp.sin(x), jnp.tanh(jnp.cos(y))), KILOBYTE) == 4096


def test_the_largest_branch_and_one_round_of_a_loop_count():
    def large(x):
        return jnp.sin(jnp.outer(x, x)).sum(axis=0)

    def one_of_two(index, x):
        return jax.lax.switch(index, [jnp.sin, large], x)

    def a_hundred(x):
        return jax.lax.fori_loop(0, 100, lambda _, x: large(x), x)

    two_matrices = range(2 * 256 * 1024, 2 * 256 * 1024 + 8 * 1024)
    assert live_bytes(one_of_two, jax.ShapeDtypeStruct((), jnp.int32), KILOBYTE) in two_matrices
    assert live_bytes(a_hundred, KILOBYTE) in two_matrices


def test_estimates_agree_with_what_xla_plans():
    def loss(kernels, images):
        for kernel in kernels:
            images = max_pool_2x2(jax.nn.relu(convolution(images, kernel, lowering="patches")))
        return (images**2).mean()

    kernels = [jnp.zeros((4, 3, 3, 3, 16)), jnp.zeros((4, 3, 3, 16, 32))]
    images = jnp.zeros((4, 32, 32, 32, 3))
    gradients = jax.vmap(jax.grad(loss))
    plan = jax.jit(gradients).lower(kernels, images).compile().memory_analysis()
    needed = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
    assert 0.5 < needed / live_bytes(gradients, kernels, images) < 1.5


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_stripes(tmp_path_factory.mktemp("data") / "stripes.npz")


def loaded(source, **changes):
    return prepare(config(source, compute__convolution="patches", **changes))


def networks(source, **changes):
    fitted, dataset = loaded(source, **changes)
    return Networks(fitted, TrainingData.of(dataset), "cpu")


def test_a_trial_needs_memory_in_proportion_to_its_batch(source):
    sizes = [bytes_per_trial(networks(source, classifier__batch_size=n)) for n in (64, 128, 256)]
    assert 1.9 < (sizes[2] - sizes[1]) / (sizes[1] - sizes[0]) < 2.1


@pytest.mark.parametrize(("room", "expected"), [(100, 10), (5.5, 5), (2.5, 2), (0.5, 1)])
def test_auto_runs_side_by_side_what_an_accelerator_has_memory_for(
    source, monkeypatch, room, expected
):
    fitted, dataset = loaded(source, sweep__num_seeds=10, compute__devices=1)
    images = dataset.images.nbytes
    monkeypatch.setattr("blurjax.experiment.programs.bytes_per_trial", lambda networks: 1e6)
    gpu = Device("gpu")
    memory_there = images + room * 1e6 / memory.SHARE
    hardware = Hardware("made up", memory_there, 1.0, None, None, None, "this test")
    target = Target("gpu", (gpu,), 1, hardware)
    assert Programs(fitted, dataset, target=target).layout.trials_per_vmap == expected


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
