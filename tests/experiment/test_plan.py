"""The plan that is printed before a run: what is to be trained, and what of it is left."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from tiny import config, write_stripes

from blurjax.config.settings import Config
from blurjax.experiment.plan import duration, make_plan
from blurjax.experiment.preparation import prepare
from blurjax.experiment.run import run_experiment
from blurjax.runtime.errors import UserError
from blurjax.train.loop import Interrupted


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    source = write_stripes(tmp_path_factory.mktemp("data") / "stripes.npz")
    return prepare(config(source, views__train=["original", "reconstruction"]))


def test_a_new_run_has_all_its_steps_left(loaded, tmp_path):
    fitted, dataset = loaded
    plan = make_plan(fitted, dataset, tmp_path / "run")
    names = ["autoencoders", "classifiers on original", "classifiers on reconstruction"]
    assert [stage.name for stage in plan.stages] == names
    for stage in plan.stages:  # 86 images in batches of 16, 3 epochs, 3 seeds
        assert (stage.models, stage.begun, stage.steps, stage.steps_left) == (3, 0, 18, 54)
    assert plan.stages[2].flops > plan.stages[1].flops > 0
    assert "stripes: 86 train, 10 validation, 24 test images of 8x8x1, 2 classes: " in str(plan)


def test_the_first_ten_classes_are_named(loaded, tmp_path):
    fitted, dataset = loaded
    names = tuple(f"class {number:02}" for number in range(12))
    plan = make_plan(fitted, replace(dataset, class_names=names), tmp_path / "run")
    first = ", ".join(names[:10])
    assert f"12 classes: {first} and 2 more; " in str(plan)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("digits",),
            "Settings are a Config and cannot be 'digits'; make them with blurjax.load_config",
        ),
        ((Config(), np.zeros(3)), "dataset cannot be a ndarray; make it with blurjax.load_dataset"),
    ],
)
def test_what_takes_settings_says_so(tmp_path, arguments, message):
    settings, *dataset = arguments
    for function in (make_plan, lambda c, d, out: run_experiment(c, out, dataset=d)):
        with pytest.raises(UserError, match=message):
            function(settings, *dataset or [None], tmp_path / "run")


def test_of_a_stopped_run_what_is_left_counts(loaded, tmp_path):
    fitted, dataset = loaded
    epochs = []

    def progress(seen):
        epochs.append((seen.job.name, seen.epoch))

    def after_two_epochs_of_classifiers():
        return ("classifier/original/job-0", 2) in epochs

    with pytest.raises(Interrupted):
        run_experiment(
            fitted,
            tmp_path / "run",
            dataset=dataset,
            progress=progress,
            interrupted=after_two_epochs_of_classifiers,
        )
    plan = make_plan(fitted, dataset, tmp_path / "run")
    assert [stage.begun for stage in plan.stages] == [3, 3, 0]
    assert [stage.steps_left for stage in plan.stages] == [0, 18, 54]
    autoencoders, on_original, on_reconstruction = str(plan).splitlines()[1:4]
    assert autoencoders.endswith("steps (3 trained already)")
    assert on_original.endswith("steps (3 begun already)")
    assert on_reconstruction.endswith("steps")


@pytest.mark.parametrize("costs", [{"flops": 3.0}, None], ids=["compiled", "nowhere"])
def test_a_backend_that_tells_the_cost_of_what_is_compiled_alone(
    loaded, tmp_path, monkeypatch, costs
):
    """As accelerators do, or none at all."""
    monkeypatch.setattr(jax.stages.Lowered, "cost_analysis", lambda lowered: None)
    monkeypatch.setattr(jax.stages.Compiled, "cost_analysis", lambda compiled: costs)
    fitted, dataset = loaded
    plan = make_plan(fitted, dataset, tmp_path / "run")
    if costs:
        assert plan.stages[0].flops == 3 * 3.0 * 16
        assert "estimated time: about 20 s" in str(plan)
    else:
        assert "estimated time: unknown" in str(plan)


@pytest.mark.parametrize(
    ("seconds", "text"), [(12.4, "12 s"), (89, "89 s"), (150, "2 min"), (9000, "2.5 h")]
)
def test_durations_are_said_in_the_unit_that_fits(seconds, text):
    assert duration(seconds) == text
