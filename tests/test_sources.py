"""Every source becomes the same thing: decoded images in three splits, with a fingerprint of their content."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from images import noise, write_folder, write_image

from blurjax.config import DataConfig
from blurjax.data import cache, decode, sources
from blurjax.data.dataset import SPLITS
from blurjax.errors import UserError


@pytest.fixture
def config(tmp_path):
    """Makes settings whose cache is the test's own."""

    def make(source, **settings):
        return DataConfig(source=str(source), cache_dir=tmp_path / "cache", **settings)

    return make


def loaded(config):
    return sources.load(config)


def refused(config, message):
    with pytest.raises(UserError, match=message) as caught:
        sources.load(config)
    assert "\n" not in str(caught.value)


def by_name(dataset):
    """Name -> (pixels, class name), over all splits."""
    return {
        name: (split.images[row], dataset.class_names[split.labels[row]])
        for split in dataset.splits.values()
        for row, name in enumerate(split.names)
    }


# digits


def test_digits_are_scikit_learns(config):
    from sklearn.datasets import load_digits

    dataset = loaded(config("digits"))
    expected = load_digits()
    assert dataset.name == "digits"
    assert dataset.class_names == tuple("0123456789")
    assert dataset.image_shape == (8, 8, 1)
    assert {name: len(split.labels) for name, split in dataset.splits.items()} == {
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
    counts = loaded(config("digits")).class_counts
    whole = sum(counts.values())
    assert whole.sum() == 1797
    np.testing.assert_allclose(counts["test"], whole * 0.2, atol=1)


def test_the_fingerprint_is_of_content_and_split(config):
    first = loaded(config("digits")).fingerprint
    assert first == loaded(config("digits")).fingerprint
    others = [{"split_seed": 1}, {"image_size": 16}, {"channels": 3}, {"train_examples": 50}]
    assert len({first, *(loaded(config("digits", **other)).fingerprint for other in others)}) == 5


def test_the_order_of_streamed_images_is_not_content(config):
    assert loaded(config("digits", seed=3)).fingerprint == loaded(config("digits")).fingerprint


WITHOUT_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = sys.modules["tensorflow_datasets"] = None
from blurjax.config import DataConfig
from blurjax.data import sources
for source in ("digits", "npz:" + sys.argv[1]):
    dataset = sources.load(DataConfig(source=source, image_size=12, channels=3))
    print(dataset.image_shape)
try:
    sources.load(DataConfig(source="folder:" + sys.argv[2], cache_dir=sys.argv[3]))
except sources.UserError as error:
    print(error)
"""


def test_arrays_need_no_tensorflow_and_folders_say_that_they_do(tmp_path):
    save_npz(tmp_path / "data.npz")
    write_folder(tmp_path / "photos", {"a": 3, "b": 3})
    arguments = [tmp_path / "data.npz", tmp_path / "photos", tmp_path / "cache"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(sources.__file__).parents[2],
    )
    digits, npz, folder = done.stdout.splitlines()
    assert digits == npz == "(12, 12, 3)"
    assert "install tensorflow-cpu" in folder


# npz


def save_npz(path, count=24, **arrays):
    images = np.stack([noise(seed) for seed in range(count)])
    content = {"image": images, "label": np.arange(count) % 2, **arrays}
    np.savez(path, **{name: array for name, array in content.items() if array is not None})
    return f"npz:{path}"


def test_npz_arrays_come_back_exactly(config, tmp_path):
    dataset = loaded(config(save_npz(tmp_path / "mine.npz")))
    assert dataset.name == "mine"
    assert dataset.class_names == ("0", "1")
    for name, (image, label) in by_name(dataset).items():
        np.testing.assert_array_equal(image, noise(int(name)))
        assert label == str(int(name) % 2)


def test_npz_splits_are_kept(config, tmp_path):
    split = np.array(["train"] * 12 + ["test"] * 8 + ["validation"] * 4)
    dataset = loaded(config(save_npz(tmp_path / "x.npz", split=split)))
    positions = [str(position) for position in range(24)]
    assert dataset.splits["train"].names == tuple(positions[:12])
    assert dataset.splits["test"].names == tuple(positions[12:20])
    assert dataset.splits["validation"].names == tuple(positions[20:])


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
    dataset = loaded(config(save_npz(tmp_path / "x.npz", **arrays)))
    assert dataset.class_names == names
    if arrays.get("label") is not None and arrays["label"].dtype.kind == "U":
        for name, (_, label) in by_name(dataset).items():
            assert label == arrays["label"][int(name)]


def test_declared_classes_without_images_are_left_out_and_noted(config, tmp_path):
    source = save_npz(
        tmp_path / "x.npz", label=np.array([0, 2] * 12), class_names=np.array(["a", "b", "c"])
    )
    dataset = loaded(config(source))
    assert dataset.class_names == ("a", "c")
    assert dataset.notes == ("1 class without any image left out: b.",)


def test_npz_images_are_cropped_to_squares(config, tmp_path):
    wide = np.stack([noise(seed, 8, 12) for seed in range(24)])
    dataset = loaded(config(save_npz(tmp_path / "x.npz", image=wide)))
    assert dataset.image_shape == (8, 8, 3)
    for name, (image, _) in by_name(dataset).items():
        np.testing.assert_array_equal(image, wide[int(name)][:, 2:10])


IMAGES = np.zeros((24, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": None}, r"has no array image \(it has label\)"),
        ({"label": None}, r"has no array label"),
        ({"image": IMAGES.astype(np.float32)}, r"image of .* is float32 and must be uint8"),
        ({"image": IMAGES[..., :2]}, r"shape \(24, 8, 8, 2\); it must be \[N,H,W\]"),
        ({"image": IMAGES[0, 0]}, r"shape \(8, 3\)"),
        ({"image": IMAGES[:, :7]}, r"are 8x7 pixels; they must have at least 8"),
        ({"image": np.array([None] * 24)}, r"pickled objects, which are never loaded"),
        ({"label": np.arange(23)}, r"label of .* shape \(23,\), but there are 24 images"),
        ({"label": np.linspace(0, 1, 24)}, r"label of .* is float64; it must hold integers"),
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
        ("mnist", r"choose one of digits, npz:FILE, folder:PATH, tfds:NAME"),
        ("folder", r"folder needs to say which; write folder:PATH"),
        ("npz:", r"npz needs to say which; write npz:FILE"),
        ("digits:small", r"digits takes nothing after a colon"),
    ],
)
def test_unknown_sources(config, source, message):
    refused(config(source), message)


def test_a_path_without_its_prefix(config, tmp_path):
    refused(config(tmp_path), r"did you mean folder:/")


# folder


def test_a_folder_comes_back_exactly(config, tmp_path):
    write_folder(tmp_path / "photos", {"a": 10, "b": 10})
    dataset = loaded(config(f"folder:{tmp_path / 'photos'}"))
    assert dataset.name == "photos"
    assert {name: len(split.labels) for name, split in dataset.splits.items()} == {
        "train": 14,
        "validation": 2,
        "test": 4,
    }
    found = by_name(dataset)
    assert len(found) == 20
    for seed, name in enumerate(sorted(found)):
        np.testing.assert_array_equal(found[name][0], noise(seed))
        assert found[name][1] == name[0]


def test_folders_with_splits_are_memory_mapped_and_kept(config, tmp_path):
    for seed, split in enumerate(("train", "val", "test")):
        write_folder(tmp_path / "photos" / split, {"a": 2, "b": 2}, first_seed=10 * seed)
    dataset = loaded(config(f"folder:{tmp_path / 'photos'}"))
    for seed, split in enumerate(SPLITS):
        images = dataset.splits[split].images
        assert isinstance(images, np.memmap)
        assert not images.flags.writeable
        expected = [noise(10 * seed + position) for position in range(4)]
        np.testing.assert_array_equal(images, expected)


def test_large_splits_are_mapped_from_disk_and_equal_small_ones(config, tmp_path, monkeypatch):
    write_folder(tmp_path / "photos", {"a": 10, "b": 10})
    settings = config(f"folder:{tmp_path / 'photos'}")
    small = loaded(settings).splits
    monkeypatch.setattr(sources, "COPY_BYTES", 0)
    large = loaded(settings).splits
    for name in SPLITS:
        assert isinstance(large[name].images, np.memmap)
        np.testing.assert_array_equal(large[name].images, small[name].images)


def test_the_second_load_comes_from_the_cache(config, tmp_path, monkeypatch):
    write_folder(tmp_path / "photos", {"a": 5, "b": 5})
    settings = config(f"folder:{tmp_path / 'photos'}")
    first = loaded(settings)
    monkeypatch.setattr(decode, "decode_files", None)
    second = loaded(settings)
    assert second.fingerprint == first.fingerprint
    np.testing.assert_array_equal(second.splits["test"].images, first.splits["test"].images)


def test_a_damaged_cache_is_decoded_again(config, tmp_path, caplog):
    write_folder(tmp_path / "photos", {"a": 5, "b": 5})
    settings = config(f"folder:{tmp_path / 'photos'}")
    first = loaded(settings)
    (file,) = (tmp_path / "cache").glob("*/images.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    second = loaded(settings)
    assert "is damaged and is made again" in caplog.text
    np.testing.assert_array_equal(second.splits["train"].images, first.splits["train"].images)


def test_the_fingerprint_follows_content_not_place(config, tmp_path):
    write_folder(tmp_path / "here", {"a": 5, "b": 5})
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    here, there = (loaded(config(f"folder:{tmp_path / name}")) for name in ("here", "there"))
    assert here.fingerprint == there.fingerprint


def test_a_changed_file_is_noticed(config, tmp_path):
    write_folder(tmp_path / "photos", {"a": 5, "b": 5})
    settings = config(f"folder:{tmp_path / 'photos'}")
    before = loaded(settings)
    write_image(tmp_path / "photos" / "a" / "000.png", noise(99))
    after = loaded(settings)
    assert before.fingerprint != after.fingerprint
    np.testing.assert_array_equal(by_name(after)["a/000.png"][0], noise(99))


def test_size_and_channels_are_fitted_to_the_files(config, tmp_path):
    write_folder(tmp_path / "photos", {"a": 3, "b": 3}, height=29, width=40, channels=1)
    source = f"folder:{tmp_path / 'photos'}"
    assert loaded(config(source)).image_shape == (24, 24, 1)
    assert loaded(config(source, image_size=8, channels=3)).image_shape == (8, 8, 3)


def test_strange_names_survive_loading(config, tmp_path):
    names = ['it\'s "quoted"', "<b>", "naïve 森", "line\nbreak", os.fsdecode(b"caf\xe9")]
    write_folder(tmp_path / "photos", dict.fromkeys(names, 3))
    dataset = loaded(config(f"folder:{tmp_path / 'photos'}"))
    assert set(dataset.class_names) == {*names[:-1], "caf\\xe9"}
    assert "line\nbreak/000.png" in by_name(dataset)


def spoiled(folder):
    """A folder with a text file called .jpg, an empty file, a small image and a link that leads nowhere."""
    write_folder(folder, {"a": 5, "b": 5})
    (folder / "a" / "text.jpg").write_text("no image")
    (folder / "a" / "empty.png").touch()
    write_image(folder / "b" / "small.png", noise(0, 7, 9))
    (folder / "b" / "lost.png").symlink_to("nowhere")
    return f"folder:{folder}"


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ("text.jpg", r"a/text\.jpg cannot be used as an image: it is no image of a known format"),
        ("empty.png", r"a/empty\.png cannot be used as an image: it is empty"),
        ("small.png", r"b/small\.png cannot be used as an image: it is 9x7 pixels"),
        ("lost.png", r"b/lost\.png cannot be used as an image: No such file"),
    ],
)
def test_an_unusable_image_is_named(config, tmp_path, keep, message):
    source = spoiled(tmp_path / "photos")
    for name in ("a/text.jpg", "a/empty.png", "b/small.png", "b/lost.png"):
        if not name.endswith(keep):
            (tmp_path / "photos" / name).unlink()
    refused(config(source), message)
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_unusable_images_are_skipped_and_counted_where_asked_for(config, tmp_path):
    settings = config(spoiled(tmp_path / "photos"), on_bad_image="skip")
    for dataset in (loaded(settings), loaded(settings)):  # decoded, and from the cache
        assert dataset.notes == (
            "4 unusable images were skipped: a/empty.png, a/text.jpg, b/lost.png, b/small.png.",
        )
        assert len(by_name(dataset)) == 10


def test_a_class_of_which_nothing_is_left(config, tmp_path):
    write_folder(tmp_path / "photos", {"a": 5, "b": 5})
    (tmp_path / "photos" / "c").mkdir()
    (tmp_path / "photos" / "c" / "x.jpg").touch()
    refused(
        config(f"folder:{tmp_path / 'photos'}", on_bad_image="skip"),
        r"class c has no image in the train split",
    )


def test_nothing_readable_at_all(config, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "x.jpg").touch()
    refused(
        config(f"folder:{tmp_path / 'photos'}", on_bad_image="skip"),
        r"photos has no readable image; look at a/x\.jpg",
    )


def test_a_folder_with_a_single_class(config, tmp_path):
    write_folder(tmp_path / "photos", {"only": 5})
    refused(config(f"folder:{tmp_path / 'photos'}"), r"photos has a single class, only")


# tfds


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data_dir with `tiny` (train, test), `many/one` and `many/two`, and `texts`, which has no images."""
    tfds = pytest.importorskip("tensorflow_datasets")
    directory = tmp_path_factory.mktemp("tfds")

    def store(name, config=None, **splits):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
        }
        examples = {
            split: [{"image": noise(seed), "label": seed % 2} for seed in seeds]
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
    write("texts", {"text": tfds.features.Text()}, {"train": [{"text": "word"}]})
    return directory


def test_a_prepared_tfds_data_set_comes_back_exactly(config, prepared):
    dataset = loaded(config("tfds:tiny", data_dir=prepared))
    assert dataset.name == "tiny"
    assert dataset.class_names == ("cat", "dog")
    assert {name: len(split.labels) for name, split in dataset.splits.items()} == {
        "train": 18,
        "validation": 2,
        "test": 10,
    }
    seeds = {noise(seed).tobytes(): seed for seed in range(30)}
    for name, split in dataset.splits.items():
        for image, label in zip(split.images, split.labels, strict=True):
            seed = seeds.pop(image.tobytes())
            assert label == seed % 2
            assert (seed >= 20) == (name == "test")
    assert seeds == {}


def test_a_second_load_of_a_tfds_data_set_comes_from_the_cache(config, prepared, monkeypatch):
    settings = config("tfds:tiny", data_dir=prepared)
    first = loaded(settings)
    monkeypatch.setattr(decode, "PreparedDataset", None)
    assert loaded(settings).fingerprint == first.fingerprint


def test_tfds_splits_may_be_named_and_sliced(config, prepared):
    dataset = loaded(
        config(
            "tfds:tiny",
            data_dir=prepared,
            train_split="train[:50%]",
            validation_split="train[50%:]",
            test_split=None,
            test_fraction=0.4,
        )
    )
    assert [len(dataset.splits[name].labels) for name in SPLITS] == [6, 10, 4]


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
    assert loaded(settings).name == "many/two"


def test_tfds_data_sets_without_labelled_images_are_refused(config, prepared):
    settings = config("tfds:texts", data_dir=prepared, test_split=None)
    refused(settings, r"texts does not offer .* image .* \(its features are text\)")


def test_tfds_names_are_checked(config):
    refused(config("tfds:../x"), r"tfds:\.\./x names no data set")


def test_a_damaged_tfds_data_set(config, prepared, tmp_path):
    shutil.copytree(prepared / "tiny", tmp_path / "tiny")
    (tmp_path / "tiny" / "1.0.0" / "features.json").write_text("{")
    refused(config("tfds:tiny", data_dir=tmp_path), r"tiny in .* cannot be read .*prepare it again")


def test_describe_lists_what_is_there_offline(prepared):
    described = dict(sources.describe(prepared))
    assert described["tfds:tiny"] == "prepared: 10 test, 20 train images."
    assert {"digits", "tfds:many/one", "tfds:many/two", "npz:FILE", "folder:PATH"} < set(described)
    assert "tfds:texts" not in described


def test_describe_without_any_tfds_data(tmp_path):
    names = [name for name, _ in sources.describe(tmp_path / "none")]
    assert names == ["digits", "npz:FILE", "folder:PATH", "tfds:NAME[/CONFIG]"]


# Photographs


def test_real_photographs_load(config, tmp_path):
    data = os.environ.get("BLURJAX_TEST_DATA")
    if not data:
        pytest.skip("BLURJAX_TEST_DATA is not set")
    with tarfile.open(Path(data) / "scenes.tar") as archive:
        wanted = {f"{split}/{name}": 6 for split in ("train", "test") for name in ("forest", "sea")}
        for member in archive:
            folder = member.name.rpartition("/")[0]
            if member.isfile() and wanted.get(folder, 0):
                wanted[folder] -= 1
                archive.extract(member, tmp_path / "scenes", filter="data")
            if not any(wanted.values()):
                break
    dataset = loaded(config(f"folder:{tmp_path / 'scenes'}"))
    assert dataset.image_shape == (64, 64, 3)
    assert [len(dataset.splits[name].labels) for name in SPLITS] == [10, 2, 12]
    for image, _ in by_name(dataset).values():
        assert image.std() > 10


def test_meta_of_the_cache_holds_the_sha256_of_the_pixels(config, tmp_path):
    from blurjax.data.dataset import pixels_sha256

    write_folder(tmp_path / "photos", {"a": 3, "b": 3})
    loaded(config(f"folder:{tmp_path / 'photos'}"))
    (entry,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    meta = json.loads((entry / "meta.json").read_text())
    assert meta["pixels_sha256"] == pixels_sha256(np.load(entry / "images.npy"))
    assert cache.CHECKSUMS in {path.name for path in entry.iterdir()}
