"""Strict for all tests: two CPU devices, no silent broadcasting of ranks; and small experiments to try things on."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import numpy as np
import pytest
from command import PROGRAMS

from blurjax.cli.terminal import without_abandoned_files
from blurjax.engine import LIBTPU_WITHOUT_TPU

# Some tests compile for TPUs that are not there, in several processes.
os.environ.update(LIBTPU_WITHOUT_TPU | os.environ)
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Many tests run the same small experiment: its programs are compiled once.
jax.config.update("jax_compilation_cache_dir", str(PROGRAMS))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: one that a worker begins last would keep the other worker waiting."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def abandoned_reads() -> Iterator[None]:
    """Of a damaged file, TensorStore may finish reading after Orbax has given up: during a later test."""
    before = sys.unraisablehook
    sys.unraisablehook = without_abandoned_files(before)
    yield
    sys.unraisablehook = before


@pytest.fixture
def rng() -> np.random.Generator:
    """The same numbers in every test."""
    return np.random.default_rng(0)


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    from blurjax.config.model_settings import AUTOENCODERS, CLASSIFIERS
    from blurjax.config.settings import OPTIMIZERS
    from blurjax.config.view_table import VIEWS

    for registry in (VIEWS, AUTOENCODERS, CLASSIFIERS, OPTIMIZERS):
        monkeypatch.setattr(registry, "_entries", dict(registry))


@pytest.fixture
def photographs() -> Path:
    """The folder of real photographs that BLURJAX_TEST_DATA names."""
    folder = os.environ.get("BLURJAX_TEST_DATA")
    if not folder:
        pytest.skip("BLURJAX_TEST_DATA is not set")
    return Path(folder)
