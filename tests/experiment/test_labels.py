"""Few labels: classifiers see the labelled images of their own seed, the same alone as in a sweep, and no others."""

import dataclasses

import numpy as np
import pytest
from same import assert_same_arrays, assert_same_run, final_states
from tiny import config, write_stripes

from blurjax import run_experiment
from blurjax.config.trials import Trial
from blurjax.data import load
from blurjax.experiment.labels import labelled
from blurjax.experiment.plan import make_plan
from blurjax.experiment.preparation import prepare
from blurjax.runtime.errors import UserError
from blurjax.runtime.files import read_json, read_npz
from blurjax.train.loop import Interrupted

SWEEP = {
    "views__train": ["original", "reconstruction"],
    "sweep__num_seeds": 2,
    "sweep__train_examples": [4, 40, "all"],
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_stripes(tmp_path_factory.mktemp("data") / "stripes.npz")


@pytest.fixture(scope="module")
def swept(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("swept") / "run"
    return out, run_experiment(config(source, **SWEEP), out)


def classifiers_of(results, number):
    """What a point's classifiers do, and how they came to it."""
    (point,) = [p for p in results["points"] if p["values"]["train_examples"] == number]
    return point["loss"], point["accuracy"], point["history"]["classifier"]


def test_the_labelled_images_of_a_seed_are_nested_and_hold_every_class(source):
    dataset = load(config(source).data)
    few, more = (labelled(dataset, Trial(3, train_examples=n)) for n in (5, 40))
    assert few.tolist() == more[:5].tolist()
    assert len(set(more.tolist())) == 40
    assert set(more) < set(dataset.splits["train"])
    assert sorted(np.bincount(dataset.labels[few])) == [2, 3]
    assert np.bincount(dataset.labels[more]).tolist() == [20, 20]
    other = labelled(dataset, Trial(4, train_examples=40))
    assert set(other) != set(more)


def test_every_number_of_labels_is_the_same_alone(swept, source, tmp_path):
    """The whole train split is also that of a run in which no numbers of labels are swept."""
    for number, asked_for in ((4, [4]), (40, [40]), (None, [])):
        settings = config(source, **SWEEP | {"sweep__train_examples": asked_for})
        alone = run_experiment(settings, tmp_path / str(number))
        assert classifiers_of(alone, number) == classifiers_of(swept[1], number)


def test_images_without_a_label_are_never_trained_on(source, tmp_path, rng):
    """Classifiers of originals end with the same bits whatever the other training images are."""
    settings = config(
        source,
        views__train=["original"],
        views__test=["original"],
        sweep__num_seeds=1,
        sweep__train_examples=[12],
    )
    dataset = load(settings.data)
    kept = labelled(dataset, Trial(0, train_examples=12))
    others = np.setdiff1d(dataset.splits["train"], kept)
    images = dataset.images.copy()
    images[others] = rng.integers(0, 256, images[others].shape)
    found = []
    for name, data in (("one", dataset), ("other", dataclasses.replace(dataset, images=images))):
        run_experiment(settings, tmp_path / name, dataset=data)
        found.append(final_states(tmp_path / name / "checkpoints/classifier/original/job-0"))
    assert_same_arrays(*found, "classifiers")
    losses = [read_npz(tmp_path / n / "predictions/code-mlp.npz") for n in ("one", "other")]
    assert (losses[0]["prediction"] != losses[1]["prediction"]).any()  # the autoencoder sees all


def test_few_labels_are_learned_by_heart_and_measured_on_train(source, tmp_path):
    """Train accuracy is that of the 4 labelled images, of the whole split that of as many as validation has."""
    longer = SWEEP | {"classifier__epochs": 20, "sweep__num_seeds": 1}
    results = run_experiment(config(source, **longer), tmp_path / "run")
    curves = [
        np.array(classifiers_of(results, number)[2]["original"]["train"]["accuracy"])[:, 0]
        for number in (4, None)
    ]
    assert set(4 * curves[0]) <= {0.0, 1.0, 2.0, 3.0, 4.0}
    assert curves[0][-1] == 1
    assert (curves[1] * 10 % 1).round(9).tolist() == [0] * 20  # 10 images of validation


def test_results_are_those_of_the_rows_with_these_labels(swept):
    out, results = swept
    cells = [read_npz(out / f"predictions/{v}-on-{v}.npz") for v in ("original", "reconstruction")]
    assert [p["values"]["train_examples"] for p in results["points"]] == [4, 40, None]
    suffixes = (" train_examples=4", " train_examples=40", "")
    for point, suffix in zip(results["points"], suffixes, strict=True):
        right = []
        for arrays, code in zip(cells, ("", " bottleneck=4"), strict=True):
            keys = [f"seed={s}{code} learning_rate=0.001 weight_decay=0.0{suffix}" for s in (0, 1)]
            rows = [arrays["trial"].tolist().index(key) for key in keys]
            right.append((arrays["prediction"][rows] == arrays["label"]).mean(axis=1))
        cost = point["decomposition"]["on_reconstructions"]
        assert cost["per_trial"] == pytest.approx(right[0] - right[1])
    assert (out / "figures/labels.png").stat().st_size > 0


def test_further_numbers_run_alone_and_equal_those_of_one_run(swept, source, tmp_path):
    out, seen = tmp_path / "run", []
    run_experiment(config(source, **SWEEP | {"sweep__train_examples": []}), out)
    more = config(source, **SWEEP)
    assert [stage.begun for stage in make_plan(more, load(more.data), out).stages] == [2, 2, 2]
    results = run_experiment(more, out, progress=lambda progress: seen.append(progress.job))
    numbers = {job.name: [(t.seed, t.train_examples) for t in job.trials] for job in seen}
    missing = [(0, 4), (1, 4), (0, 40), (1, 40)]
    views = ("original", "reconstruction")
    assert numbers == {f"classifier/{view}/job-1": missing for view in views}
    for number in (4, 40, None):
        assert classifiers_of(results, number) == classifiers_of(swept[1], number)
    counts = [len(analysis["points"]) for analysis in results["analyses"]]
    assert counts == [1, 3]
    jobs = read_json(out / "checkpoints/classifier/original/job-0/job.json")["trials"]
    assert [trial["train_examples"] for trial in jobs] == [None, None]


def test_stopped_at_any_chunk_and_continued_equals_uninterrupted(swept, source, tmp_path):
    out, stops, left = tmp_path / "run", 0, 0

    def interrupted():
        nonlocal left
        left -= 1
        return left < 0

    while True:
        left = 4
        try:
            run_experiment(config(source, **SWEEP), out, interrupted=interrupted)
            break
        except Interrupted:
            stops += 1
    assert stops >= 3
    assert_same_run(swept[0], out)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sweep__train_examples": [87]}, "is 87, but the train split has only 86 images; lower"),
        ({"sweep__train_examples": ["all", 1]}, "is 1, but each of the 2 classes needs a labelled"),
        (
            {"sweep__train_examples": [4], "data__resident_limit": 0},
            "one order for all trials; raise data.resident_limit, which is 0 GiB",
        ),
    ],
)
def test_numbers_that_cannot_be_drawn_are_refused(source, changes, message):
    with pytest.raises(UserError, match=message):
        prepare(config(source, **changes))


def test_the_whole_train_split_may_be_streamed(source):
    prepare(config(source, sweep__train_examples=["all"], data__resident_limit=0))
