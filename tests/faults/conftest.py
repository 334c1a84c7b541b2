"""A small run that the tests of faults disturb."""

import time

import pytest
from command import run, write_settings
from small import SMALL


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return write_settings(tmp_path_factory.mktemp("settings"), **SMALL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, settings, cache):
    """A run that nothing happens to, and the seconds it takes once its programs are compiled."""
    for _ in range(2):
        folder = tmp_path_factory.mktemp("whole")
        begun = time.monotonic()
        process = run("run", settings, cwd=folder, cache=cache)
        assert process.returncode == 0, process.stderr
    return folder / "runs" / "tiny", time.monotonic() - begun
