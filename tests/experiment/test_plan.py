"""The plan that is printed before a run: what is to be trained, and what of it is left."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tiny import EVERY_CHUNK, config, write_stripes

from blurjax.config.loading import override
from blurjax.config.settings import Config
from blurjax.config.trials import classifier_trials
from blurjax.experiment.calls import calls, make_programs
from blurjax.experiment.estimate import make_plan, time_plan
from blurjax.experiment.plan import REST_SECONDS, duration
from blurjax.experiment.preparation import prepare
from blurjax.experiment.run import run_experiment
from blurjax.runtime.errors import Interrupted, UserError


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    source = write_stripes(tmp_path_factory.mktemp("data") / "stripes.npz")
    return prepare(config(source, views__train=["original", "reconstruction"], **EVERY_CHUNK))


def test_a_new_run_has_all_its_steps_left(loaded, tmp_path):
    fitted, dataset = loaded
    plan = make_plan(fitted, dataset, tmp_path / "run")
    names = ["autoencoders", "classifiers on original", "classifiers on reconstruction"]
    assert [stage.name for stage in plan.stages] == names
    for stage in plan.stages:  # 86 images in batches of 16, 3 epochs, 3 seeds
        assert (stage.models, stage.begun, stage.steps, stage.steps_left) == (3, 0, 18, 54)
    assert "stripes: 86 train, 10 validation, 24 test images of 8x8x1, 2 classes: " in str(plan)


def test_the_first_ten_classes_are_named(loaded, tmp_path):
    fitted, dataset = loaded
    names = tuple(f"class {number:02}" for number in range(12))
    plan = make_plan(fitted, replace(dataset, class_names=names), tmp_path / "run")
    first = ", ".join(names[:10])
    assert f"12 classes: {first} and 2 more; " in str(plan)


def test_models_are_counted_in_a_column(source, tmp_path):
    views = ["original", "encoder_scratch"]
    fitted, dataset = prepare(config(source, sweep__num_seeds=1, views__train=views))
    lines = str(make_plan(fitted, dataset, tmp_path / "run")).splitlines()[1:4]
    assert {line.index("   1 model x 18 steps") for line in lines} == {
        len("  classifiers on encoder_scratch:")
    }


def test_bfloat16_on_a_cpu_is_said_to_be_slower(source, tmp_path):
    fitted, dataset = prepare(config(source, autoencoder__dtype="bfloat16"))
    plan = make_plan(fitted, dataset, tmp_path / "run")
    assert "note: autoencoder.dtype bfloat16 is slower than float32 on a CPU" in str(plan)


@pytest.mark.parametrize(
    ("seeds", "deterministic", "says"),
    [
        (1, False, "; 2 cpu devices: 2 share each batch, 1 trial at a time\n"),
        (
            1,
            True,
            "; 1 cpu device: 1 trial at a time\n  note: 1 of 2 devices works: 2 could share each",
        ),
        (3, True, "; 2 cpu devices: 1 trial at a time on each\n  autoencoders"),
    ],
)
def test_what_devices_do_and_why_some_do_not(source, tmp_path, seeds, deterministic, says):
    changes = {"sweep__num_seeds": seeds, "compute__deterministic": deterministic}
    for section in ("autoencoder", "classifier"):  # 1 MiB of activations, in one piece
        changes |= {f"{section}__batch_size": 16, f"{section}__model__width": 256}
    assert says in str(make_plan(*prepare(config(source, **changes)), tmp_path / "run"))


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
    assert [[trial.seed for trial in stage.left] for stage in plan.stages] == [
        [],
        [0, 1, 2],
        [0, 1, 2],
    ]
    autoencoders, on_original, on_reconstruction = str(plan).splitlines()[1:4]
    assert autoencoders.endswith("steps (3 trained already)")
    assert on_original.endswith("steps (3 begun already)")
    assert on_reconstruction.endswith("steps")


def test_steps_are_timed(loaded, tmp_path):
    fitted, dataset = loaded
    plan = make_plan(fitted, dataset, tmp_path / "run")
    assert math.isnan(plan.seconds)
    assert "estimated" not in str(plan)
    timed = time_plan(plan)
    assert all(0 < stage.seconds < 1 for stage in timed.stages)
    training = sum(54 * stage.seconds for stage in timed.stages)
    assert timed.seconds == pytest.approx(timed.rest_seconds + training)
    assert timed.rest_seconds > REST_SECONDS
    assert f"  estimated time: about {duration(timed.seconds)}" in str(timed)
    assert not (tmp_path / "run").exists()


def test_a_run_calls_the_programs_that_its_plan_has_compiled(loaded, tmp_path):
    fitted, dataset = loaded
    plan = time_plan(make_plan(fitted, dataset, tmp_path / "run"))
    programs = plan.programs
    compiled = [
        programs.train_autoencoder,
        programs.evaluate_autoencoder,
        programs.train_classifier,
        programs.evaluate_classifier,
        programs.render_view,
    ]
    before = [program._cache_size() for program in compiled]
    assert all(before)
    run_experiment(fitted, tmp_path / "run", dataset=dataset, plan=plan)
    assert [program._cache_size() for program in compiled] == before


def test_a_plan_of_other_settings_is_refused(loaded, tmp_path):
    fitted, dataset = loaded
    plan = make_plan(override(fitted, {"classifier.epochs": 7}), dataset, tmp_path / "run")
    with pytest.raises(ValueError, match="made for other settings"):
        run_experiment(fitted, tmp_path / "run", dataset=dataset, plan=plan)
    assert not (tmp_path / "run").exists()


def test_programs_are_timed_with_the_trials_that_are_left(loaded):
    fitted, dataset = loaded
    programs = make_programs(fitted, dataset)
    few = {"classifier/original": classifier_trials(fitted, "original")[2:]}
    for left, classifiers in ((few, 1), ({}, 3)):
        found = {call.name: call for call in calls(programs, left)}
        assert found["train autoencoders"].models == 3
        training = found["train classifiers"]
        assert training.models == classifiers
        assert len(training.arguments[0].step) == programs.layout.padded(classifiers)


@pytest.mark.slow
def test_a_slower_view_of_every_batch_takes_longer(tmp_path):
    """With an autoencoder that is far larger than the classifier, so that nothing else decides."""
    views = ["original", "reconstruction", "crossfit"]
    large = {"autoencoder.model": "conv", "autoencoder.model.width": 32}
    fitted, dataset = prepare(
        config(
            write_stripes(tmp_path / "stripes.npz"),
            views__train=views,
            data__resident_limit=0,
            **{name.replace(".", "__"): value for name, value in large.items()},
        )
    )
    plan = time_plan(make_plan(fitted, dataset, tmp_path / "run"))
    seconds = {stage.job: stage.seconds for stage in plan.stages}
    original, reconstruction = (seconds[f"classifier/{view}"] for view in views[:2])
    assert reconstruction > 1.2 * original


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.4, "under 1 s"), (12.4, "12 s"), (89, "89 s"), (150, "2 min"), (9000, "2.5 h")],
)
def test_durations_are_said_in_the_unit_that_fits(seconds, text):
    assert duration(seconds) == text
