"""The benchmark: contenders take turns and run the same networks, and one command ends in a table and JSON."""

import inspect
import json
import os
import pkgutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import benchmark
from benchmarks import subjects, timing
from benchmarks.contenders import random_params
from benchmarks.networks import AUTOENCODER, BOTTLENECK, CNN, RESNET
from benchmarks.timing import Contender

from blurjax.models.autoencoders import ConvAutoencoder
from blurjax.models.classifiers import CnnClassifier, ResNetClassifier

ROOT = Path(__file__).resolve().parents[1]


class Clock:
    """Goes on only while a contender runs."""

    def __init__(self):
        self.seconds, self.turns = 0.0, []

    def contender(self, name, seconds, **sizes):
        def run(repeats):
            self.turns.append(name)
            self.seconds += repeats * seconds

        return Contender(name, run, **sizes)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.seconds)
    return clock


def test_times_are_of_one_step_of_one_trial(clock):
    slow = clock.contender("slow", 0.6, trials=3, steps=5)
    quick = clock.contender("quick", 0.001, trials=2)
    times = timing.interleave([slow, quick], rounds=4, seconds=0.25)
    np.testing.assert_allclose(times["slow"], [40.0] * 4)
    np.testing.assert_allclose(times["quick"], [0.5] * 4)


def test_contenders_take_turns_and_begin_in_turn(clock):
    contenders = [clock.contender(name, 1.0) for name in "abc"]
    timing.interleave(contenders, rounds=4, seconds=0.1)
    assert "".join(clock.turns).endswith("abc" + "bca" + "cab" + "abc")


def test_a_round_lasts_about_as_long_as_asked_for(clock):
    timing.interleave([clock.contender("a", 0.001)], rounds=1, seconds=0.2)
    before = clock.seconds
    timing.interleave([clock.contender("a", 0.001)], rounds=2, seconds=0.2)
    once = (clock.seconds - before) - before
    assert once == pytest.approx(0.2)


def test_operations_are_those_of_the_networks():
    """64 images: the CNN's 3.95 GFLOP were counted by hand, from 21.2 million in a forward pass."""
    assert CNN.flop(64) == pytest.approx(3.95e9, rel=0.01)
    kernels = 9 * (3 * 32 * 4096 + 32 * 64 * 1024 + 64 * 128 * 256 + 128 * 256 * 64)
    decoder = 9 * (256 * 128 * 64 + 128 * 64 * 256 + 64 * 32 * 1024 + 32 * 3 * 4096)
    forward = 2 * (kernels + decoder + 2 * 4096 * 128)
    assert AUTOENCODER.flop(64) == 64 * (3 * forward - 2 * 9 * 3 * 32 * 4096)


@pytest.mark.parametrize(
    ("network", "model", "rest"),
    [
        (CNN, CnnClassifier(num_classes=10), ()),
        (AUTOENCODER, ConvAutoencoder((64, 64, 3), BOTTLENECK), (BOTTLENECK,)),
    ],
    ids=["W1", "W2"],
)
def test_plain_flax_runs_blurjax_s_own_network(network, model, rest):
    size = network.image_size
    images = jax.random.uniform(jax.random.key(0), (2, size, size, 3))
    plain = network.plain(jnp.float32)
    params = random_params(plain, size, seed=1)
    expected = jax.jit(model.apply)(params, images, *rest)
    assert expected.std() > 0.01
    np.testing.assert_allclose(jax.jit(plain.apply)(params, images), expected, rtol=1e-3, atol=1e-5)


def test_plain_flax_runs_the_residual_network_in_training():
    """Of two images, which blurjax normalises together as flax does whole batches."""
    images = jax.random.uniform(jax.random.key(0), (2, 32, 32, 3))
    plain, own = RESNET.plain(jnp.float32), ResNetClassifier(num_classes=10)
    variables = random_params(plain, 32, seed=1)
    found = plain.apply(variables, images, mutable=["batch_stats"])
    expected = own.apply(variables, images, train=True, mutable=["batch_stats"])
    close = partial(np.testing.assert_allclose, rtol=1e-2, atol=1e-3)
    jax.tree.map(close, found[0], expected[0])
    # Averages of statistics decay differently.
    assert jax.tree.structure(found[1]) == jax.tree.structure(expected[1])


@pytest.mark.parametrize("network", [CNN, AUTOENCODER, RESNET], ids=["W1", "W2", "residual"])
def test_torch_runs_a_network_of_as_many_parameters(network):
    torch = pytest.importorskip("torch")
    from benchmarks.torch_networks import make_network

    size = network.image_size
    shapes = jax.eval_shape(
        network.plain(jnp.float32).init, jax.random.key(0), jnp.zeros((1, size, size, 3))
    )
    model = make_network(network)
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == count
    out = model(torch.zeros(2, 3, size, size))
    assert out.shape == ((2, 3, size, size) if network is AUTOENCODER else (2, 10))


def test_a_power_law_is_found_in_its_own_points():
    exponent, r_squared = subjects.power_law([1, 2, 5, 10], [3 * n**1.5 for n in (1, 2, 5, 10)])
    assert exponent == pytest.approx(1.5)
    assert r_squared == pytest.approx(1.0)
    assert subjects.power_law([1, 2, 5, 10], [1, 9, 2, 8])[1] < 0.6


def test_the_pipeline_is_timed_with_streams_also_where_there_is_no_tensorflow(monkeypatch):
    class Resting:
        def __init__(self, network, dataset, settings):
            self.run_epochs = settings.get("data.resident_limit")

    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setattr(subjects, "Stage", Resting)
    monkeypatch.setattr(
        subjects, "fixed_batch", lambda *_: Contender("fixed batch", None, trials=1)
    )
    monkeypatch.setattr(
        subjects, "interleave", lambda contenders, *_: {c.name: np.ones(2) for c in contenders}
    )
    options = benchmark.parse(["--quick", "--batch-size", "1"])
    contenders = [row["contender"] for row in subjects.pipeline(options)]
    assert contenders == ["resident", "streaming", "fixed batch"]


@pytest.mark.parametrize("workload", benchmark.WORKLOADS)
def test_every_workload_has_its_function(workload):
    assert f"\n  {workload} " in benchmark.__doc__
    rows = pkgutil.resolve_name(f"benchmarks.{benchmark.WORKLOADS[workload]}")
    assert inspect.signature(rows).parameters["options"].default is inspect.Parameter.empty


def measure(out, *options):
    """Runs the command; returns what it wrote and printed."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache" / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    script = str(ROOT / "scripts" / "benchmark.py")
    command = [sys.executable, script, "--quick", "--rounds", "1", "--json", str(out), *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text()), done.stdout


@pytest.mark.slow
def test_one_command_measures_prints_and_writes(tmp_path):
    found, printed = measure(
        tmp_path / "found.json", "--workloads", "W1", "--batch-size", "8", "--trials", "2"
    )
    rows = {row["contender"]: row for row in found["rows"]}
    assert list(rows) == ["blurjax", "flax_step", "flax_vmap", "matmul float32"]
    product = rows["matmul float32"]
    for name, row in rows.items():
        assert row["workload"] == "W1"
        assert row["spread"] == [row["ms_per_trial_step"]] * 2
        assert f"\n{name} " in printed
    for name in ("blurjax", "flax_step", "flax_vmap"):
        row, milliseconds = rows[name], rows[name]["ms_per_trial_step"]
        assert row["trials"] == 2
        assert row["ratio_to_blurjax"] * rows["blurjax"]["ms_per_trial_step"] == pytest.approx(
            milliseconds
        )
        rate = CNN.flop(8) / milliseconds / 1e6
        assert row["share_of_matmul"] == pytest.approx(rate / product["gflop_per_s"])
    assert found["machine"]["backend"] == jax.default_backend()
    rates = found["machine"]["matmul_gflop_per_s"]
    assert rates == {"matmul float32": product["gflop_per_s"]}


@pytest.mark.slow
def test_reading_is_measured_and_hidden_behind_the_steps(tmp_path):
    pytest.importorskip("tensorflow")
    found, printed = measure(tmp_path / "found.json", "--workloads", "reading", "overlap")
    rows = {row["contender"]: row for row in found["rows"]}
    rates = {name: row.get("images_per_second_and_core", 0) for name, row in rows.items()}
    streamed = rates.pop("streamed in random order")
    assert streamed > 2 * max(rates.values())
    both, alone = (rows[name]["ms_per_trial_step"] for name in ("steps and reading", "steps alone"))
    assert both >= 0.95 * alone
    assert "of reading hidden" in printed
