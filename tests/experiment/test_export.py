"""What is exported is what the run's classifiers saw, and other programs can read it."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from tiny import config

from blurjax import export_models, export_view, load_config, load_dataset, load_run, run_experiment
from blurjax.data import Dataset
from blurjax.runtime import UserError, read_npz

SETTINGS = {
    "sweep__num_seeds": 2,
    "sweep__bottleneck": [2, 4],
    "autoencoder__folds": 2,
    "views__train": ["original", "reconstruction", "crossfit", "shuffled"],
    "views__test": ["original", "reconstruction", "blur"],
}


@pytest.fixture(scope="module")
def directory(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "run"
    run_experiment(config(source, **SETTINGS), out)
    return out


def learned(directory, view, **values):
    """What classifiers of a view saw and reached after every epoch: the rows of one trial."""
    measured = ("epoch", "loss", "train.loss", "train.accuracy")
    rows = [row for row in load_run(directory).metrics() if row["view"] == view]
    rows = [row for row in rows if all(row[name] == value for name, value in values.items())]
    return np.array([[row[name] for name in measured if name in row] for row in rows])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("view", "values"),
    [
        ("reconstruction", {"seed": 0, "bottleneck": 4}),
        ("reconstruction", {"seed": 1, "bottleneck": 2}),
        ("crossfit", {"seed": 0, "bottleneck": 2}),
    ],
)
def test_training_on_an_export_is_training_on_the_view(directory, tmp_path, view, values):
    export_view(directory, view, tmp_path / "images.npz", **values)
    first = values["seed"]
    again = {
        "views__train": ["original"],
        "views__test": ["original"],
        "sweep__num_seeds": 1,
        "sweep__first_seed": first,
    }
    run_experiment(config(f"npz:{tmp_path / 'images.npz'}", **again), tmp_path / "again")
    expected = learned(directory, view, **values)
    assert len(expected) == 3
    np.testing.assert_allclose(
        learned(tmp_path / "again", "original", seed=first), expected, rtol=1e-5
    )


def test_arrays_say_what_they_are(directory, tmp_path):
    export_view(directory, "blur", tmp_path / "blur.npz", bottleneck=2)
    arrays = read_npz(tmp_path / "blur.npz")
    dataset = load_dataset(load_run(directory).config.data)
    order = np.concatenate([dataset.splits[split] for split in ("train", "validation", "test")])
    assert arrays["name"].tolist() == [dataset.names[i] for i in order]
    assert arrays["label"].tolist() == dataset.labels[order].tolist()
    assert arrays["class_names"].tolist() == [*dataset.class_names]
    assert arrays["image"].dtype == np.uint8
    before = dataset.images[order].astype(float)
    assert 0 < np.abs(arrays["image"] - before).mean() < np.abs(before - before.mean()).mean()
    assert arrays["image"].std() < before.std()
    again = load_dataset(load_config(None, {"data.source": f"npz:{tmp_path / 'blur.npz'}"}).data)
    for split, positions in again.splits.items():
        assert len(positions) == len(dataset.splits[split])
        np.testing.assert_array_equal(
            again.images[positions], arrays["image"][arrays["split"] == split]
        )


def test_a_folder_has_the_same_images_by_split_and_class(directory, tmp_path):
    for out in ("images.npz", "folder"):
        export_view(directory, "crossfit", tmp_path / out, seed=1, bottleneck=4)
    arrays = read_npz(tmp_path / "images.npz")
    settings = {
        "data.source": f"folder:{tmp_path / 'folder'}",
        "data.image_size": 8,
        "data.channels": 1,
    }
    folder = load_dataset(load_config(None, settings).data)
    assert [*folder.class_names] == arrays["class_names"].tolist()
    rows = {}
    for split, positions in folder.splits.items():
        for i in positions:
            rows[int(folder.names[i].split("/")[-1].split("-")[0])] = i, split
    assert [*sorted(rows)] == [*range(len(arrays["image"]))]
    for row, (i, split) in rows.items():
        assert split == arrays["split"][row]
        assert folder.labels[i] == arrays["label"][row]
        np.testing.assert_array_equal(folder.images[i], arrays["image"][row])


def test_shuffled_labels_are_exported_shuffled(directory, tmp_path):
    export_view(directory, "original", tmp_path / "original.npz", bottleneck=2)
    export_view(directory, "shuffled", tmp_path / "shuffled.npz", bottleneck=2)
    original, shuffled = (read_npz(tmp_path / f"{view}.npz") for view in ("original", "shuffled"))
    np.testing.assert_array_equal(original["image"], shuffled["image"])
    differs = original["label"] != shuffled["label"]
    assert differs[original["split"] == "train"].any()
    assert not differs[original["split"] != "train"].any()


def test_reconstructions_are_those_of_the_model_read_back(directory, tmp_path):
    run = load_run(directory)
    export_view(run.path, "reconstruction", tmp_path / "r.npz", seed=1, bottleneck=4)
    arrays = read_npz(tmp_path / "r.npz")
    dataset = load_dataset(run.config.data)
    order = np.concatenate([dataset.splits[split] for split in ("train", "validation", "test")])
    own = run.autoencoder(1, 4).reconstruct(dataset.images[order])
    difference = np.abs(own.astype(int) - arrays["image"])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("reconstruction", "new.npz"), "several values of bottleneck; name 2 or 4"),
        (("pca", "new.npz", 0, 2), "has no view pca; name one of original, reconstruction"),
        (("blur", "new.npz", 9, 2), "has no seed 9; name 0 or 1"),
        (("blur", "there.npz", 0, 2), "there.npz exists already, and nothing is replaced"),
        (("blur", "folder", 0, 2), "folder exists already, and nothing is replaced"),
    ],
)
def test_what_cannot_be_exported_is_refused(directory, tmp_path, arguments, message):
    (tmp_path / "there.npz").write_bytes(b"something of mine")
    (tmp_path / "folder").mkdir()
    view, out, *which = arguments
    values = dict(zip(("seed", "bottleneck"), which, strict=False))
    before = {*tmp_path.iterdir()}
    with pytest.raises(UserError, match=message):
        export_view(directory, view, tmp_path / out, **values)
    assert {*tmp_path.iterdir()} == before


def test_other_images_than_the_run_had_are_refused(directory, tmp_path):
    dataset = load_dataset(load_run(directory).config.data)
    other = Dataset.from_arrays(255 - dataset.images, dataset.labels)
    with pytest.raises(UserError, match="made with the images' sha256"):
        export_view(directory, "blur", tmp_path / "new.npz", bottleneck=2, dataset=other)


def test_classes_that_make_no_folders_are_refused(source, directory, tmp_path, monkeypatch):
    with np.load(source.removeprefix("npz:")) as arrays:
        np.savez(tmp_path / "data.npz", **arrays, class_names=np.array(["a/b", "a_b"]))
    quick = {"views__train": ["original"], "views__test": ["original"], "sweep__num_seeds": 1}
    run_experiment(config(f"npz:{tmp_path / 'data.npz'}", **quick), tmp_path / "run")
    with pytest.raises(UserError, match=r"do not make folders of their own; name FILE\.npz"):
        export_view(tmp_path / "run", "original", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    export_view(tmp_path / "run", "original", tmp_path / "new.npz")


def test_long_names_of_images_are_cut(directory, tmp_path):
    dataset = load_dataset(load_run(directory).config.data)
    dataset = dataclasses.replace(dataset, names=(f"{'é' * 125}.png",) * len(dataset.names))
    export_view(directory, "original", tmp_path / "out", bottleneck=2, dataset=dataset)
    written = [path.name for path in (tmp_path / "out").rglob("*.png")]
    assert len(written) == len(dataset.names)
    assert f"000000-{'é' * 100}.png" in written


def test_a_place_that_cannot_be_written_is_a_sentence(directory, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: File exists"):
        export_models(directory, tmp_path / "file" / "models.safetensors")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert export_models(directory, "~/m.safetensors") == tmp_path / "home/m.safetensors"


def content(directory):
    return {path: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def test_the_run_is_only_read(directory, tmp_path):
    copy = shutil.copytree(directory, tmp_path / "run")
    before = content(copy)
    export_view(copy, "crossfit", tmp_path / "folder", bottleneck=4)
    export_models(copy, tmp_path / "models.safetensors")
    assert content(copy) == before
    assert {path.name for path in tmp_path.iterdir()} == {"run", "folder", "models.safetensors"}


def test_models_are_read_without_blurjax(directory, tmp_path):
    path = export_models(directory, tmp_path / "models.safetensors")
    tensors = safetensors.numpy.load_file(path)
    run = load_run(directory)
    own = run.classifier("reconstruction", 1, bottleneck=2)
    kernel = own.variables["params"]["Dense_1"]["kernel"]
    name = f"classifier/reconstruction/{own.trial.key}/params/Dense_1/kernel"
    np.testing.assert_array_equal(tensors[name], kernel)
    models = {tuple(name.split("/params/")[:1]) for name in tensors}
    # Two seeds and two codes: autoencoders also of two folds; original and shuffled do not depend on the code.
    assert len(models) == 4 * 3 + 2 + 4 + 4 + 2
    with safetensors.safe_open(path, "np") as file:
        metadata = file.metadata()
    assert json.loads(metadata["class_names"]) == [*run.class_names]
    assert json.loads(metadata["image_shape"]) == [8, 8, 1]
    (tmp_path / "config.yaml").write_text(metadata["config"])
    assert load_config(str(tmp_path / "config.yaml")) == run.config
    with pytest.raises(UserError, match=r"does not end in \.safetensors"):
        export_models(directory, tmp_path / "models.npz")
    with pytest.raises(UserError, match="exists already"):
        export_models(directory, path)
