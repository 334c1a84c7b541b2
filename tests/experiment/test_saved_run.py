"""A finished run can be opened: the models read back do what they did in the run, also for new images."""

import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from networks import NormalizedSettings, build_normalized
from PIL import Image
from tiny import config

import blurjax
from blurjax import load_run, run_experiment
from blurjax.config import Trial, loading
from blurjax.config.loading import override
from blurjax.config.trials import classifier_trial, points
from blurjax.models import classifiers, register
from blurjax.runtime import UserError, read_json

SETTINGS = {
    "sweep__num_seeds": 2,
    "sweep__bottleneck": [2, 4],
    "views__train": ["original", "reconstruction"],
}


@pytest.fixture(scope="module")
def directory(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("saved") / "run"
    run_experiment(config(source, **SETTINGS), out)
    return out


@pytest.fixture(scope="module")
def run(directory):
    return load_run(directory)


@pytest.fixture(scope="module")
def images(run):
    return images_of_test(run)


def images_of_test(run):
    dataset = blurjax.load_dataset(run.config.data)
    return dataset.images[dataset.splits["test"]]


def test_while_a_run_is_extended_it_is_what_its_results_are_of(directory, tmp_path):
    """Settings are written when an extension begins, results when it ends."""
    out = tmp_path / "run"
    shutil.copytree(directory, out)
    more = {"views.train": ["original", "reconstruction", "mixed"], "sweep.bottleneck": [2, 3, 4]}
    extended = override(loading.load(out / "config.yaml"), more)
    (out / "config.yaml").write_text(loading.to_yaml(extended))
    found = load_run(out)
    assert found.accuracy("original", "original", bottleneck=2)["mean"] > 0
    with pytest.raises(UserError, match="has no bottleneck 3; name 2 or 4"):
        found.accuracy("original", "original", bottleneck=3)
    with pytest.raises(UserError, match="has no train view mixed"):
        found.predictions("mixed", "original")


def same_predictions(run, images):
    """Asserts that models which were read back predict what the run has on record, in every cell and trial."""
    compared = 0
    cells = itertools.product(run.config.train_views, run.config.test_views)
    for (train, test), point, seed in itertools.product(
        cells, points(run.config), run.config.seeds
    ):
        values = {"bottleneck": point.bottleneck}
        viewed = (
            images if test == "original" else run.autoencoder(seed, **values).reconstruct(images)
        )
        probabilities = run.classifier(train, seed, **values).predict(viewed)
        recorded = run.predictions(train, test)
        row = recorded["trial"].tolist().index(classifier_trial(point, seed, train, test).key)
        # Where a pixel is halfway between two levels, another program may round it the other way.
        differs = abs(probabilities.max(axis=1) - recorded["confidence"][row]) > 1e-5
        assert differs.mean() <= 0.1 * (test != "original")
        np.testing.assert_array_equal(
            probabilities.argmax(axis=1)[~differs], recorded["prediction"][row][~differs]
        )
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
        compared += 1
    assert compared == 4 * 4


def test_models_predict_what_they_predicted_in_the_run(run, images):
    same_predictions(run, images)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        {"classifier__select": "best", "classifier__mirror_test": True}
        | {"autoencoder__variational": 1e-4},
        {"classifier__average_decay": 0.9, "autoencoder__average_decay": 0.9}
        | {"compute__devices": 1, "compute__convolution": "patches", "autoencoder__folds": 2}
        | {"views__train": ["original", "crossfit"]},
    ],
    ids=["best epoch, mirrored, variational", "average, one device, folds"],
)
def test_whatever_they_were_trained_with(source, tmp_path, recipe):
    run_experiment(config(source, **SETTINGS | recipe), tmp_path / "run")
    run = load_run(tmp_path / "run")
    same_predictions(run, images_of_test(run))


@pytest.mark.slow
@pytest.mark.usefixtures("registries")
def test_models_of_ones_own_with_batch_statistics(source, tmp_path):
    register("classifier", NormalizedSettings, build_normalized)
    model = {"classifier__model": {"name": "normalized"}}
    run_experiment(config(source, **SETTINGS | model), tmp_path / "run")
    run = load_run(tmp_path / "run")
    same_predictions(run, images_of_test(run))


def test_reconstructions_are_those_of_the_gallery(run, directory):
    with np.load(directory / "predictions/gallery.npz") as kept:
        gallery = dict(kept)
    column = gallery["view_names"].tolist().index("reconstruction")
    for row, bottleneck in enumerate(gallery["bottleneck"]):
        own = run.autoencoder(bottleneck=int(bottleneck)).reconstruct(gallery["original"])
        difference = abs(own.astype(int) - gallery["views"][row, column])
        assert difference.max() <= 1
        assert difference.mean() < 1e-3


def test_codes_have_as_many_floats_as_the_bottleneck(run, images):
    for bottleneck in (2, 4):
        codes = run.autoencoder(1, bottleneck).encode(images)
        assert codes.shape == (len(images), bottleneck)
        assert codes.dtype == np.float32
        assert (codes.std(axis=0) > 0).all()


def test_batches_of_any_size_give_the_same(run, images):
    classifier = run.classifier("original")
    whole = classifier.predict(images)  # batches of 16, and a rest
    assert len(images) % 16
    alone = np.concatenate([classifier.predict(image[None]) for image in images])
    np.testing.assert_allclose(alone, whole, atol=1e-6)


def test_images_in_every_form_are_the_same_images(run, images, tmp_path):
    classifier, few = run.classifier("original"), images[:3]
    expected = classifier.predict(few)
    pillow = [Image.fromarray(image[..., 0]) for image in few]
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for image, path in zip(pillow, paths, strict=True):
        image.save(path)
    for form in (few[..., 0], [*few], [*few[..., 0]], pillow, paths, [str(p) for p in paths]):
        np.testing.assert_array_equal(classifier.predict(form), expected)
    np.testing.assert_array_equal(classifier.predict([few[0], pillow[1], paths[2]]), expected)
    for single in (few[0], few[0, ..., 0], pillow[0], paths[0], str(paths[0])):
        np.testing.assert_allclose(classifier.predict(single), expected[:1], atol=1e-6)


def test_other_sizes_and_colour_are_fitted_as_the_data_were(run, images):
    autoencoder = run.autoencoder(bottleneck=4)
    expected = autoencoder.reconstruct(images[:1])
    coloured = np.repeat(images[0], 3, axis=-1)
    np.testing.assert_array_equal(autoencoder.reconstruct(coloured), expected)
    larger = images[0].repeat(4, axis=0).repeat(4, axis=1)
    assert autoencoder.reconstruct(larger).shape == (1, 8, 8, 1)
    assert abs(autoencoder.reconstruct(larger) - expected.astype(float)).mean() < 40


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            np.zeros((2, 8, 8, 1), np.float32),
            "uint8, from 0 to 255, and not float32; .*255 \\* images",
        ),
        (np.zeros((2, 8, 8, 4), np.uint8), r"cannot be of shape \(2, 8, 8, 4\)"),
        (np.zeros((4, 4), np.uint8), "at least 8x8 pixels"),
        (np.zeros((0, 8, 8, 1), np.uint8), "No image was given"),
        ([], "No image was given"),
        ("nowhere.png", r"nowhere.png cannot be read \(No such file or directory\)"),
        (Image.new("F", (9, 9)), "An image of Pillow's cannot be used .* floating-point"),
    ],
)
def test_what_is_no_image_is_refused(run, given, message):
    with pytest.raises(UserError, match=message):
        run.classifier("original").predict(given)


def test_a_broken_file_is_named(run, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image at all")
    with pytest.raises(UserError, match=r"broken.png cannot be used as an image: it is no image"):
        run.autoencoder(bottleneck=2).reconstruct(tmp_path / "broken.png")


def test_results_by_name(run):
    accuracy = run.accuracy("reconstruction", "original", bottleneck=4)
    point = next(p for p in run.results["points"] if p["values"]["bottleneck"] == 4)
    assert accuracy == point["accuracy"]["reconstruction"]["original"]
    predictions = run.predictions("reconstruction", "original")
    row = (
        predictions["trial"]
        .tolist()
        .index(classifier_trial(points(run.config)[1], 0, "reconstruction").key)
    )
    right = predictions["prediction"][row] == predictions["label"]
    assert accuracy["per_trial"][0] == pytest.approx(right.mean())


@pytest.mark.parametrize("views", itertools.product(["original", "reconstruction"], repeat=2))
def test_all_trials_predict_together(run, images, views):
    together = run.predict(images, *views, bottleneck=4)
    assert together.shape == (2, len(images), 2)
    for seed, probabilities in enumerate(together):
        shown = images
        if views[1] == "reconstruction":
            shown = run.autoencoder(seed, 4).reconstruct(images)
        alone = run.classifier(views[0], seed, bottleneck=4).predict(shown)
        np.testing.assert_array_equal(probabilities, alone)


def test_nothing_but_originals_and_reconstructions_can_be_made_of_new_images(run, images):
    with pytest.raises(UserError, match="and not as 'blur'"):
        run.predict(images, "original", "blur")
    with pytest.raises(UserError, match="several values of bottleneck"):
        run.predict(images, "original", "reconstruction")


def test_a_row_of_metrics_for_every_trial_and_epoch(run):
    rows = run.metrics()
    assert len(rows) == 3 * 4 + 3 * (
        2 + 4
    )  # autoencoders; classifiers of original and reconstruction
    last = next(
        row
        for row in rows
        if (row["stage"], row["view"], row["seed"], row["epoch"])
        == ("classifier", "original", 1, 3)
    )
    assert last["bottleneck"] is None
    classifier = run.classifier("original", 1)
    dataset = blurjax.load_dataset(run.config.data)
    validation = dataset.splits["validation"]
    right = (
        classifier.predict(dataset.images[validation]).argmax(axis=1) == dataset.labels[validation]
    )
    assert last["validation.accuracy"] == pytest.approx(right.mean())
    assert all(isinstance(row["loss"], float) for row in rows)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: run.autoencoder(), "several values of bottleneck; name 2 or 4"),
        (lambda run: run.autoencoder(bottleneck=3), "has no bottleneck 3; name 2 or 4"),
        (lambda run: run.autoencoder(7, 2), "has no seed 7; name 0 or 1"),
        (lambda run: run.classifier("reconstruction"), "several values of bottleneck"),
        (lambda run: run.classifier("blur"), "no train view blur; name original or reconstruction"),
        (lambda run: run.accuracy("original", "mixed"), "has no test view mixed; name"),
        (lambda run: run.predictions("pca", "original"), "has no train view pca"),
        (lambda run: run.classifier("original", width=3), "not told apart by 'width'; name bottle"),
    ],
)
def test_what_the_run_does_not_have_is_refused(run, call, message):
    with pytest.raises(UserError, match=message):
        call(run)


def test_where_nothing_depends_on_the_code_it_need_not_be_named(run):
    assert run.classifier("original").trial == Trial(0, None, None, 0.001, 0.0)
    assert run.classifier("original", bottleneck=4).trial.bottleneck is None


def test_a_repr_is_one_line(run, directory):
    shown = [run, run.autoencoder(bottleneck=2), run.classifier("original", 1)]
    assert [repr(one) for one in shown] == [
        f"<SavedRun {str(directory)!r} of 'stripes': 2 seeds, 2 points>",
        "<TrainedAutoencoder seed=0 bottleneck=2>",
        "<TrainedClassifier on original, seed=1 learning_rate=0.001 weight_decay=0.0>",
    ]


def content(directory):
    return {path: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def last_checkpoint(directory, job):
    return max((directory / "checkpoints" / job).glob("[0-9]*"), key=lambda path: int(path.name))


def test_the_directory_is_only_read(directory, tmp_path, caplog):
    copy = shutil.copytree(directory, tmp_path / "run")
    damaged = max(
        last_checkpoint(copy, "autoencoder/job-0").rglob("d/*"), key=lambda p: p.stat().st_size
    )
    damaged.write_bytes(damaged.read_bytes()[::-1])
    before = content(copy)
    run = load_run(copy)
    run.classifier("original").predict(images_of_test(run))
    with pytest.raises(UserError, match=r"no models that are trained to their end; continue"):
        run.autoencoder(bottleneck=2)
    assert "is damaged" in caplog.text
    assert content(copy) == before


def test_a_run_that_is_not_finished_is_refused(directory, tmp_path):
    copy = shutil.copytree(directory, tmp_path / "run")
    (copy / "results.json").unlink()
    with pytest.raises(UserError, match="is not finished: it has no results"):
        load_run(copy)
    with pytest.raises(UserError, match=r"is not a run of blurjax"):
        load_run(tmp_path)


def test_models_whose_code_was_changed_are_refused(directory, monkeypatch):
    monkeypatch.setattr(classifiers.nn, "relu", jax.nn.gelu)
    with pytest.raises(UserError, match="made with other code of the"):
        load_run(directory).classifier("original")


def test_plain_orbax_reads_a_checkpoint_as_the_documentation_says(run, directory, tmp_path):
    page = (Path(__file__).parents[2] / "docs/saved_runs.md").read_text()
    (recipe,) = [b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "ocp" in b]
    job = "checkpoints/autoencoder/job-0"
    last = last_checkpoint(directory, "autoencoder/job-0").name  # two are kept here, of more epochs
    recipe = recipe.replace(f"runs/digits/{job}", f"{directory}/{job}").replace(
        "[0-9]*/", f"{last}/"
    )
    (tmp_path / "recipe.py").write_text(
        f"{recipe}\nimport numpy as np\nnp.save('codes.npy', params['to_code']['kernel'])"
    )
    # In a process that has one device: the checkpoint was saved by two.
    subprocess.run([sys.executable, "recipe.py"], cwd=tmp_path, check=True, timeout=100)
    trial = run.autoencoder(1, 4)
    jobs = read_json(directory / job / "job.json")["trials"]
    row = jobs.index(trial.trial._asdict())
    own = trial.variables["params"]["to_code"]["kernel"]
    np.testing.assert_array_equal(np.load(tmp_path / "codes.npy")[row], own)
