"""Trials trained again for twice the epochs, added to a run that is there."""

import numpy as np
import pytest
from tiny import config, write_stripes

from blurjax.experiment.estimate import make_plan
from blurjax.experiment.preparation import prepare
from blurjax.experiment.run import run_experiment


@pytest.mark.slow
def test_a_check_added_later_trains_the_first_trials_longer_and_changes_nothing_else(tmp_path):
    source, views = write_stripes(tmp_path / "stripes.npz"), ["original", "reconstruction"]
    settings = {"views__train": views, "views__test": views}
    out = tmp_path / "run"
    before = run_experiment(config(source, **settings), out)
    checked, dataset = prepare(
        config(source, autoencoder__check=True, classifier__check=True, **settings)
    )
    left = [stage for stage in make_plan(checked, dataset, out).stages if stage.steps_left]
    # 86 images in batches of 16, 6 epochs, 2 of the 3 seeds
    assert [(stage.models, stage.steps) for stage in left] == [(2, 36)] * 3
    after = run_experiment(checked, out, dataset=dataset)
    (point,), (old,) = after["points"], before["points"]
    for name in ("accuracy", "decomposition", "history", "quality"):
        assert point[name] == old[name]
    twice = point["training_length"]["autoencoder"]["twice_the_steps"]
    losses = old["history"]["autoencoder"]["validation"]["loss"][-1][:2]
    np.testing.assert_allclose(twice["before"], -10 * np.log10(losses))
    assert np.all(np.greater(twice["after"], twice["before"]))
    assert point["training_length"]["classifier"].keys() == {*views}
    for view, check in point["training_length"]["classifier"].items():
        curve = old["history"]["classifier"][view]["validation"]["accuracy"]
        assert check["before"] == curve[-1][:2]
        assert len(check["after"]) == 2
