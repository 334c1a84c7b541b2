"""Every setting of a recipe at once, through a whole experiment."""

import numpy as np
import pytest
from same import assert_same_run, final_states
from tiny import EVERY_CHUNK, config

from blurjax import run_experiment
from blurjax.runtime.errors import Interrupted
from blurjax.runtime.files import read_npz

RECIPE = EVERY_CHUNK | {
    "views__train": ["original"],
    "views__test": ["original"],
    "sweep__num_seeds": 2,
    "classifier__optimizer": "muon",
    "classifier__schedule": "triangular",
    "classifier__gradient_clip": "none",
    "classifier__average_decay": 0.5,
    "classifier__flip": "alternating",
    "classifier__shift": 1,
    "classifier__cutout": 2,
    "classifier__label_smoothing": 0.1,
    "classifier__class_weights": "balanced",
    "classifier__mirror_test": True,
    "classifier__select": "best",
}


@pytest.fixture(scope="module")
def finished(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    return out, run_experiment(config(source, **RECIPE), out)


def states(out):
    return final_states(out / "checkpoints" / "classifier" / "original" / "job-0")


def test_results_and_page_say_what_was_evaluated(finished):
    out, results = finished
    assert results["evaluation"] == {"mirror_test": True, "select": "best"}
    page = (out / "report.html").read_text()
    assert "those of the epoch with the best validation accuracy" in page
    assert "by the mean of the logits of its view and of the view" in page


def test_the_best_epoch_of_each_trial_is_evaluated(finished):
    out, results = finished
    history = results["points"][0]["history"]["classifier"]["original"]
    highest = np.max(history["validation"]["accuracy"], axis=0)
    np.testing.assert_allclose(states(out)["/best/accuracy"], highest, rtol=1e-6)


@pytest.mark.slow
def test_a_trial_alone_equals_the_same_among_others_bit_by_bit(finished, source, tmp_path):
    alone = config(source, **RECIPE | {"sweep__first_seed": 1, "sweep__num_seeds": 1})
    run_experiment(alone, tmp_path / "run")
    among = states(finished[0])
    for name, array in states(tmp_path / "run").items():
        np.testing.assert_array_equal(array[0], among[name][1], err_msg=name)
    cell = "predictions/original-on-original.npz"
    ours, theirs = read_npz(tmp_path / "run" / cell), read_npz(finished[0] / cell)
    np.testing.assert_array_equal(ours["loss"][0], theirs["loss"][1])


@pytest.mark.slow
def test_stopped_and_continued_equals_uninterrupted(finished, source, tmp_path):
    out, stops, seen = tmp_path / "run", 0, []
    while True:
        before = len(seen)
        try:
            run_experiment(
                config(source, **RECIPE),
                out,
                progress=seen.append,
                interrupted=lambda before=before: len(seen) > before + 1,
            )
            break
        except Interrupted:
            stops += 1
    assert stops >= 3
    assert_same_run(finished[0], out)
