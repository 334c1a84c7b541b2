"""The presets compiled for TPUs and GPUs that are not there: minutes each."""

import os
import subprocess
import sys

import pytest
from test_compilation import check_training, convolutions

from blurjax.config import loading as settings
from blurjax.engine import find_target
from blurjax.experiment import compile_experiment
from blurjax.experiment.calls import TRAINING
from blurjax.experiment.preparation import prepare
from blurjax.experiment.stand_in import known_size, stand_in

pytestmark = pytest.mark.slow
PRESETS = ("cifar10", "fashion_mnist", "scenes")


FEW_VIEWS = {
    "views__train": ["original", "reconstruction", "blur"],
    "views__test": ["original", "reconstruction"],
}

# The networks of `residual` and the optimizer Muon have products of another kind, in float32, and take long to compile.
SMALL_NETWORKS = {
    "autoencoder__model": "conv",
    "classifier__model": "cnn",
    "classifier__optimizer": "adamw",
}


def compiled(preset, target, **changes):
    overrides = {name.replace("__", "."): value for name, value in changes.items()}
    config = settings.load(preset, overrides)
    fitted, dataset = prepare(config, stand_in(config, known_size(config)))
    wanted = lambda call: call.kind == TRAINING  # noqa: E731
    return compile_experiment(fitted, dataset, find_target(target), wanted=wanted)


@pytest.mark.parametrize(
    ("preset", "changes"), [("cifar10", {}), ("fashion_mnist", FEW_VIEWS | SMALL_NETWORKS)]
)
def test_a_preset_fits_one_tpu(preset, changes):
    """One of them with all views: each is a further branch to compile, and no more memory.

    `scenes` and `fashion_mnist` have the networks of `cifar10`, of half the width, and take as long to compile.
    """
    pytest.importorskip("libtpu")
    check_training(compiled(preset, "tpu:v5e:1x1", **changes), collectives=False)


def test_sixteen_seeds_on_a_slice_do_not_communicate_and_convolve_in_bfloat16():
    pytest.importorskip("libtpu")
    changes = SMALL_NETWORKS | {"compute__convolution": "lax"}
    changes |= {"autoencoder__dtype": "bfloat16", "classifier__dtype": "bfloat16"}
    found = compiled("cifar10", "tpu:v5e:4x4", sweep__num_seeds=16, **changes)
    assert found.mesh == {"trial": 16}
    check_training(found, collectives=False)
    for program in found.programs:
        assert {*convolutions(program.text)} == {"bf16"}


def test_fewer_seeds_than_chips_share_batches():
    pytest.importorskip("libtpu")
    found = compiled("cifar10", "tpu:v5e:4x4", sweep__num_seeds=4, **SMALL_NETWORKS, **FEW_VIEWS)
    assert found.mesh == {"trial": 4, "data": 4}
    check_training(found, collectives=True)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_compiles_for_a_gpu(preset, tmp_path):
    """In a process of its own: with the plugin of CUDA, jax must not look for a GPU."""
    pytest.importorskip("jax_cuda13_plugin", reason="needs the extra cuda")
    command = [sys.executable, "-m", "blurjax", "plan", preset, "--target", "gpu:h100"]
    process = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=os.environ, timeout=600
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert "Everything compiles and fits." in process.stdout
