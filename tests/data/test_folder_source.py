"""Folders of images: layouts, classes, order, and each mistake in one sentence."""

import os
import shutil
from pathlib import Path

import pytest
from images import noise, write_folder, write_image

from blurjax.data.folder_source import scan
from blurjax.data.given_images import find_images, read_each
from blurjax.runtime import RunDirectory
from blurjax.runtime.errors import UserError


def paths(listing, split="train"):
    return [file.path for file in listing.splits[split]]


def test_class_folders_become_classes_in_order(tmp_path):
    write_folder(tmp_path, {"b": 2, "a": 1, "B": 1})
    listing = scan(tmp_path)
    assert listing.class_names == ("B", "a", "b")
    assert paths(listing) == ["B/000.png", "a/000.png", "b/000.png", "b/001.png"]
    assert [file.label for file in listing.splits["train"]] == [0, 1, 2, 2]
    assert listing.notes == ()


def test_the_working_directory_is_a_root_like_others(tmp_path, monkeypatch):
    write_folder(tmp_path, {"cats": 1, "dogs/old": 1})
    (tmp_path / "cats" / "note.txt").write_text("text")
    before = scan(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert scan(Path()) == before._replace(root=Path())
    assert paths(before) == ["cats/000.png", "dogs/old/000.png"]


@pytest.mark.parametrize(
    "names",
    [
        ("train", "validation", "test"),
        ("Train", "val", "Test"),
        ("training", "valid", "testing"),
        ("Training", "dev", "Testing"),
        ("train_set", "val_set", "test_set"),
        ("training_set", "validation_set", "test_set"),
        ("trainset", "valset", "testset"),
        ("TrainSet", "ValSet", "TestSet"),
        ("train", "valid", "Test Data"),
        ("train_images", "val-images", "test"),
        ("flowers_train", "flowers_val", "flowers_test"),
        ("caltech 101 Train", "caltech 101 Valid", "caltech 101 Test"),
        ("train2017", "val2017", "test2017"),
        ("花-train", "花-val", "花-test"),
    ],
)
def test_split_folders_become_splits(tmp_path, names):
    for position, name in enumerate(names):
        write_folder(tmp_path / name, {"a": position + 1, "b": 1})
    listing = scan(tmp_path)
    sizes = {split: len(files) for split, files in listing.splits.items()}
    assert sizes == {"train": 2, "validation": 3, "test": 4}


def test_kaggles_layout_of_the_intel_scenes(tmp_path):
    for name in ("seg_train", "seg_test"):
        write_folder(tmp_path / name / name, {"forest": 1, "sea": 1})
    write_image(tmp_path / "seg_pred" / "seg_pred" / "1.png", noise(0))
    listing = scan(tmp_path)
    assert listing.class_names == ("forest", "sea")
    assert paths(listing) == [
        "seg_train/seg_train/forest/000.png",
        "seg_train/seg_train/sea/000.png",
    ]
    assert set(listing.splits) == {"train", "test"}
    assert listing.notes == ("Folders beside the splits were left out: seg_pred.",)


def test_a_class_may_be_called_train(tmp_path):
    write_folder(tmp_path, {"bus": 1, "train": 1})
    assert scan(tmp_path).class_names == ("bus", "train")


def test_classes_may_have_words_for_splits_in_their_names(tmp_path):
    names = ("blood_test", "test_tube", "toy_train", "training shoes")
    write_folder(tmp_path, dict.fromkeys(names, 1))
    assert scan(tmp_path).class_names == names


@pytest.mark.parametrize("inner", ["{}", "images/{}"])
@pytest.mark.parametrize(
    "outer", [("amazon", "dslr", "webcam"), ("part 1", "part 2"), ("a", "train1")]
)
def test_folders_that_all_hold_the_same_folders_are_refused(tmp_path, outer, inner):
    for name in outer:
        write_folder(tmp_path / name, {inner.format("cats"): 1, inner.format("dogs"): 1})
    refused(
        tmp_path,
        rf"The folders {', '.join(outer)} of .* all hold the same folders \(cats, dogs\): where those are the classes, "
        "call the outer ones train, validation and test; where the outer ones are, put the images",
    )


def test_splits_within_each_class_are_refused(tmp_path):
    write_folder(tmp_path, {f"{name}/{split}": 1 for name in "ab" for split in ("train", "test")})
    refused(tmp_path, r"The folders a, b of .* all hold the same folders \(test, train\)")


def test_images_of_splits_without_class_folders_are_no_classes(tmp_path):
    write_folder(tmp_path, {"flowers_train": 1, "flowers_test": 1})
    refused(tmp_path, r"/flowers_train holds images but no class folders")
    write_folder(tmp_path, {"birds_train": 1, "birds_test": 1})
    refused(tmp_path, r"two folders for the test split, birds_test and flowers_test")


@pytest.mark.parametrize("place", ["runs/photos", "run", "a/run", "a/old/runs/run"])
def test_run_directories_are_left_out(tmp_path, place):
    write_folder(tmp_path, {"a": 1, "b": 1})
    before = scan(tmp_path)
    run = RunDirectory(tmp_path / place)
    run.create()
    write_image(run.figures / "curve.png", noise(0))
    after = scan(tmp_path)
    assert after[:3] == before[:3]
    assert after.notes == (f"Run directories of blurjax were left out: {place}.",)


def test_a_folder_with_another_format_json_is_a_class(tmp_path):
    write_folder(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "a" / "format.json").write_text('{"format": "jpeg"}')
    assert paths(scan(tmp_path)) == ["a/000.png", "b/000.png"]


def test_tiny_imagenet_says_that_val_is_not_sorted(tmp_path):
    write_folder(tmp_path / "train", {"n01/images": 1, "n02/images": 1})
    write_folder(tmp_path / "val", {"images": 2})
    refused(
        tmp_path,
        r"/val is not sorted into classes: it holds a single folder, images, which is no class of the train split; "
        r"move its images to .*/val/CLASS/, or move val away, and a part of train takes its place",
    )


def test_both_normal_forms_of_unicode_are_one_class(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    write_folder(tmp_path / "train", {composed: 2, "b": 1})
    write_folder(tmp_path / "train", {f"{decomposed}/more": 1})
    write_folder(tmp_path / "test", {decomposed: 1, "b": 1})
    listing = scan(tmp_path)
    assert listing.class_names == ("b", composed)
    assert [file.label for file in listing.splits["train"]] == [0, 1, 1, 1]
    assert [file.label for file in listing.splits["test"]] == [0, 1]


def test_folders_within_a_class_belong_to_it(tmp_path):
    write_folder(tmp_path, {"a/2020/june": 1, "a": 1, "b": 1})
    assert paths(scan(tmp_path)) == ["a/000.png", "a/2020/june/000.png", "b/000.png"]


def test_well_known_companions_of_images_are_ignored(tmp_path):
    write_folder(tmp_path, {"a": 1, "b": 1})
    for name in (
        ".DS_Store",
        "Thumbs.db",
        "notes.TXT",
        "x.csv",
        "x.json",
        "x.xml",
        "README.md",
        "._0.png",
        ".gitkeep",
        ".nfs0000000000d5a1a3",
        "_DS_Store",
        "Makefile",
        "film.mpg",
        "arrays.npy",
    ):
        (tmp_path / "a" / name).write_text("no image")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "a" / "photo.jpg").write_text("what has the suffix of an image counts")
    for name in ("photo", "photo.jpg_large"):
        write_image(tmp_path / "b" / "0.png", noise(0)).rename(tmp_path / "b" / name)
    (tmp_path / "b" / "phone").write_bytes(b"\0\0\0\x24ftypheic")
    listing = scan(tmp_path)
    assert paths(listing) == [
        *("a/000.png", "a/photo.jpg"),
        *("b/000.png", "b/phone", "b/photo", "b/photo.jpg_large"),
    ]
    assert listing.notes == (
        "9 files that are no images were left out: a/Makefile, a/README.md, a/_DS_Store, a/arrays.npy, a/film.mpg, "
        "a/notes.TXT, a/x.csv, a/x.json, a/x.xml.",
    )


def test_images_beside_class_folders_are_noted(tmp_path):
    write_folder(tmp_path / "photos", {"a": 1, "b": 1, ".": 3})
    (note,) = scan(tmp_path / "photos").notes
    assert note == "3 files were left out because of lying beside the class folders of photos."


def test_links_into_themselves_do_not_hang(tmp_path):
    write_folder(tmp_path, {"a": 1, "b": 1, "b/deep": 1})
    (tmp_path / "a" / "root").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to("self")
    (tmp_path / "b" / "deep" / "up").symlink_to("..")
    (tmp_path / "b" / "again").symlink_to("deep")
    # a/self leads nowhere and is left to the decoder to report; each real folder is entered once.
    assert paths(scan(tmp_path)) == ["a/000.png", "a/self", "b/000.png", "b/again/000.png"]


def test_linked_files_and_class_folders_are_followed(tmp_path):
    write_folder(tmp_path / "store", {"x": 2})
    root = write_folder(tmp_path / "data", {"a": 1})
    (root / "b").symlink_to(tmp_path / "store" / "x")
    (root / "a" / "linked.png").symlink_to(tmp_path / "store" / "x" / "000.png")
    assert paths(scan(root)) == ["a/000.png", "a/linked.png", "b/000.png", "b/001.png"]


def test_names_that_are_not_utf8_become_text(tmp_path):
    write_folder(tmp_path, {"a": 1, os.fsdecode(b"caf\xe9"): 1})
    listing = scan(tmp_path)
    assert listing.class_names == ("a", "caf\\xe9")
    assert listing.splits["train"][1].name == "caf\\xe9/000.png"
    assert (tmp_path / listing.splits["train"][1].path).is_file()


def refused(path, message):
    with pytest.raises(UserError, match=message) as caught:
        scan(path)
    assert "\n" not in str(caught.value)


def test_a_missing_folder(tmp_path):
    refused(tmp_path / "none", r"The folder .*/none does not exist; check data.source")


def test_a_file_instead_of_a_folder(tmp_path):
    refused(write_image(tmp_path / "x.png", noise(0)), r"x\.png is not a folder")


def test_images_without_class_folders(tmp_path):
    write_folder(tmp_path, {".": 3})
    refused(tmp_path, r"holds images but no class folders; .*/CLASS/image\.jpg")


def test_splits_without_class_folders(tmp_path):
    write_folder(tmp_path, {"train": 1, "test": 1})
    refused(tmp_path, r"/train holds images but no class folders")


def test_an_empty_folder(tmp_path):
    refused(tmp_path, r"holds no class folders")


def test_an_empty_class(tmp_path):
    write_folder(tmp_path, {"a": 1})
    (tmp_path / "hollow\nname").mkdir()
    refused(tmp_path, r"In .*, class 'hollow\\nname' has no image in the train split")


def test_a_single_class(tmp_path):
    write_folder(tmp_path / "photos", {"only": 5})
    refused(tmp_path / "photos", r"photos has a single class, only; a classifier needs")


@pytest.mark.parametrize(("lacking", "split"), [("train", "train"), ("test", "test")])
def test_a_class_missing_from_a_split(tmp_path, lacking, split):
    for name in ("train", "test"):
        write_folder(
            tmp_path / name, {"a": 1, "b": 1} if name == lacking else {"a": 1, "b": 1, "c": 1}
        )
    refused(tmp_path, rf"In .*, class c has no image in the {split} split; every class needs")


def test_two_folders_for_one_split(tmp_path):
    for name in ("train", "val", "valid"):
        write_folder(tmp_path / name, {"a": 1, "b": 1})
    refused(tmp_path, r"two folders for the validation split, val and valid")


def test_splits_without_train(tmp_path):
    for name in ("val", "test"):
        write_folder(tmp_path / name, {"a": 1, "b": 1})
    refused(tmp_path, r"has the folders test and val, but none for the train split")


def test_a_folder_around_the_folder(tmp_path):
    write_folder(tmp_path, {"archive/a": 1, "archive/b": 1})
    refused(tmp_path, r"single class folder, archive, .*did you mean folder:.*/archive\?")


def test_files_are_asked_for_once(tmp_path, monkeypatch):
    """Each question is a round trip to the server of a network file system."""
    write_folder(tmp_path, {"a": 50, "b": 50})
    asked = []
    for name in ("stat", "lstat"):
        ask = getattr(os, name)

        def counted(path, ask=ask, **options):
            asked.append(path)
            return ask(path, **options)

        monkeypatch.setattr(os, name, counted)
    assert len(scan(tmp_path).splits["train"]) == 100
    assert len(asked) < 150  # one each, and some for the folders


def test_a_pipe_is_no_image(tmp_path):
    write_folder(tmp_path, {"a": 1, "b": 1})
    os.mkfifo(tmp_path / "a" / "pipe")
    refused(tmp_path, r"a/pipe is not a regular file")
    (tmp_path / "a" / "pipe").rename(tmp_path / "pipe")
    assert scan(tmp_path).notes == ()  # beside the class folders it is not even opened
    os.mkfifo(tmp_path / "pipe.jpg")
    images = find_images([tmp_path])
    assert [image.name for image in images] == ["000.png", "000.png"]
    read, failed = read_each([*images, tmp_path / "pipe.jpg"], (8, 8, 3), max_pixels=10**6)
    assert len(read) == 2
    assert failed == {tmp_path / "pipe.jpg": "it is no file"}


def test_a_path_that_cannot_be_followed(tmp_path):
    refused(tmp_path / ("x" * 300), r"x cannot be read \(File name too long\); check the path")


def test_folders_in_class_folders_are_noted(tmp_path):
    write_folder(tmp_path / "photos", {"a": 3, "b": 3})
    for inner in ("a/old", "b/x/y", "b/empty"):
        (tmp_path / "photos" / inner).mkdir(parents=True)
    for name in ("a/old/1.png", "a/old/2.png", "b/x/y/1.png"):
        shutil.copy(tmp_path / "photos/a/000.png", tmp_path / "photos" / name)
    listing = scan(tmp_path / "photos")
    assert len(listing.splits["train"]) == 9
    assert listing.notes == (
        "Images in folders within class folders count for the class: a/old, b/x/y.",
    )
