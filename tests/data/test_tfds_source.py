"""TFDS data sets that are prepared on disk: exact examples, their splits, and never the network."""

import shutil
from functools import partial

import pytest
from images import noise
from loading import refused, settings, sizes

from blurjax.data import sources, tfds_source
from blurjax.data.sources import load


@pytest.fixture
def config(tmp_path):
    return partial(settings, tmp_path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data_dir with `tiny` (train, test), `many/one` and `many/two`, `contest`, whose test split has no labels, and
    `texts`, which has no images.
    """
    tfds = tfds_source.import_tensorflow("tensorflow_datasets")
    directory = tmp_path_factory.mktemp("tfds")

    def store(name, config=None, label=lambda seed: seed % 2, **splits):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
        }
        examples = {
            split: [(seed, {"image": noise(abs(seed)), "label": label(seed)}) for seed in seeds]
            for split, seeds in splits.items()
        }
        write(name, features, examples, config)

    def write(name, features, examples, config=None):
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.0.0",
            features=tfds.features.FeaturesDict(features),
            split_datasets=examples,
            config=config,
            data_dir=directory,
        )

    store("tiny", train=range(20), test=range(20, 30))
    store("many", "one", train=range(12))
    store("many", "two", train=range(12))
    store("contest", label=lambda seed: max(-1, min(seed, 1)), train=range(4), test=range(-2, 0))
    write("texts", {"text": tfds.features.Text()}, {"train": [(0, {"text": "word"})]})
    return directory


def test_a_prepared_tfds_data_set_comes_back_exactly(config, prepared):
    dataset = load(config("tfds:tiny", data_dir=prepared))
    assert dataset.name == "tiny"
    assert dataset.class_names == ("cat", "dog")
    assert sizes(dataset) == {
        "train": 18,
        "validation": 2,
        "test": 10,
    }
    seeds = {noise(seed).tobytes(): seed for seed in range(30)}
    for name, positions in dataset.splits.items():
        for position in positions:
            seed = seeds.pop(dataset.images[position].tobytes())
            assert dataset.labels[position] == seed % 2
            assert (seed >= 20) == (name == "test")
    assert seeds == {}


def test_a_second_load_of_a_tfds_data_set_comes_from_the_cache(config, prepared, monkeypatch):
    settings = config("tfds:tiny", data_dir=prepared)
    first = load(settings)
    monkeypatch.setattr(tfds_source, "open_prepared", None)
    assert load(settings).fingerprint == first.fingerprint


def test_tfds_splits_may_be_named_and_sliced(config, prepared):
    dataset = load(
        config(
            "tfds:tiny",
            data_dir=prepared,
            train_split="train[:50%]",
            validation_split="train[50%:]",
            test_split=None,
            test_fraction=0.4,
        )
    )
    assert list(sizes(dataset).values()) == [6, 10, 4]


def test_overlapping_tfds_splits_are_refused(config, prepared):
    settings = config("tfds:tiny", data_dir=prepared, validation_split="train[:50%]")
    refused(settings, r"The splits asked of tiny overlap")


def test_unknown_tfds_splits_are_answered_with_the_known(config, prepared):
    settings = config("tfds:tiny", data_dir=prepared, test_split="dev")
    refused(
        settings, r"no images in a split dev; set data\.test_split .* \(test, train\), or to none"
    )


def test_a_tfds_data_set_that_is_not_prepared_is_refused_at_once(config, prepared):
    refused(
        config("tfds:mnist", data_dir=prepared),
        r"mnist is not prepared in .*needs the network.*"
        r"tfds\.builder\('mnist', data_dir='.*'\)\.download_and_prepare\(\)",
    )


def test_tfds_configurations(config, prepared):
    refused(
        config("tfds:many", data_dir=prepared), r"several configurations \(one, two\); name one"
    )
    settings = config("tfds:many/two", data_dir=prepared, test_split=None)
    assert load(settings).name == "many/two"


def test_hidden_labels_are_refused(config, prepared):
    refused(config("tfds:contest", data_dir=prepared), r"contest hides the labels of a split")


def test_tfds_data_sets_without_labelled_images_are_refused(config, prepared):
    settings = config("tfds:texts", data_dir=prepared, test_split=None)
    refused(settings, r"texts does not offer .* image .* \(its features are text\)")


def test_tfds_names_are_checked(config):
    refused(config("tfds:../x"), r"tfds:\.\./x names no data set")


def test_a_damaged_tfds_data_set(config, prepared, tmp_path):
    shutil.copytree(prepared / "tiny", tmp_path / "tiny")
    (tmp_path / "tiny" / "1.0.0" / "features.json").write_text("{")
    refused(config("tfds:tiny", data_dir=tmp_path), r"tiny in .* cannot be read .*prepare it again")


def test_a_tfds_data_set_with_a_lost_file(config, prepared, tmp_path):
    shutil.copytree(prepared / "tiny", tmp_path / "tiny")
    (tmp_path / "tiny" / "1.0.0" / "lost").symlink_to("nowhere")
    refused(config("tfds:tiny", data_dir=tmp_path), r"lost cannot be read \(No such file")


@pytest.mark.parametrize("damage", ["cut", "flip", "remove"])
def test_a_damaged_record(config, prepared, tmp_path, damage):
    shutil.copytree(prepared / "tiny", tmp_path / "tiny")
    (record,) = (tmp_path / "tiny").glob("*/*-test.tfrecord*")
    content = record.read_bytes()
    flipped = content[:300] + bytes([content[300] ^ 255]) + content[301:]
    {
        "cut": lambda: record.write_bytes(content[:-10]),
        "flip": lambda: record.write_bytes(flipped),
        "remove": record.unlink,
    }[damage]()
    refused(config("tfds:tiny", data_dir=tmp_path), r"tiny in .* cannot be read .*prepare it again")


def test_describe_lists_what_is_there_offline(prepared):
    described = dict(sources.describe(prepared))
    assert described["tfds:tiny"] == "prepared: 20 train, 10 test images."
    assert {"digits", "tfds:many/one", "tfds:many/two", "npz:FILE", "folder:PATH"} < set(described)
    assert "tfds:texts" not in described
