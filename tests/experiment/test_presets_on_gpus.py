"""The training programs of every preset compiled for eight H100s that are not there."""

import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor

import pytest

from blurjax.config import loading as settings
from blurjax.engine import find_target
from blurjax.experiment import compile_experiment
from blurjax.experiment.calls import TRAINING
from blurjax.experiment.preparation import prepare
from blurjax.experiment.stand_in import known_size, stand_in

pytestmark = pytest.mark.slow
BFLOAT16 = {"autoencoder.dtype": "bfloat16", "classifier.dtype": "bfloat16"}


def compiled(preset, num_seeds):
    """The training programs for eight GPUs; runs in a process that knows of none."""
    config = settings.load(preset, BFLOAT16 | {"sweep.num_seeds": num_seeds})
    size = known_size(config)
    dataset = prepare(config, size and stand_in(config, size))
    wanted = lambda call: call.kind == TRAINING  # noqa: E731
    return compile_experiment(*dataset, find_target("gpu:h100:8"), wanted=wanted)


@pytest.fixture(scope="module")
def without_gpus():
    """A process in which jax looks for no GPU, though the plugin is installed."""
    pytest.importorskip("jax_cuda13_plugin", reason="needs the extra cuda")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_PLATFORMS", "cpu")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            yield lambda *arguments: pool.submit(compiled, *arguments).result()


def convolved(text):
    """The types of what cuDNN's convolutions in a compiled program read."""
    found = set()
    for computation in text.split("\n\n"):
        types = dict(re.findall(r"%([\w.\-]+) = (\w+)\[", computation))
        calls = re.findall(
            r' custom-call\(([^)]*)\).*custom_call_target="__cudnn\$conv', computation
        )
        found |= {types[name] for names in calls for name in re.findall(r"%([\w.\-]+)", names)}
    return found


@pytest.mark.parametrize(
    ("preset", "num_seeds", "mesh"),
    [
        ("digits", 8, {"trial": 8}),
        ("fashion_mnist", 8, {"trial": 8}),
        ("scenes", 8, {"trial": 8}),
        ("cifar10", 32, {"trial": 8}),
        ("cifar10", 4, {"trial": 4, "data": 2}),
    ],
)
def test_a_preset_fits_eight_gpus(without_gpus, preset, num_seeds, mesh):
    found = without_gpus(preset, num_seeds)
    assert found.works, [program.error for program in found.programs]
    assert found.mesh == mesh
    for program in found.programs:
        assert program.step_bound > 0
        # Only devices that share batches send anything: the gradients, and the number of examples.
        assert ("all-reduce" in program.collectives) == ("data" in mesh)
        assert bool(program.collectives) == ("data" in mesh)
        # The states, which are given up, are where the new ones are.
        assert program.aliased_bytes > 0.9 * program.output_bytes
        assert convolved(program.text) == {"bf16"}
