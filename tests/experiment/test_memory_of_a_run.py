"""The memory that a plan for this machine's CPU promises is what the training programs take."""

import json
import subprocess
import sys

import pytest

MEASURE = """
import ctypes, json, sys
import jax
import numpy as np

jax.config.update("jax_num_cpu_devices", 1)
from blurjax.config import loading
from blurjax.engine import find_target
from blurjax.experiment import compile_experiment
from blurjax.experiment.calls import calls, make_programs
from blurjax.experiment.preparation import prepare
from blurjax.experiment.stand_in import known_size, stand_in

name = sys.argv[1]
config = loading.load("cifar10", {})
fitted, dataset = prepare(config, stand_in(config, known_size(config)))
wanted = lambda call: call.name == name
compiled, compile_it = [], jax.stages.Lowered.compile
jax.stages.Lowered.compile = lambda *a, **k: compiled.append(compile_it(*a, **k)) or compiled[-1]
(promised,) = compile_experiment(fitted, dataset, find_target("cpu"), wanted=wanted).programs
(call,) = filter(wanted, calls(make_programs(fitted, dataset)))
(program,) = compiled


def kilobytes(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))


# What compilation took and gave back does not count.
ctypes.CDLL("libc.so.6").malloc_trim(0)
before = kilobytes("VmRSS:")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak starts anew
leaves, structure = jax.tree.flatten(call.arguments)
placed = [jax.device_put(np.zeros(leaf.shape, leaf.dtype), leaf.sharding) for leaf in leaves]
*rest, start, length = jax.tree.unflatten(structure, placed)
two_steps = jax.device_put(np.int32(2), length.sharding)
del placed
jax.block_until_ready(program(*rest, start, two_steps))
print(json.dumps([promised.needed_bytes, 1024 * (kilobytes("VmHWM:") - before)]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", ["train autoencoders", "train classifiers"])
def test_the_memory_of_a_plan_is_what_training_takes(name):
    command = [sys.executable, "-c", MEASURE, name]
    process = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert process.returncode == 0, process.stderr
    promised, measured = json.loads(process.stdout.splitlines()[-1])
    print(f"{name}: promised {promised / 1e6:.0f} MB, measured {measured / 1e6:.0f} MB")
    assert measured == pytest.approx(promised, rel=0.25)
