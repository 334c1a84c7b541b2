"""From a messy folder of photographs to an answer, and from there to what new photographs are."""

import csv
import io
import json
import re
import shutil

import numpy as np
import pytest
from command import run
from images import write_image

from blurjax import load_run

pytestmark = pytest.mark.slow
CLASSES = ("海辺", "forest", "🏔 mountain")


def photograph(seed, kind):
    """u8[H,W,3] of a size of its own: waves, trunks or slopes, under noise."""
    random = np.random.default_rng(seed)
    height, width = random.integers(60, 140, 2)
    y, x = np.mgrid[:height, :width] / 12.0
    phase = random.uniform(0, 6)
    pattern = (np.sin(y + phase), np.sin(x + phase), np.sin(x + y + phase))[kind]
    colour = random.uniform(0.6, 1.0, 3)
    grey = 0.5 + 0.3 * pattern + random.normal(0, 0.05, (height, width))
    return (255 * np.clip(grey[..., None] * colour, 0, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """PHOTOS as people have them: 60 photographs in three classes, and things that are none."""
    place = tmp_path_factory.mktemp("journey")
    photos = place / "PHOTOS"
    for kind, name in enumerate(CLASSES):
        for number in range(20):
            seed = 100 * kind + number
            where = photos / name / ("summer" if number % 5 == 0 else "") / f"{number:02}.jpg"
            write_image(where, photograph(seed, kind))
    (photos / "forest" / "notes.txt").write_text("where these are from")
    (photos / "forest" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (photos / "forest" / "broken.jpg").write_bytes((photos / "forest/01.jpg").read_bytes()[:200])
    shutil.copy(photos / "forest/02.jpg", photos / "forest/02 (copy).jpg")
    return place


def blurjax(place, *arguments):
    return run(*arguments, cwd=place, cache=place / "cache")


VIEWS = (
    "--views.train",
    "original",
    "reconstruction",
    "--views.test",
    "original",
    "reconstruction",
)
FEW = ("--sweep.num_seeds", 3, "--autoencoder.epochs", 10, "--classifier.epochs", 15, *VIEWS)


@pytest.fixture(scope="module")
def finished(place):
    source = ("run", "--data.source", "folder:PHOTOS", *FEW)
    refused = blurjax(place, *source)
    assert refused.returncode == 2
    assert "forest/broken.jpg cannot be used as an image" in refused.stderr
    assert "data.on_bad_image=skip" in refused.stderr
    return blurjax(place, *source, "--data.on_bad_image", "skip")


def test_a_messy_folder_gives_an_answer(place, finished):
    assert finished.returncode == 0, finished.stderr
    text = finished.stdout
    assert re.match(r"PHOTOS: \d+ train, \d+ validation, \d+ test images of 32x32x3, 3 class", text)
    assert "note: 1 unusable image was skipped: forest/broken.jpg." in text
    assert "note: 1 file that is no image was left out: forest/notes.txt." in text
    assert "note: Images in folders within class folders count for the class" in text
    assert "estimated time: about" in text
    answer = text[text.index("\n\n") :]
    assert re.search(r"^(Worse|Better|Equivalent|Undecided|No verdict)", answer, re.MULTILINE)
    assert "The report is runs/PHOTOS/report.html" in text
    page = (place / "runs/PHOTOS/report.html").read_text()
    assert all(name in page for name in CLASSES)
    assert "1 unusable image was skipped" in page


def test_a_run_says_what_new_photographs_are(place, finished):
    """By the command, and in Python by the same models: they have learned these simple classes."""
    assert finished.returncode == 0, finished.stderr
    for kind in range(3):
        write_image(place / "NEW" / f"{kind}.png", photograph(1000 + kind, kind))
    predicted = blurjax(place, "predict", "runs/PHOTOS", "NEW", "--json")
    assert predicted.returncode == 0, predicted.stderr
    rows = json.loads(predicted.stdout)
    assert [row["class"] for row in rows] == list(CLASSES)
    table = blurjax(place, "predict", "runs/PHOTOS", "NEW", "--csv").stdout
    assert [row["class"] for row in csv.DictReader(io.StringIO(table))] == list(CLASSES)
    models = load_run(place / "runs/PHOTOS")
    paths = [place / "NEW" / f"{kind}.png" for kind in range(3)]
    shares = np.mean(
        [models.classifier("original", seed=s).predict(paths) for s in range(3)], axis=0
    )
    np.testing.assert_allclose(
        shares.max(axis=1), [row["probability"] for row in rows], rtol=0, atol=1e-4
    )


def test_a_run_grows_and_is_exported(place, finished):
    assert finished.returncode == 0, finished.stderr
    more = blurjax(place, "extend", "runs/PHOTOS", "--views.train", "blur", "--views.test", "blur")
    assert more.returncode == 0, more.stderr
    out = ("--view", "blur", "--out", "BLURRED")
    exported = blurjax(place, "export", "runs/PHOTOS", *out)
    assert exported.returncode == 0, exported.stderr
    again = blurjax(place, "run", "--data.source", "folder:BLURRED", *FEW, "--dry-run")
    assert again.returncode == 0, again.stderr
    assert again.stdout.split(";")[0].replace("BLURRED", "PHOTOS") == finished.stdout.split(";")[0]
