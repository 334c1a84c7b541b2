"""Hugging Face's data sets on disk: exact examples, their splits and labels, and never the network."""

import socket
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from images import noise
from loading import refused, settings, sizes
from PIL import Image

from blurjax.data.sources import load

datasets = pytest.importorskip("datasets")


@pytest.fixture
def config(tmp_path):
    return partial(settings, tmp_path)


@pytest.fixture(autouse=True)
def hub(tmp_path_factory, monkeypatch):
    """A cache of the tests' own."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("hub")))


def make(seeds, label=lambda seed: seed % 2, kind=None, **columns):
    """A data set of noise; by default with a column of class labels."""
    kind = kind or datasets.ClassLabel(names=["cat", "dog"])
    features = {"img": datasets.Image(), "label": kind, **columns}
    rows = {"img": [Image.fromarray(noise(seed)) for seed in seeds], "label": map(label, seeds)}
    rows |= {name: [0] * len(seeds) for name in columns}
    rows = {name: list(values) for name, values in rows.items()}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


def save(dataset, directory, form):
    """Writes a `DatasetDict` in one of the forms; returns the data source."""
    if form == "save_to_disk":
        dataset.save_to_disk(directory)
    else:
        directory.mkdir()
        for split, part in dataset.items():
            part.to_parquet(directory / f"{split}-00000-of-00001.parquet")
    return f"hf:{directory}"


@pytest.mark.parametrize("form", ["save_to_disk", "parquet"])
def test_examples_come_back_exactly(config, tmp_path, form):
    parts = {"train": make(range(20)), "valid": make(range(20, 26)), "test": make(range(30, 40))}
    if form == "parquet":
        parts["validation"] = parts.pop("valid")  # `datasets` itself knows the names of files
    source = save(datasets.DatasetDict(parts), tmp_path / "animals", form)
    dataset = load(config(source))
    assert dataset.name == "animals"
    assert dataset.class_names == ("cat", "dog")
    assert sizes(dataset) == {"train": 20, "validation": 6, "test": 10}
    for split, first in (("train", 0), ("validation", 20), ("test", 30)):
        for number, position in enumerate(dataset.splits[split]):
            assert dataset.names[position] == f"{split}/{number:07d}"
            np.testing.assert_array_equal(dataset.images[position], noise(first + number))
            assert dataset.labels[position] == number % 2


def test_one_split_gives_all_three(config, tmp_path):
    make(range(40)).save_to_disk(tmp_path / "one")
    assert sizes(load(config(f"hf:{tmp_path / 'one'}"))) == {
        "train": 29,
        "validation": 3,
        "test": 8,
    }
    make(range(40)).to_parquet(tmp_path / "a.parquet")
    dataset = load(config(f"hf:{tmp_path / 'a.parquet'}", test_fraction=0.5))
    assert sizes(dataset)["test"] == 20


@pytest.mark.parametrize("name", ["test", "validation"])
def test_the_only_split_is_divided_whatever_its_name(config, tmp_path, name):
    source = save(datasets.DatasetDict({name: make(range(40))}), tmp_path / "one", "save_to_disk")
    dataset = load(config(source))
    assert sizes(dataset) == {"train": 29, "validation": 3, "test": 8}
    assert len({*np.concatenate([*dataset.splits.values()]).tolist()}) == len(dataset.images) == 40


def test_one_split_for_two_is_refused(config, tmp_path):
    parts = {"train": make(range(20)), "test": make(range(30, 40))}
    source = save(datasets.DatasetDict(parts), tmp_path / "two", "save_to_disk")
    refused(config(source, test_split="train"), "name the same split of .*, or none for one")
    refused(config(source, train_split="test"), "name the same split of .*, or none for one")
    dataset = load(config(source, train_split="test", test_split=None))
    assert sum(sizes(dataset).values()) == 10


def test_a_validation_split_that_is_trained_or_tested_on_is_not_taken_again(config, tmp_path):
    parts = {"train": make(range(20)), "validation": make(range(30, 40))}
    source = save(datasets.DatasetDict(parts), tmp_path / "two", "save_to_disk")
    tested = load(config(source, test_split="validation"))
    assert sizes(tested) == {"train": 18, "validation": 2, "test": 10}
    trained = load(config(source, train_split="validation", test_split="train"))
    assert sizes(trained) == {"train": 8, "validation": 2, "test": 20}


def test_splits_may_be_named(config, tmp_path):
    parts = {"a": make(range(20)), "b": make(range(20, 30)), "test": make(range(30, 40))}
    source = save(datasets.DatasetDict(parts), tmp_path / "named", "save_to_disk")
    dataset = load(config(source, train_split="a", validation_split="b", test_split=None))
    assert sizes(dataset) == {"train": 16, "validation": 10, "test": 4}
    refused(
        config(source), r"no split train; set data.train_split to one of its splits \(a, b, test\)"
    )
    refused(config(source, train_split="a", test_split="c"), "no split c; set data.test_split")


def test_a_name_is_looked_up_in_the_cache_alone(config, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)  # a program that uses the network
    monkeypatch.setattr(socket, "create_connection", None)
    make(range(40)).to_parquet(tmp_path / "train.parquet")
    datasets.load_dataset(str(tmp_path))
    monkeypatch.chdir("/")
    assert sizes(load(config(f"hf:{tmp_path.name}")))["train"] == 29
    refused(config("hf:who/knows"), r"neither a path nor .*datasets.load_dataset\('who/knows'\)")


@pytest.mark.parametrize(
    ("kind", "label", "names"),
    [
        (datasets.Value("string"), lambda seed: ("old", "new")[seed % 2], ("new", "old")),
        (datasets.Value("int64"), lambda seed: (7, 3)[seed % 2], ("3", "7")),
    ],
)
def test_labels_without_classes_are_numbered(config, tmp_path, kind, label, names):
    make(range(40), label, kind).save_to_disk(tmp_path / "plain")
    dataset = load(config(f"hf:{tmp_path / 'plain'}"))
    assert dataset.class_names == names
    position = dataset.names.index("train/0000000")
    assert dataset.class_names[dataset.labels[position]] == str(label(0))


def test_columns_that_cannot_be_told_apart_are_refused(config, tmp_path):
    make(range(9)).remove_columns("label").save_to_disk(tmp_path / "bare")
    refused(config(f"hf:{tmp_path / 'bare'}"), r"a column of labels \(its columns are img\)")
    again = make(range(9)).rename_columns({"img": "again", "label": "x"})
    twice = datasets.concatenate_datasets([make(range(9)), again], axis=1)
    twice.save_to_disk(tmp_path / "twice")
    refused(config(f"hf:{tmp_path / 'twice'}"), "does not have one column of images")


def test_what_cannot_be_read_is_one_sentence(config, tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    refused(config(f"hf:{tmp_path / 'a.parquet'}"), r"a\.parquet cannot be read as a data set")
    (tmp_path / "empty").mkdir()
    refused(config(f"hf:{tmp_path / 'empty'}"), "cannot be read as a data set")
    (tmp_path / "a.txt").write_text("text")
    refused(config(f"hf:{tmp_path / 'a.txt'}"), "is no parquet or arrow file")


def test_the_package_is_needed(tmp_path):
    code = (
        "import sys; sys.modules['datasets'] = None; from blurjax.data.sources import load; "
        "from blurjax.config.settings import DataConfig; load(DataConfig(source='hf:x'))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "install it with `pip install 'blurjax[hf]'`" in process.stderr
