"""Large images of many classes, from TFRecords, streamed: the whole experiment in bounded files and memory."""

import json
import math

import numpy as np
import pytest
from command import run
from PIL import Image

from blurjax.data import tfds_source
from blurjax.runtime.files import read_npz

CLASSES, SIZE = 1000, 224
SETTINGS = {
    "data.image_size": SIZE,
    "data.resident_limit": 0,
    "data.validation_fraction": 0.5,
    "autoencoder.epochs": 1,
    "autoencoder.bottleneck": 32,
    "autoencoder.model.width": 2,
    "autoencoder.batch_size": 16,
    "classifier.epochs": 1,
    "classifier.model.width": 2,
    "classifier.model.dense": 16,
    "classifier.batch_size": 16,
    "sweep.num_seeds": 1,
}
# Runs the command, and prints last how much memory it had at most, in kB. (Of getrusage it would be that of
# the process that started it, if that is more.)
MEASURED = """
from pathlib import Path
from blurjax.cli.commands import main
try:
    main()
finally:
    print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
VIEWS = ["--views.train", "reconstruction", "--views.test", "original"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data_dir with `many`: coloured blots as JPEG, two of each class to train on and one to test on."""
    tfds = tfds_source.import_tensorflow("tensorflow_datasets")
    features = {
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
        "label": tfds.features.ClassLabel(num_classes=CLASSES),
    }

    def examples(count, seed):
        rng = np.random.default_rng(seed)
        for number in range(count):
            blots = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            image = np.asarray(blots.resize((SIZE + 20, SIZE), Image.Resampling.BICUBIC))
            yield number, {"image": image, "label": number % CLASSES}

    directory = tmp_path_factory.mktemp("tfds")
    tfds.dataset_builders.store_as_tfds_dataset(
        name="many",
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": examples(2 * CLASSES, 0), "test": examples(CLASSES, 1)},
        data_dir=directory,
    )
    return directory


@pytest.mark.slow
def test_a_thousand_classes_of_224_pixels(prepared, tmp_path):
    settings = [text for key, value in SETTINGS.items() for text in (f"--{key}", value)]
    source = ("--data.source", "tfds:many", "--data.data_dir", prepared)
    options = {"cwd": tmp_path, "cache": tmp_path / "cache", "timeout": 1200}
    options["python"] = ("-c", MEASURED)
    ended = run("run", *source, *settings, *VIEWS, "--out", "many", **options)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert "streamed from disk" in ended.stdout
    out = tmp_path / "many"
    results = json.loads((out / "results.json").read_text())
    assert len(results["dataset"]["class_names"]) == CLASSES
    history = results["points"][0]["history"]
    assert (
        max(history["classifier"]["reconstruction"]["train"]["loss"][-1]) < math.log(CLASSES) + 0.1
    )
    variance = 0.06  # of the blots: what an autoencoder that paints grey is wrong by
    assert max(history["autoencoder"]["validation"]["loss"][-1]) < variance
    arrays = read_npz(out / "predictions" / "reconstruction-on-original.npz")
    assert arrays["prediction"].shape == (1, CLASSES)
    assert sorted(arrays["label"]) == list(range(CLASSES))
    sizes = {name: (out / name).stat().st_size / 1e6 for name in ("results.json", "report.html")}
    assert max(sizes.values()) < 10, sizes
    # Of the decoded images 0.45 GB are mapped, and count as well; several programs compile at once.
    assert float(ended.stdout.splitlines()[-1]) < 4.5e6
