"""`blurjax predict`: a class, a probability and a spread for every image file."""

import csv
import io
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import run_here, write_settings
from PIL import Image

from blurjax import load_run
from blurjax.experiment import SavedRun


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with a finished run in runs/tiny, and images in new/."""
    place = tmp_path_factory.mktemp("predict")
    settings = write_settings(place, views__train=["original", "reconstruction"])
    finished = run_here("run", settings.name, cwd=place)
    assert finished.returncode == 0, finished.stderr
    saved = load_run(place / "runs/tiny")
    (place / "new/more").mkdir(parents=True)
    with np.load(place / "stripes.npz") as arrays:
        images = arrays["image"][:4, ..., 0]
    for i, name in enumerate(["a.png", "b.png", "more/c.png", "more/d.png"]):
        Image.fromarray(images[i]).save(place / "new" / name)
    return place, saved, images


def predict(place, *arguments):
    return run_here("predict", *arguments, cwd=place)


def test_json_has_the_mean_of_all_classifiers(place):
    place, saved, images = place
    printed = predict(place, "runs/tiny", "new", "--json")
    assert printed.returncode == 0, printed.stderr
    rows = json.loads(printed.stdout)
    assert [row["file"] for row in rows] == [
        "new/a.png",
        "new/b.png",
        "new/more/c.png",
        "new/more/d.png",
    ]
    probabilities = saved.predict(images)
    errors = [
        np.square(saved.autoencoder(s).reconstruct(images)[..., 0] - images.astype(float))
        for s in range(3)
    ]
    for i, row in enumerate(rows):
        mean, best = (
            probabilities[:, i].mean(axis=0),
            int(probabilities[:, i].mean(axis=0).argmax()),
        )
        assert row["class"] == str(best)
        assert row["probability"] == pytest.approx(mean[best], abs=1e-5)
        assert row["spread"] == pytest.approx(probabilities[:, i, best].std(ddof=1), abs=1e-5)
        assert [*row["probabilities"].values()] == pytest.approx(mean.tolist(), abs=1e-5)
        mse = np.mean([error[i].mean() for error in errors])
        assert row["psnr"] == pytest.approx(10 * math.log10(255**2 / mse), abs=0.05)


@pytest.mark.parametrize("test_view", ["original", "reconstruction"])
def test_a_frozen_trial_is_left_out(place, tmp_path, monkeypatch, test_view):
    place, saved, images = place
    run = Path(shutil.copytree(place / "runs/tiny", tmp_path / "run"))
    results = json.loads((run / "results.json").read_text())
    results["points"][0]["trials"] = [0, 2]
    (run / "results.json").write_text(json.dumps(results))
    as_trained = SavedRun._model

    def one_frozen(run, stage, trial):
        model = as_trained(run, stage, trial)
        return model._replace(failed_step=9) if trial.seed == 1 else model

    with monkeypatch.context() as patch:
        patch.setattr(SavedRun, "_model", one_frozen)
        printed = predict(place, run, "new", "--test-view", test_view, "--json")
    assert printed.returncode == 0, printed.stderr
    kept = saved.predict(images, "original", test_view)[[0, 2]].mean(axis=0)
    errors = [
        np.square(saved.autoencoder(s).reconstruct(images)[..., 0] - images.astype(float))
        for s in (0, 2)
    ]
    for i, row in enumerate(json.loads(printed.stdout)):
        assert [*row["probabilities"].values()] == pytest.approx(kept[i].tolist(), abs=1e-5)
        mse = np.mean([error[i].mean() for error in errors])
        assert row["psnr"] == pytest.approx(10 * math.log10(255**2 / mse), abs=0.05)


def test_csv_and_table_say_the_same(place):
    place, *_ = place
    arguments = (
        "runs/tiny",
        "new",
        "--train-view",
        "reconstruction",
        "--test-view",
        "reconstruction",
    )
    rows = [*csv.DictReader(io.StringIO(predict(place, *arguments, "--csv").stdout))]
    assert [*rows[0]] == ["file", "class", "probability", "spread", "psnr"]
    header, *lines = predict(place, *arguments).stdout.split("\n\n")[0].splitlines()
    assert header.split() == [*rows[0]]
    for row, line in zip(rows, lines, strict=True):
        numbers = [
            f"{float(row[name]):.{digits}f}"
            for name, digits in (("probability", 3), ("spread", 3), ("psnr", 1))
        ]
        assert line.split() == [row["file"], row["class"], *numbers]


def test_what_is_no_image_is_named_and_the_rest_goes_on(place, tmp_path):
    place, *_ = place
    (tmp_path / "no\nimage.png").write_bytes(b"text")
    printed = predict(place, "runs/tiny", tmp_path, "new/a.png", "--csv")
    assert printed.returncode == 2
    assert (
        "no\\nimage.png' cannot be used as an image: it is no image of a known format"
        in printed.stderr
    )
    assert len(printed.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["runs/tiny", "nowhere.png"], "nowhere.png cannot be read (No such file or directory)"),
        (["runs/none", "new"], "runs/none is not a run of blurjax"),
        (["runs/tiny", "runs/tiny/tables"], "There is no image to classify"),
        (["runs/tiny", "new", "--train-view", "pca"], "has no train view pca; name original or"),
        (["runs/tiny", "new", "--bottleneck", "9"], "has no bottleneck 9; name 4"),
        (["runs/tiny", "new", "--csv", "--json"], "not allowed with argument"),
    ],
)
def test_mistakes_are_a_sentence(place, arguments, says):
    printed = predict(place[0], *arguments)
    assert printed.returncode == 2
    assert says in printed.stderr
    assert len(printed.stderr.strip().splitlines()) == 1
