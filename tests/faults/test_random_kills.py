"""Killed at random moments, again and again, a run ends with the same bits."""

import random
import shutil
import signal
import time

import pytest
from command import finish, run, start
from same import assert_same_run


@pytest.mark.slow
@pytest.mark.parametrize("chain", range(2))
def test_kills_at_random_moments_change_no_bit(chain, whole, settings, cache, tmp_path):
    """Five in each of two runs."""
    expected, seconds = whole
    moments, killed = random.Random(chain), 0
    while killed < 5:
        process = start("run", settings, cwd=tmp_path, cache=cache)
        time.sleep(moments.uniform(0.2, 1.0) * seconds)
        process.kill()
        ended = finish(process)
        if ended.returncode == 0:  # it was over before: begin another
            assert_same_run(expected, tmp_path / "runs" / "tiny")
            shutil.rmtree(tmp_path / "runs")
        else:
            assert ended.returncode == -signal.SIGKILL
            killed += 1
    process = run("run", settings, cwd=tmp_path, cache=cache)
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    assert_same_run(expected, tmp_path / "runs" / "tiny")
