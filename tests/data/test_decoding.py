"""Folders of images, decoded once into the cache: exact pixels, fingerprints, bad images."""

import errno
import json
import os
import shutil
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from images import noise, write_folder, write_image
from loading import by_name, images_of, names_of, refused, settings, sizes
from PIL import Image

from blurjax.config.settings import SPLITS
from blurjax.data import cache, folder_source
from blurjax.data import dataset as datasets
from blurjax.data.examples import pixels_sha256
from blurjax.data.sources import load


@pytest.fixture
def config(tmp_path):
    return partial(settings, tmp_path)


def test_a_folder_comes_back_exactly(config, tmp_path):
    write_folder(tmp_path / "photos", {"a": 10, "b": 10})
    dataset = load(config(f"folder:{tmp_path / 'photos'}"))
    assert dataset.name == "photos"
    assert sizes(dataset) == {
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
    dataset = load(config(f"folder:{tmp_path / 'photos'}"))
    for seed, split in enumerate(SPLITS):
        assert isinstance(dataset.images, np.memmap)
        assert not dataset.images.flags.writeable
        expected = [noise(10 * seed + position) for position in range(4)]
        np.testing.assert_array_equal(images_of(dataset, split), expected)


def test_large_splits_are_mapped_from_disk_and_equal_small_ones(config, tmp_path, monkeypatch):
    write_folder(tmp_path / "photos", {"a": 10, "b": 10})
    settings = config(f"folder:{tmp_path / 'photos'}")
    small = load(settings)
    assert not isinstance(small.images, np.memmap)
    assert np.concatenate([small.splits[split] for split in SPLITS]).tolist() == list(range(20))
    monkeypatch.setattr(datasets, "COPY_BYTES", 0)
    large = load(settings.model_copy(update={"resident_limit": 0.0}))
    assert isinstance(large.images, np.memmap)
    assert large.fingerprint == small.fingerprint
    for split in SPLITS:
        assert names_of(large, split) == names_of(small, split)
        np.testing.assert_array_equal(images_of(large, split), images_of(small, split))
        np.testing.assert_array_equal(
            large.labels[large.splits[split]], small.labels[small.splits[split]]
        )


def test_the_second_load_comes_from_the_cache(config, tmp_path, monkeypatch):
    write_folder(tmp_path / "photos", {"a": 5, "b": 5})
    settings = config(f"folder:{tmp_path / 'photos'}")
    first = load(settings)
    monkeypatch.setattr(folder_source, "encoded_images", None)
    second = load(settings)
    assert second.fingerprint == first.fingerprint
    np.testing.assert_array_equal(images_of(second, "test"), images_of(first, "test"))


def test_a_damaged_cache_is_decoded_again(config, tmp_path, caplog):
    write_folder(tmp_path / "photos", {"a": 5, "b": 5})
    settings = config(f"folder:{tmp_path / 'photos'}")
    first = load(settings)
    (file,) = (tmp_path / "cache").glob("*/images")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    second = load(settings)
    assert "is damaged and is made again" in caplog.text
    np.testing.assert_array_equal(images_of(second, "train"), images_of(first, "train"))


def test_the_fingerprint_follows_content_not_place(config, tmp_path):
    write_folder(tmp_path / "here", {"a": 5, "b": 5})
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    here, there = (load(config(f"folder:{tmp_path / name}")) for name in ("here", "there"))
    assert here.fingerprint == there.fingerprint


def test_a_changed_file_is_noticed(config, tmp_path):
    write_folder(tmp_path / "photos", {"a": 5, "b": 5})
    settings = config(f"folder:{tmp_path / 'photos'}")
    before = load(settings)
    write_image(tmp_path / "photos" / "a" / "000.png", noise(99))
    after = load(settings)
    assert before.fingerprint != after.fingerprint
    np.testing.assert_array_equal(by_name(after)["a/000.png"][0], noise(99))


def test_size_and_channels_are_fitted_to_the_files(config, tmp_path):
    write_folder(tmp_path / "photos", {"a": 3, "b": 3}, height=29, width=40, channels=1)
    source = f"folder:{tmp_path / 'photos'}"
    assert load(config(source)).image_shape == (29, 29, 1)
    assert load(config(source, image_size=8, channels=3)).image_shape == (8, 8, 3)


def test_strange_names_survive_loading(config, tmp_path):
    names = ['it\'s "quoted"', "<b>", "naïve 森", "line\nbreak", "-rf", "a&b", "a\\..\\b"]
    names += [os.fsdecode(b"caf\xe9")]
    write_folder(tmp_path / "photos", dict.fromkeys(names, 3))
    dataset = load(config(f"folder:{tmp_path / 'photos'}"))
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


def test_all_unusable_images_are_named_up_to_ten(config, tmp_path):
    source = spoiled(tmp_path / "photos")
    refused(
        config(source),
        r"4 files of .*photos cannot be used as images: a/empty\.png \(it is empty\), a/text\.jpg \(.*small\.png",
    )
    for number in range(9):
        (tmp_path / "photos" / "b" / f"{number}.png").touch()
    refused(config(source), r"13 files of .* b/7\.png \(it is empty\) and 3 more; remove or")


def test_unusable_images_are_skipped_and_counted_where_asked_for(config, tmp_path):
    settings = config(spoiled(tmp_path / "photos"), on_bad_image="skip")
    for dataset in (load(settings), load(settings)):  # decoded, and from the cache
        assert dataset.notes == (
            "4 unusable images were skipped: a/empty.png, a/text.jpg, b/lost.png, b/small.png.",
        )
        assert len(by_name(dataset)) == 10


@pytest.mark.parametrize(
    ("fails", "error", "message"),
    [
        (
            "pathlib.Path.read_bytes",
            OSError(errno.EIO, "Input/output error"),
            r"a/000\.png cannot be read \(Input/output error\); check its disk",
        ),
        (
            "PIL.Image.Image.convert",
            MemoryError(),
            r"Memory does not suffice to decode a/000\.png; free some, or lower data\.max_pixels",
        ),
    ],
    ids=["disk", "memory"],
)
def test_a_disk_or_memory_that_fails_makes_no_image_unusable(
    config, tmp_path, monkeypatch, fails, error, message
):
    def fail(*_, **__):
        raise error

    write_folder(tmp_path / "photos", {"a": 5, "b": 5})
    monkeypatch.setattr(fails, fail)
    refused(config(f"folder:{tmp_path / 'photos'}", on_bad_image="skip"), message)


def test_what_was_skipped_is_tried_again_where_pillow_reads_more(config, tmp_path, monkeypatch):
    settings = config(spoiled(tmp_path / "photos"), on_bad_image="skip")
    load(settings)
    monkeypatch.setitem(Image.EXTENSION, ".jxl", "JXL")
    load(settings)
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 2


def test_a_class_of_which_nothing_is_left(config, tmp_path):
    write_folder(tmp_path / "photos", {"a": 5, "b": 5})
    (tmp_path / "photos" / "c").mkdir()
    (tmp_path / "photos" / "c" / "x.jpg").touch()
    refused(
        config(f"folder:{tmp_path / 'photos'}", on_bad_image="skip"),
        r"class c has no image in the train split",
    )


def test_a_split_of_which_nothing_is_left_is_not_made_of_train(config, tmp_path):
    for split in ("train", "test"):
        write_folder(tmp_path / "photos" / split, {"a": 9, "b": 9})
    for file in (tmp_path / "photos" / "test").rglob("*.png"):
        file.write_text("no image")
    refused(
        config(f"folder:{tmp_path / 'photos'}", on_bad_image="skip"),
        r"classes a, b have no image in the test split",
    )


def test_large_pictures_are_used_up_to_a_limit_of_ours(config, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # of Pillow, which refuses twice as many
    source = f"folder:{write_folder(tmp_path / 'photos', {'a': 3, 'b': 3}, height=20, width=20)}"
    assert load(config(source)).image_shape == (20, 20, 3)
    assert Image.MAX_IMAGE_PIXELS == 100
    assert load(config(source, max_pixels=400)).image_shape == (20, 20, 3)
    refused(
        config(source, max_pixels=399), r"20x20 pixels, more than data\.max_pixels \(399\); raise"
    )
    refused(
        config(source, max_pixels=199), r"could be decompression bomb .*; raise data\.max_pixels if"
    )


def test_nothing_readable_at_all(config, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "x.jpg").touch()
    refused(
        config(f"folder:{tmp_path / 'photos'}", on_bad_image="skip"),
        r"photos has no readable image; look at a/x\.jpg",
    )


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
    dataset = load(config(f"folder:{tmp_path / 'scenes'}"))
    assert dataset.image_shape == (32, 32, 3)
    assert list(sizes(dataset).values()) == [10, 2, 12]
    for image, _ in by_name(dataset).values():
        assert image.std() > 10


def test_meta_of_the_cache_holds_the_sha256_of_the_pixels(config, tmp_path):
    write_folder(tmp_path / "photos", {"a": 3, "b": 3})
    load(config(f"folder:{tmp_path / 'photos'}"))
    (entry,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    meta = json.loads((entry / "meta.json").read_text())
    assert meta["pixels_sha256"] == pixels_sha256(
        np.fromfile(entry / "images", np.uint8).reshape(meta["shape"])
    )
    assert cache.CHECKSUMS in {path.name for path in entry.iterdir()}
