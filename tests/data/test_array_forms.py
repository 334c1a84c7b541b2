"""Arrays as people have them: names, shapes, depths and labels, read as they are meant or refused with the reason."""

import numpy as np
import pytest

from blurjax import load_config, load_dataset
from blurjax.data import Dataset
from blurjax.runtime import UserError

RNG = np.random.default_rng(0)
COUNT = 24
GREY = RNG.integers(0, 256, (COUNT, 9, 8), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (COUNT, 9, 8, 3), dtype=np.uint8)
LABELS = np.arange(COUNT) % 2
SIZES = {"data.image_size": 8, "data.channels": 3}


def load(tmp_path, arrays, **settings):
    np.savez(tmp_path / "mine.npz", **arrays)
    named = {"data.source": f"npz:{tmp_path / 'mine.npz'}"} | settings
    return load_dataset(load_config(None, named).data)


def in_order(dataset):
    """Images and labels as they lay in the file."""
    order = np.argsort([int(name) for name in dataset.names])
    return dataset.images[order], dataset.labels[order]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    place = tmp_path_factory.mktemp("expected")
    return in_order(load(place, {"image": COLOUR, "label": LABELS}))


@pytest.mark.parametrize(
    ("image", "label"),
    [("images", "labels"), ("x", "y"), ("X", "y"), ("data", "target"), ("image", "label")],
)
def test_usual_names(tmp_path, expected, image, label):
    dataset = load(tmp_path, {image: COLOUR, label: LABELS, "something": np.arange(3)})
    for own, other in zip(in_order(dataset), expected, strict=True):
        np.testing.assert_array_equal(own, other)
    assert dataset.notes == (() if image == "image" else (f"Arrays read: {image}, {label}.",))


@pytest.mark.parametrize(
    "names",
    [
        {"train": "x_train y_train", "test": "x_test y_test"},
        {"train": "X_train Y_train", "test": "X_test Y_test"},
        {
            "train": "train_images train_labels",
            "validation": "val_images val_labels",
            "test": "test_images test_labels",
        },
    ],
    ids=["keras", "capitals", "medmnist"],
)
def test_splits_as_arrays_of_their_own(tmp_path, names):
    ends = {"train": slice(0, 12), "validation": slice(12, 16), "test": slice(16, 24)}
    arrays = {}
    for split, words in names.items():
        image, label = words.split()
        arrays |= {image: COLOUR[ends[split]], label: LABELS[ends[split], np.newaxis]}
    dataset = load(tmp_path, arrays)
    for split in names:
        own = dataset.images[dataset.splits[split]]
        if split != "train" or "validation" in names:
            assert len(own) == len(COLOUR[ends[split]])
    test = dataset.splits["test"]
    np.testing.assert_array_equal(dataset.images[test], COLOUR[16:, :8])
    np.testing.assert_array_equal(dataset.labels[test], LABELS[16:])
    assert dataset.notes[0].startswith(f"Arrays read: {names['train'].replace(' ', ', ')}, ")


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.moveaxis(COLOUR, -1, 1), "[N,C,H,W]"),
        (COLOUR / 255, "floats from 0 to 1, times 255"),
        ((COLOUR / 255).astype(np.float32), "floats from 0 to 1, times 255"),
        ((COLOUR / 255).astype(np.float16), "floats from 0 to 1, times 255"),
        (COLOUR.astype(np.float64), "floats from 0 to 255"),
        (COLOUR.astype(np.int64), "int64 from 0 to 255"),
        (COLOUR.astype(np.uint16), "uint16 from 0 to 255"),
        (COLOUR.astype(np.uint16) * 257, "16 bits, scaled to 8"),
        (
            np.moveaxis(COLOUR, -1, 1).astype(np.float32) / 255,
            "[N,C,H,W], floats from 0 to 1, times 255",
        ),
        (
            np.concatenate([COLOUR, np.full_like(COLOUR[..., :1], 255)], axis=-1),
            "transparency laid over white",
        ),
    ],
)
def test_shapes_and_depths(tmp_path, expected, images, words):
    dataset = load(tmp_path, {"image": images, "label": LABELS})
    np.testing.assert_array_equal(in_order(dataset)[0], expected[0])
    assert dataset.notes == (f"Images and labels were read as {words}.",)


def test_what_is_transparent_is_white():
    half = np.concatenate([COLOUR, np.full_like(COLOUR[..., :1], 51)], axis=-1)  # a fifth
    dataset = Dataset.from_arrays(half, LABELS)
    assert np.abs(in_order(dataset)[0] - (COLOUR[:, :8] / 5 + 204)).max() <= 1


def test_grey_images_in_every_shape(tmp_path):
    plain = in_order(load(tmp_path, {"image": GREY, "label": LABELS}))[0]
    assert plain.shape == (COUNT, 8, 8, 1)
    for images in (GREY[:, np.newaxis], GREY[..., np.newaxis]):
        own = in_order(load(tmp_path, {"image": images, "label": LABELS}))[0]
        np.testing.assert_array_equal(own, plain)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (LABELS[:, np.newaxis], ""),
        (np.eye(2)[LABELS], "labels one-hot"),
        (np.eye(2, dtype=bool)[LABELS], "labels one-hot"),
        (LABELS + 5, ""),
        (LABELS.astype(np.float32), ""),
        (LABELS.astype(bool), ""),
        (np.array([b"cat", b"dog"])[LABELS], ""),
        (np.array(["cat", "dog"])[LABELS][:, np.newaxis], ""),
    ],
)
def test_labels(tmp_path, labels, words):
    dataset = load(tmp_path, {"image": COLOUR, "label": labels})
    np.testing.assert_array_equal(in_order(dataset)[1], LABELS)
    assert dataset.notes == ((f"Images and labels were read as {words}.",) if words else ())
    if labels.dtype.kind in "SU":
        assert dataset.class_names == ("cat", "dog")


def test_labels_numbered_from_1(tmp_path):
    names = np.array(["cat", "dog"])
    dataset = load(tmp_path, {"image": COLOUR, "label": LABELS + 1, "class_names": names})
    np.testing.assert_array_equal(in_order(dataset)[1], LABELS)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.notes == ("Images and labels were read as labels numbered from 1.",)


def test_names_are_read(tmp_path):
    names = np.array([f"{i:02d}.png" for i in range(COUNT)])
    dataset = load(tmp_path, {"image": COLOUR, "label": LABELS, "name": names})
    assert sorted(dataset.names) == names.tolist()
    dataset = load(tmp_path, {"image": COLOUR, "label": LABELS, "name": np.array("mine")})
    assert "0" in dataset.names


HALF = {"x_train": COLOUR[:12], "y_train": LABELS[:12]}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": COLOUR, "images": COLOUR, "y": LABELS}, "two arrays that may be the images, x and"),
        (HALF | {"x": COLOUR, "y": LABELS}, "of all splits and of single ones, such as x, x_train"),
        (HALF | {"x_test": COLOUR}, r"no array label for the test split \(it has x_test, x_train"),
        ({"x_test": COLOUR, "y_test": LABELS}, "has no arrays of the train split"),
        ({"pixels": COLOUR}, r"no array image and no array label \(it has pixels\); arrays are ca"),
        (
            HALF | {"x_test": COLOUR[:, :8, :8, :1], "y_test": LABELS},
            r"one has an array of shape \(12, 9, 8, 3\) .*, another of shape \(24, 8, 8, 1\)",
        ),
        (
            HALF | {"x_test": COLOUR, "y_test": LABELS[:-1]},
            "has 24 images in x_test, but 23 labels in y_test",
        ),
        ({"x": COLOUR[:, :3, :, :3], "y": LABELS}, r"\[N,H,W,C\] of 8x3 pixels or \[N,C,H,W\] of"),
        ({"x": COLOUR - 128.0, "y": LABELS}, "float64 whose values go from -128 to 127"),
        ({"x": COLOUR / 256, "y": LABELS}, "float64 whose values lie between the 256 levels"),
        ({"x": COLOUR / 2, "y": LABELS}, "float64 whose values lie between the 256 levels"),
        ({"x": COLOUR.astype(np.uint16) * 16, "y": LABELS}, "uint16 whose values go from 0 to 40"),
        ({"x": (COLOUR > 99).astype(int), "y": LABELS}, "int64 whose values go from 0 to 1"),
        ({"x": (COLOUR > 99).astype(np.uint8), "y": LABELS}, "uint8 whose values go from 0 to 1"),
        ({"x": COLOUR > 99, "y": LABELS}, "are bool; they must be numbers"),
        ({"x": np.where(COLOUR, COLOUR, np.nan), "y": LABELS}, "whose values go from nan to nan"),
        ({"x": COLOUR, "y": np.ones((COUNT, 2))}, r"shape \(24, 2\) and are not one-hot"),
        ({"x": COLOUR, "y": LABELS / 2}, "labels of .* are float64; they must be integers"),
    ],
)
def test_what_can_be_read_in_two_ways_or_none_is_refused(tmp_path, arrays, message):
    if message.startswith("uint16"):
        arrays["x"] = np.minimum(arrays["x"], 4095)
    with pytest.raises(UserError, match=message):
        load(tmp_path, arrays)
