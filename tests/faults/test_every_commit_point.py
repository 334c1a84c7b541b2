"""A run that is killed before, within and after everything that it writes, and continued each time, ends the same."""

import pytest
from injection import Injector, Killed, injected
from same import assert_same_run
from tiny import EVERY_CHUNK, config, write_stripes

from blurjax import run_experiment
from blurjax.experiment import fingerprints
from blurjax.experiment import run as experiment
from blurjax.report import page

SMALL = EVERY_CHUNK | {
    "sweep__num_seeds": 2,
    "autoencoder__epochs": 1,
    "classifier__epochs": 2,
    "views__train": ["original", "reconstruction"],
    "views__test": ["original", "reconstruction", "blur"],
    "compute__chunk_steps": 4,
}


@pytest.fixture
def programs_and_drawings_are_made_once(monkeypatch):
    """They depend on settings and results alone, and take most of the time of so small a run."""
    programs, hashes, drawings = [], [], {}
    make, trace, draw = experiment.make_programs, fingerprints.code_hashes, page.draw_figures

    def make_once(settings, dataset):
        if not programs:
            programs.append(make(settings, dataset))
        return programs[0]

    def trace_once(settings, dataset):
        if not hashes:
            hashes.append(trace(settings, dataset))
        return hashes[0]

    def draw_once(data, *kinds):
        shown = {k: v for k, v in data.results.items() if k not in ("seconds", "analyses")}
        key = kinds, repr(shown), repr(data.point)
        if key not in drawings:
            drawings[key] = list(draw(data, *kinds))
        return drawings[key]

    monkeypatch.setattr(experiment, "make_programs", make_once)
    monkeypatch.setattr(fingerprints, "code_hashes", trace_once)
    monkeypatch.setattr(page, "draw_figures", draw_once)


@pytest.mark.usefixtures("programs_and_drawings_are_made_once")
@pytest.mark.slow
def test_killed_at_every_commit_point_and_continued(tmp_path):
    settings = config(write_stripes(tmp_path / "stripes.npz"), **SMALL)
    recorder = Injector(tmp_path / "whole")
    with injected(recorder):
        run_experiment(settings, recorder.out)
    kinds = {what.split("/")[0].split(":")[0] for _, what in recorder.passed}
    assert {
        "checkpoint",
        "metrics.jsonl",
        "predictions",
        "views",
        "figures",
        "results.json",
    } <= kinds

    out = tmp_path / "killed"
    for point in recorder.passed:
        with injected(Injector(out, kill_at=point)), pytest.raises(Killed):
            run_experiment(settings, out)
    run_experiment(settings, out)
    assert_same_run(recorder.out, out)
    print(f"{len(recorder.passed)} commit points")
