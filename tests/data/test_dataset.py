"""Data sets made in Python: of arrays and of tf.data, exactly as of files; sources of one's own."""

import numpy as np
import pytest
import tiny
import yaml
from images import noise
from loading import by_name, images_of, names_of, refused, settings, sizes

from blurjax import run_experiment
from blurjax.config.settings import SPLITS, DataConfig
from blurjax.data import sources
from blurjax.data.array_source import examples_of_arrays
from blurjax.data.dataset import Dataset
from blurjax.data.sources import load, register_source
from blurjax.data.tfds_source import import_tensorflow
from blurjax.experiment import run as experiment
from blurjax.runtime.errors import Interrupted, UserError
from blurjax.runtime.run_directory import read_json

IMAGES = np.stack([noise(seed) for seed in range(24)])
LABELS = np.array(["dog", "cat"] * 12)
SPLIT = np.array(["train"] * 12 + ["test"] * 8 + ["validation"] * 4)


def equal(one, other):
    assert one.fingerprint == other.fingerprint
    assert (one.class_names, one.names) == (other.class_names, other.names)
    for split in SPLITS:
        np.testing.assert_array_equal(one.splits[split], other.splits[split])
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.parametrize("arrays", [{}, {"split": SPLIT}, {"class_names": ["dog", "cat"]}])
@pytest.mark.parametrize("config", [{}, {"image_size": 9, "channels": 1, "split_seed": 3}])
def test_arrays_make_the_data_set_of_their_npz_file(tmp_path, arrays, config):
    np.savez(tmp_path / "x.npz", image=IMAGES, label=LABELS, **arrays)
    from_file = load(settings(tmp_path, f"npz:{tmp_path / 'x.npz'}", **config))
    renamed = {"splits": arrays.get("split"), "class_names": arrays.get("class_names")}
    made = Dataset.from_arrays(IMAGES, LABELS, **renamed, name="x", config=DataConfig(**config))
    equal(made, from_file)
    assert made.name == from_file.name == "x"


def test_images_in_memory_lie_in_the_order_of_the_splits():
    dataset = Dataset.from_arrays(IMAGES, LABELS, names=[f"photo {row}" for row in range(24)])
    assert np.concatenate([dataset.splits[split] for split in SPLITS]).tolist() == list(range(24))
    for name, (image, label) in by_name(dataset).items():
        row = int(name.removeprefix("photo "))
        np.testing.assert_array_equal(image, IMAGES[row])
        assert label == LABELS[row]


def test_images_that_are_left_out_are_gone():
    dataset = Dataset.from_arrays(IMAGES, LABELS, config=DataConfig(train_examples=6))
    assert sizes(dataset)["train"] == 6
    assert len(dataset.images) == len(dataset.labels) == len(dataset.names) == 6 + 2 + 5


def test_a_data_set_is_shown_in_one_line():
    shown = repr(Dataset.from_arrays(IMAGES, LABELS, splits=SPLIT, name="pets"))
    assert shown == "<Dataset 'pets': 12 train, 4 validation, 8 test images, 8x8x3, 2 classes>"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": IMAGES / 256}, r"images of pets are float64 whose values lie between"),
        ({"labels": LABELS[:-1]}, r"label of pets has shape \(23,\), but there are 24 images"),
        ({"names": ["a"]}, r"names of pets has shape \(1,\), but there are 24 images"),
        ({"splits": ["dev"] * 24}, r"split of pets has the value dev"),
    ],
)
def test_unfit_arrays_are_refused(changes, message):
    arguments = {"images": IMAGES, "labels": LABELS} | changes
    with pytest.raises(UserError, match=message):
        Dataset.from_arrays(**arguments, name="pets")


# tf.data


def slices(rows, **columns):
    tf = import_tensorflow()
    return tf.data.Dataset.from_tensor_slices({name: a[rows] for name, a in columns.items()})


def test_tf_data_makes_the_data_set_of_its_arrays():
    whole = slices(slice(None), image=IMAGES, label=LABELS)
    expected = Dataset.from_arrays(IMAGES, LABELS)
    equal(Dataset.from_tf_data(whole), expected)
    equal(Dataset.from_tf_data(whole.map(lambda row: (row["image"], row["label"]))), expected)
    parts = {name: slices(name == SPLIT, image=IMAGES, label=LABELS) for name in SPLITS}
    dataset = Dataset.from_tf_data(parts, name="pets")
    assert dataset.name == "pets"
    assert sizes(dataset) == {"train": 12, "validation": 4, "test": 8}
    for split in SPLITS:
        np.testing.assert_array_equal(images_of(dataset, split), IMAGES[split == SPLIT])


def test_tf_data_images_of_different_sizes_are_resized():
    tf = import_tensorflow()

    def examples():
        for row in range(24):
            yield noise(row, 8 + row, 10 + row), row % 2

    signature = (tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int32))
    data = tf.data.Dataset.from_generator(examples, output_signature=signature)
    dataset = Dataset.from_tf_data(data, config=DataConfig(image_size=8))
    np.testing.assert_array_equal(by_name(dataset)["0"][0], noise(0, 8, 10)[:, 1:9])
    with pytest.raises(UserError, match=r"must all have one shape: set data\.image_size"):
        Dataset.from_tf_data(data)


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_tf_data_images_that_are_resized_have_eight_bits(dtype):
    tf = import_tensorflow()
    data = slices(slice(None), image=IMAGES, label=LABELS)
    data = data.map(lambda row: (tf.cast(row["image"], dtype), row["label"]))
    with pytest.raises(UserError, match=rf"are {dtype}; where data.image_size is set, they must"):
        Dataset.from_tf_data(data, config=DataConfig(image_size=8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.batch(4), r"image of shape \(4, 8, 8, 3\) .* call unbatch\(\) or map"),
        (lambda data: data.repeat(), r"train split of tf_data never ends; leave out repeat"),
        (lambda data: data.map(lambda row: row["image"]), r"must have \(image, label\) pairs"),
        (lambda data: data.take(0), r"tf_data has no images"),
        (lambda data: {"dev": data}, r"split of tf_data has the value dev"),
    ],
)
def test_unfit_tf_data_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        Dataset.from_tf_data(change(slices(slice(None), image=IMAGES, label=LABELS)))


def test_an_experiment_takes_a_data_set_made_in_python(tmp_path, monkeypatch):
    def stop(*_):
        raise Interrupted

    monkeypatch.setattr(experiment, "train_autoencoders", stop)
    source = tiny.write_stripes(tmp_path / "stripes.npz")
    dataset = load(tiny.config(source).data)
    with pytest.raises(Interrupted):
        run_experiment(tiny.config("digits"), tmp_path / "run", dataset=dataset)
    written = read_json(tmp_path / "run" / "dataset.json")
    assert (written["name"], written["fingerprint"]) == ("stripes", dataset.fingerprint)
    assert tuple(written["image_shape"]) == dataset.image_shape
    recorded = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert recorded["data"]["source"] == dataset.source == source
    arrays = Dataset.from_arrays(IMAGES, LABELS)
    with pytest.raises(Interrupted):
        run_experiment(tiny.config("digits"), tmp_path / "arrays", dataset=arrays)
    recorded = yaml.safe_load((tmp_path / "arrays" / "config.yaml").read_text())
    assert recorded["data"]["source"] == "arrays"


# Sources of one's own


def test_a_source_of_ones_own_is_loaded_listed_and_suggested(tmp_path, monkeypatch):
    monkeypatch.setattr(sources.SOURCES, "_entries", dict(sources.SOURCES))

    def load_noise(rest, config):
        images = np.stack([noise(seed) for seed in range(int(rest))])
        labels = np.arange(len(images)) % 2
        return examples_of_arrays(images, labels, name=f"noise {rest}", config=config)

    register_source("noise", load_noise, "noise:COUNT", "images of noise.")
    dataset = load(settings(tmp_path, "noise:20"))
    assert dataset.name == "noise 20"
    np.testing.assert_array_equal(by_name(dataset)["7"][0], noise(7))
    assert ("noise:COUNT", "images of noise.") in sources.describe(tmp_path)
    refused(settings(tmp_path, "noises:3"), r"did you mean noise:COUNT\?")
    refused(settings(tmp_path, "noise"), r"noise needs to say which; write noise:COUNT")
    refused(
        settings(tmp_path, "noise:many"),
        r"data source noise:many failed with ValueError: invalid literal .* 'many'; correct the source .*--debug",
    )
    with pytest.raises(ValueError, match="there is another data source named noise"):
        register_source("noise", load_noise, "noise", "other noise.")


def test_names_follow_their_images():
    dataset = Dataset.from_arrays(IMAGES, LABELS, splits=SPLIT)
    assert names_of(dataset, "validation") == ("20", "21", "22", "23")
