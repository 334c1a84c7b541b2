"""Data sets by name, and those that are arrays already: digits and .npz files."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from images import noise, write_folder
from loading import by_name, names_of, refused, settings, sizes

from blurjax.config.settings import Config
from blurjax.data import sources
from blurjax.data.sources import load
from blurjax.runtime.errors import UserError


@pytest.fixture
def config(tmp_path):
    return partial(settings, tmp_path)


# digits


def test_digits_are_scikit_learns(config):
    from sklearn.datasets import load_digits

    dataset = load(config("digits"))
    expected = load_digits()
    assert dataset.name == "digits"
    assert dataset.class_names == tuple("0123456789")
    assert dataset.image_shape == (8, 8, 1)
    assert sizes(dataset) == {
        "train": 1294,
        "validation": 144,
        "test": 359,
    }
    for name, (image, label) in by_name(dataset).items():
        assert label == str(expected.target[int(name)])
        np.testing.assert_array_equal(
            image[..., 0], np.round(expected.images[int(name)] / 16 * 255)
        )


def test_splits_are_stratified_and_counted(config):
    counts = load(config("digits")).class_counts
    whole = sum(counts.values())
    assert whole.sum() == 1797
    np.testing.assert_allclose(counts["test"], whole * 0.2, atol=1)


def test_the_fingerprint_is_of_content_and_split(config):
    first = load(config("digits")).fingerprint
    assert first == load(config("digits")).fingerprint
    others = [{"split_seed": 1}, {"image_size": 16}, {"channels": 3}, {"train_examples": 50}]
    assert len({first, *(load(config("digits", **other)).fingerprint for other in others)}) == 5


def test_the_order_of_streamed_images_is_not_content(config):
    assert load(config("digits", seed=3)).fingerprint == load(config("digits")).fingerprint


WITHOUT_TENSORFLOW = """
import sys
from pathlib import Path
sys.modules["tensorflow"] = sys.modules["tensorflow_datasets"] = None
from blurjax.config.settings import DataConfig
from blurjax.data import sources
settings = {"image_size": 12, "channels": 3, "cache_dir": sys.argv[1], "data_dir": sys.argv[1]}
for source in ("digits", *sys.argv[2:]):
    try:
        print(sources.load(DataConfig(source=source, **settings)).image_shape)
    except sources.UserError as error:
        print(error)
"""


def test_only_tfds_data_sets_need_tensorflow(tmp_path):
    npz = save_npz(tmp_path / "data.npz")
    photos = write_folder(tmp_path / "photos", {"a": 3, "b": 3})
    (tmp_path / "tiny" / "1.0.0").mkdir(parents=True)
    (tmp_path / "tiny" / "1.0.0" / "dataset_info.json").touch()
    arguments = [str(tmp_path), npz, f"folder:{photos}", "tfds:tiny"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(sources.__file__).parents[2],
    )
    *shapes, refusal = done.stdout.splitlines()
    assert shapes == ["(12, 12, 3)"] * 3
    assert "install tensorflow-cpu" in refusal


# npz


def save_npz(path, count=24, **arrays):
    images = np.stack([noise(seed) for seed in range(count)])
    content = {"image": images, "label": np.arange(count) % 2, **arrays}
    np.savez(path, **{name: array for name, array in content.items() if array is not None})
    return f"npz:{path}"


def test_npz_arrays_come_back_exactly(config, tmp_path):
    dataset = load(config(save_npz(tmp_path / "mine.npz")))
    assert dataset.name == "mine"
    assert dataset.class_names == ("0", "1")
    for name, (image, label) in by_name(dataset).items():
        np.testing.assert_array_equal(image, noise(int(name)))
        assert label == str(int(name) % 2)


def test_npz_files_whose_name_is_not_utf8(config, tmp_path):
    source = save_npz(tmp_path / os.fsdecode(b"caf\xe9.npz"))
    assert load(config(source)).name == "caf\\xe9"


def test_npz_splits_are_kept(config, tmp_path):
    split = np.array(["train"] * 12 + ["test"] * 8 + ["validation"] * 4)
    dataset = load(config(save_npz(tmp_path / "x.npz", split=split)))
    positions = [str(position) for position in range(24)]
    assert names_of(dataset, "train") == tuple(positions[:12])
    assert names_of(dataset, "test") == tuple(positions[12:20])
    assert names_of(dataset, "validation") == tuple(positions[20:])


@pytest.mark.parametrize(
    ("arrays", "names"),
    [
        ({"label": np.array(["dog", "cat"] * 12)}, ("cat", "dog")),
        ({"label": np.array([7, -1] * 12)}, ("-1", "7")),
        ({"class_names": np.array(["x\ny", "<b>"])}, ("x\ny", "<b>")),
        (
            {"label": np.array(["dog", "cat"] * 12), "class_names": np.array(["dog", "cat"])},
            ("dog", "cat"),
        ),
    ],
)
def test_npz_class_names(config, tmp_path, arrays, names):
    dataset = load(config(save_npz(tmp_path / "x.npz", **arrays)))
    assert dataset.class_names == names
    if arrays.get("label") is not None and arrays["label"].dtype.kind == "U":
        for name, (_, label) in by_name(dataset).items():
            assert label == arrays["label"][int(name)]


def test_declared_classes_without_images_are_left_out_and_noted(config, tmp_path):
    source = save_npz(
        tmp_path / "x.npz", label=np.array([0, 2] * 12), class_names=np.array(["a", "b", "c"])
    )
    dataset = load(config(source))
    assert dataset.class_names == ("a", "c")
    assert dataset.notes == ("1 class without any image left out: b.",)


def test_npz_images_are_cropped_to_squares(config, tmp_path):
    wide = np.stack([noise(seed, 8, 12) for seed in range(24)])
    dataset = load(config(save_npz(tmp_path / "x.npz", image=wide)))
    assert dataset.image_shape == (8, 8, 3)
    for name, (image, _) in by_name(dataset).items():
        np.testing.assert_array_equal(image, wide[int(name)][:, 2:10])


IMAGES = np.zeros((24, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": None}, r"has no array image \(it has label\)"),
        ({"label": None}, r"has no array label"),
        ({"image": IMAGES[..., :2]}, r"shape \(24, 8, 8, 2\); they must be \[N,H,W\], "),
        ({"image": IMAGES[:, 0, 0]}, r"shape \(24, 3\)"),
        ({"image": IMAGES[:, :7]}, r"are 8x7 pixels; they must have at least 8"),
        ({"image": np.array([None] * 24)}, r"pickled objects, which are never loaded"),
        ({"label": np.arange(23)}, r"has 24 images in image, but 23 labels in label"),
        ({"label": np.linspace(0, 1, 24)}, r"labels of .* are float64; they must be integers"),
        ({"class_names": np.array(["only"])}, r"run from 0 to 1, but there are 1 class_names"),
        ({"class_names": np.array(["a", "a"])}, r"names a class twice"),
        ({"class_names": np.array([1, 2])}, r"class_names of .* must be a list of strings"),
        (
            {"label": np.array(["a", "z"] * 12), "class_names": np.array(["a", "b"])},
            r"The label z in .* is not in class_names",
        ),
        ({"split": np.array(["train", "dev"] * 12)}, r"split of .* has the value dev"),
        ({"split": np.array(["test"] * 24)}, r"split of .* never says train"),
        ({"split": np.array(["train", "test"] * 12)}, r"class 1 has no image in the train split"),
        ({"label": np.zeros(24, int)}, r"has a single class, 0; a classifier needs"),
        ({"label": np.array([0] * 22 + [1] * 2)}, r"Class 1 has 2 images and needs at least 3"),
    ],
)
def test_unfit_npz_files_are_refused(config, tmp_path, arrays, message):
    refused(config(save_npz(tmp_path / "x.npz", **arrays)), message)


def test_npz_files_that_are_missing_or_damaged(config, tmp_path):
    refused(config("npz:none.npz"), r"The file none\.npz does not exist")
    (tmp_path / "text.npz").write_text("no archive")
    refused(config(f"npz:{tmp_path / 'text.npz'}"), r"is not an \.npz file")
    source = save_npz(tmp_path / "flipped.npz")
    content = bytearray((tmp_path / "flipped.npz").read_bytes())
    content[1000] ^= 255
    (tmp_path / "flipped.npz").write_bytes(content)
    refused(config(source), r"flipped\.npz is damaged")


# Names of sources


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("folders:x", r"no data source folders:x; did you mean folder:PATH\?"),
        ("Digits", r"did you mean digits\?"),
        (
            "mnist",
            r"choose one of digits, npz:FILE, folder:PATH, tfds:NAME.*, or import the .*--import",
        ),
        ("arrays", r"whose images were arrays in Python; give them to run_experiment again"),
        ("folder", r"folder needs to say which; write folder:PATH"),
        ("npz:", r"npz needs to say which; write npz:FILE"),
        ("digits:small", r"digits takes nothing after a colon"),
    ],
)
def test_unknown_sources(config, source, message):
    refused(config(source), message)


def test_a_path_without_its_prefix(config, tmp_path):
    refused(config(tmp_path), r"did you mean folder:/")


def test_describe_without_any_tfds_data(tmp_path):
    names = [name for name, _ in sources.describe(tmp_path / "none")]
    assert names == ["digits", "npz:FILE", "folder:PATH", "tfds:NAME[/CONFIG]", "hf:PATH"]


@pytest.mark.parametrize("given", ["digits", Config()])
def test_loading_says_what_it_takes(given):
    with pytest.raises(UserError, match=r"by the settings `data` of a Config and not by .*; write"):
        load(given)
