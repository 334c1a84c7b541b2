"""The engine by itself: every form of import works in a fresh process, and brings nothing else of the project."""

import os
import subprocess
import sys

import pytest

CALL = "import jax.numpy as jnp; assert sweep(jnp.sum)(jnp.ones((2, 3))).tolist() == [3, 3]"


def run(*lines, **environment):
    code = "\n".join(lines)
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize(
    "lines",
    [
        ["from blurjax import sweep, loop_steps, configure_jax"],
        ["import blurjax", "sweep = blurjax.sweep", "blurjax.loop_steps, blurjax.configure_jax"],
        ["import blurjax.engine", "from blurjax import sweep"],
        ["from blurjax.engine import sweep, loop_steps, configure_jax"],
        ["import blurjax.engine.mapping", "from blurjax import sweep"],
        ["import blurjax.engine.mapping", "import blurjax", "sweep = blurjax.sweep"],
        ["from blurjax.engine.mapping import sweep as own", "from blurjax import sweep", "assert own is sweep"],
        ["import blurjax.engine.loops, blurjax.engine.setup", "from blurjax.engine import sweep"],
        ["from blurjax import *"],
        ["import blurjax.experiment.run", "from blurjax import sweep, loop_steps"],
    ],
    ids="; ".join,
)  # fmt: skip
def test_sweep_is_the_function_in_every_form_of_import(lines):
    run(*lines, CALL)


def test_the_engine_needs_nothing_but_jax():
    heavy = {"pydantic", "tensorflow", "flax", "orbax", "matplotlib", "optax", "pandas", "sklearn"}
    imported = run(
        "import sys",
        "from blurjax import sweep, loop_steps, configure_jax",
        "import blurjax.engine.targets",
        "print(*{name.split('.')[0] for name in sys.modules})",
        "print(*[name for name in sys.modules if name.startswith('blurjax.')])",
    )
    assert not heavy & set(imported)
    rooms = {name.split(".")[1] for name in imported if name.startswith("blurjax.")}
    assert rooms == {"engine"}
