"""Few labels: classifiers see the labelled images of their own seed, the same alone as in a sweep, and no others."""

import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest
from command import run_here
from PIL import Image
from same import assert_same_arrays, assert_same_run, final_states
from tiny import config

from blurjax import load_run, run_experiment
from blurjax.config.trials import Trial
from blurjax.data import load
from blurjax.experiment.estimate import make_plan
from blurjax.experiment.labels import labelled
from blurjax.experiment.preparation import prepare
from blurjax.runtime.errors import Interrupted, UserError
from blurjax.runtime.files import read_json, read_npz

SWEEP = {
    "views__train": ["original", "reconstruction"],
    "sweep__num_seeds": 2,
    "sweep__train_examples": [4, "all"],
}


@pytest.fixture(scope="module")
def swept(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("swept") / "run"
    return out, run_experiment(config(source, **SWEEP), out)


@pytest.fixture(scope="module")
def plain(source, tmp_path_factory):
    """Without numbers of labels."""
    out = tmp_path_factory.mktemp("plain") / "run"
    return out, run_experiment(config(source, **SWEEP | {"sweep__train_examples": []}), out)


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


def test_every_number_of_labels_is_the_same_alone(swept, plain, source, tmp_path):
    """The whole train split is also that of a run in which no numbers of labels are swept."""
    assert classifiers_of(plain[1], None) == classifiers_of(swept[1], None)
    one = {"sweep__train_examples": [4], "sweep__first_seed": 1, "sweep__num_seeds": 1}
    few = run_experiment(config(source, **SWEEP | one), tmp_path / "run")
    loss, whole = (classifiers_of(results, 4)[0] for results in (few, swept[1]))
    for train, test in itertools.product(("original", "reconstruction"), repeat=2):
        assert loss[train][test]["per_trial"] == whole[train][test]["per_trial"][1:]


def test_images_without_a_label_are_never_trained_or_measured_on(source, tmp_path, rng):
    """Classifiers of originals have the same bits, and curves, whatever the other training images are."""
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
    found, curves = [], []
    for name, data in (("one", dataset), ("other", dataclasses.replace(dataset, images=images))):
        results = run_experiment(settings, tmp_path / name, dataset=data)
        curves.append(classifiers_of(results, 12)[2]["original"])
        found.append(final_states(tmp_path / name / "checkpoints/classifier/original/job-0"))
    assert_same_arrays(*found, "classifiers")
    assert curves[0] == curves[1]
    accuracy = 10 * np.array(curves[0]["train"]["accuracy"])  # as many images as validation has
    np.testing.assert_allclose(accuracy, accuracy.round())
    probes = [read_npz(tmp_path / n / "predictions/code-mlp.npz") for n in ("one", "other")]
    assert (probes[0]["prediction"] != probes[1]["prediction"]).any()  # the autoencoder sees all


def test_results_are_those_of_the_rows_with_these_labels(swept):
    out, results = swept
    cells = [read_npz(out / f"predictions/{v}-on-{v}.npz") for v in ("original", "reconstruction")]
    assert [p["values"]["train_examples"] for p in results["points"]] == [4, None]
    suffixes = (" train_examples=4", "")
    for point, suffix in zip(results["points"], suffixes, strict=True):
        right = []
        for arrays, code in zip(cells, ("", " bottleneck=4"), strict=True):
            keys = [f"seed={s}{code} learning_rate=0.001 weight_decay=0.0{suffix}" for s in (0, 1)]
            rows = [arrays["trial"].tolist().index(key) for key in keys]
            right.append((arrays["prediction"][rows] == arrays["label"]).mean(axis=1))
        cost = point["decomposition"]["on_reconstructions"]
        assert cost["per_trial"] == pytest.approx(right[0] - right[1])
    assert (out / "figures/labels.png").stat().st_size > 0


def test_all_labels_are_named_as_in_settings(swept, tmp_path, rng):
    out, _ = swept
    run = load_run(out)
    image = rng.integers(0, 256, (1, *run.image_shape), np.uint8)
    every = run.predict(image, train_examples="all")
    np.testing.assert_array_equal(every, run.predict(image, train_examples=None))
    assert not np.array_equal(every, run.predict(image, train_examples=4))
    Image.fromarray(image[0, ..., 0]).save(tmp_path / "a.png")
    options = "--train-examples", "all", "--json"
    (row,) = json.loads(run_here("predict", out, "a.png", *options, cwd=tmp_path).stdout)
    assert list(row["probabilities"].values()) == pytest.approx(every.mean(axis=0)[0], abs=1e-5)
    for values, says in ({}, "name 4 or all"), ({"train_examples": 5}, "examples 5; name 4 or all"):
        with pytest.raises(UserError, match=says):
            run.predict(image, **values)


def test_further_numbers_run_alone_and_equal_those_of_one_run(swept, plain, source, tmp_path):
    out, seen = tmp_path / "run", []
    shutil.copytree(plain[0], out)
    more = config(source, **SWEEP)
    assert [stage.begun for stage in make_plan(more, load(more.data), out).stages] == [2, 2, 2]
    results = run_experiment(more, out, progress=lambda progress: seen.append(progress.job))
    numbers = {job.name: [(t.seed, t.train_examples) for t in job.trials] for job in seen}
    missing = [(0, 4), (1, 4)]
    views = ("original", "reconstruction")
    assert numbers == {f"classifier/{view}/job-1": missing for view in views}
    for number in (4, None):
        assert classifiers_of(results, number) == classifiers_of(swept[1], number)
    counts = [len(analysis["points"]) for analysis in results["analyses"]]
    assert counts == [1, 2]
    jobs = read_json(out / "checkpoints/classifier/original/job-0/job.json")["trials"]
    assert [trial["train_examples"] for trial in jobs] == [None, None]


@pytest.mark.slow
def test_stopped_at_any_chunk_and_continued_equals_uninterrupted(swept, source, tmp_path):
    out, stops, left = tmp_path / "run", 0, 0

    def interrupted():
        nonlocal left
        left -= 1
        return left < 0

    while True:
        left = 8
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
