"""`configure_jax`: one call sets jax up as the command line does, and says so where it comes too late."""

import os
import subprocess
import sys

import pytest
from test_imports import run

from blurjax import configure_jax
from blurjax.engine import LIBTPU_WITHOUT_TPU
from blurjax.engine.setup import _may_have_tpu

CORES = len(os.sched_getaffinity(0))
WHAT = "import jax; print(jax.device_count(), jax.config.jax_compilation_cache_dir)"


def test_a_device_for_each_core_and_programs_kept_on_disk(tmp_path):
    code = "from blurjax import configure_jax; configure_jax()"
    compiled = "jax.jit(lambda x: jax.numpy.linalg.svd(jax.random.normal(jax.random.key(0), (x.shape[0],) * 2)))"
    devices, directory = run(
        code,
        WHAT,
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)",
        f"{compiled}(jax.numpy.ones(8))",
        XLA_FLAGS="",
        XDG_CACHE_HOME=str(tmp_path),
    )
    assert int(devices) == CORES
    assert directory == str(tmp_path / "blurjax" / "programs")
    assert list((tmp_path / "blurjax" / "programs").iterdir())


def test_devices_and_directory_can_be_chosen(tmp_path):
    code = f"from blurjax import configure_jax; configure_jax(cpu_devices=3, cache_directory={str(tmp_path)!r})"
    assert run(code, WHAT, XLA_FLAGS="") == ["3", str(tmp_path)]
    code = "from blurjax import configure_jax; configure_jax(cache_programs=False)"
    flag = "--xla_force_host_platform_device_count=5"
    assert run(code, WHAT, XLA_FLAGS=flag, JAX_COMPILATION_CACHE_DIR="") == ["5"]


def test_deterministic_operations_are_a_flag_beside_others():
    code = (
        "import os; from blurjax import configure_jax; configure_jax(deterministic=True); "
        "print(os.environ['XLA_FLAGS'])"
    )
    flags = run(code, XLA_FLAGS="--xla_dump_to=")
    assert flags == ["--xla_dump_to=", "--xla_gpu_deterministic_ops=true"]
    assert run(code, XLA_FLAGS=flags[1]) == flags[1:]


def test_a_cell_may_be_run_again_but_nothing_changes_once_jax_has_devices():
    words = run(
        "from blurjax import configure_jax",
        "import jax",
        "configure_jax(cpu_devices=2)",
        "jax.devices()",
        "configure_jax(cpu_devices=2)",
        "for change in {'cpu_devices': 3}, {'deterministic': True}:",
        "  try: configure_jax(**change)",
        "  except RuntimeError as error: print(error)",
        "print(jax.device_count())",
        XLA_FLAGS="",
    )
    message = " ".join(words)
    refused = "jax has started its devices already (2 of cpu); call configure_jax before"
    assert message.count(refused) == 2
    assert message.endswith(" 2")


def test_programs_are_not_kept_where_there_is_no_place_for_them(tmp_path):
    (tmp_path / "file").touch()
    code = "from blurjax import configure_jax; configure_jax()"
    places = {"XDG_CACHE_HOME": str(tmp_path / "file"), "JAX_COMPILATION_CACHE_DIR": ""}
    assert run(code, WHAT, XLA_FLAGS="", **places) == [str(CORES)]


def test_no_devices_are_refused():
    with pytest.raises(ValueError, match="cpu_devices is 0"):
        configure_jax(cpu_devices=0)


@pytest.mark.parametrize("call", ["configure_jax()", "rate_sharpness([np.eye(32, dtype='u1')])"])
def test_libtpu_is_silent_on_a_machine_without_a_tpu(call):
    pytest.importorskip("libtpu")
    if _may_have_tpu():
        pytest.skip("there may be a TPU")
    code = f"import blurjax, jax, numpy as np; blurjax.{call}; jax.devices()"
    environment = {k: v for k, v in os.environ.items() if k not in LIBTPU_WITHOUT_TPU}
    environment.pop("JAX_PLATFORMS", None)
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert (process.returncode, process.stderr) == (0, "")
