"""A run that is looked at before it is finished ends with the same bits as one that was left alone."""

import hashlib
import re

import pytest
from same import assert_same_run
from tiny import EVERY_CHUNK, config

from blurjax import make_report, run_experiment
from blurjax.runtime.errors import Interrupted
from blurjax.runtime.run_directory import RunDirectory


def contents(out):
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {str(f.relative_to(out)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.mark.slow
def test_an_interim_report_changes_nothing_and_gives_way_to_the_final_one(source, tmp_path):
    alone, out = tmp_path / "alone", tmp_path / "run"
    run_experiment(config(source, **EVERY_CHUNK), alone)
    epochs, headlines = [], []

    def stop_now():
        return len(epochs) >= 2

    while True:
        epochs.clear()
        try:
            often = config(source, **EVERY_CHUNK)
            run_experiment(often, out, progress=epochs.append, interrupted=stop_now)
            break
        except Interrupted:
            before = contents(out)
            with RunDirectory(out).lock():  # as if another process were training
                page = make_report(out)
            assert page == out / "interim.html"
            after = contents(out)
            assert after.keys() - before.keys() <= {"interim.html"}
            assert before.items() - {("interim.html", before.get("interim.html"))} <= after.items()
            headlines.append(re.search(r"<p>(.*Missing.*)</p>", page.read_text())[1])
    assert len(set(headlines)) >= 4
    assert not (out / "interim.html").exists()
    assert_same_run(alone, out)
    assert make_report(out) == out / "report.html"
