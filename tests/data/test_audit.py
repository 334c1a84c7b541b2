"""The audit of the data: duplicates, exact and near, conflicting labels, class balance."""

import hashlib
import io
import tarfile
import time
from collections import Counter
from functools import partial

import numpy as np
import pytest
import tiny
from images import noise
from loading import dataset_of, names_of, settings
from PIL import Image

from blurjax import run_experiment
from blurjax.config.settings import SPLITS
from blurjax.data import examples, near_duplicates
from blurjax.data.audit import EXAMPLES, audit_dataset
from blurjax.data.duplicates import content_groups
from blurjax.data.near_duplicates import sample_of, shrink, similar_pairs, thumbnails
from blurjax.data.sources import load
from blurjax.experiment import run as experiment
from blurjax.runtime.errors import Interrupted, UserError
from blurjax.runtime.files import read_json, write_json

CLASSES = ("sea", "street")
SEA, STREET = 0, 1


@pytest.fixture
def config(tmp_path):
    return partial(settings, tmp_path)


def made(**splits):
    """A data set of lists of (image, label); each image is called split/row."""

    made_up = {name: [(noise(10**6 + row), SEA)] for row, name in enumerate(SPLITS)} | splits
    names = tuple(f"{name}/{row}" for name in SPLITS for row in range(len(made_up[name])))
    arrays = {
        name: (np.stack([image for image, _ in examples]), [label for _, label in examples])
        for name, examples in made_up.items()
    }
    return dataset_of(arrays, CLASSES, names)


def names(group):
    return [image["name"] for image in group["images"]]


# Exact duplicates


def test_groups_within_and_across_splits_and_with_conflicting_labels():
    a, b, c = noise(1), noise(2), noise(3)
    almost = a.copy()
    almost[7, 7, 2] ^= 1
    found = audit_dataset(
        made(
            train=[(a, SEA), (b, SEA), (c, SEA), (noise(4), SEA), (a, SEA), (almost, SEA)],
            validation=[(b, STREET), (noise(5), SEA)],
            test=[(noise(6), SEA), (c, SEA), (b, SEA)],
        )
    )["exact"]
    assert found["groups"] == 3
    assert found["images"] == 7  # a twice, b three times, c twice
    assert found["across_splits"] == 2
    assert found["conflicting_labels"] == 1
    # First what crosses splits and conflicts, then what crosses, then what is only repeated.
    assert [names(group) for group in found["examples"]] == [
        ["train/1", "validation/0", "test/2"],
        ["train/2", "test/1"],
        ["train/0", "train/4"],
    ]
    assert found["examples"][0]["images"][1] == {
        "split": "validation",
        "name": "validation/0",
        "label": "street",
    }


def test_a_conflict_within_train():
    found = audit_dataset(made(train=[(noise(1), SEA), (noise(1), STREET)]))["exact"]
    assert (found["groups"], found["across_splits"], found["conflicting_labels"]) == (1, 0, 1)


def test_no_duplicates():
    found = audit_dataset(made(train=[(noise(1), SEA), (noise(2), STREET)]))["exact"]
    assert found == {
        "groups": 0,
        "images": 0,
        "across_splits": 0,
        "conflicting_labels": 0,
        "examples": [],
    }


def test_examples_are_limited_and_counts_are_not():
    train = [(noise(seed), SEA) for seed in range(30) for _ in range(2)] + [(noise(99), SEA)] * 50
    found = audit_dataset(made(train=train, test=[(noise(99), SEA)]))["exact"]
    assert (found["groups"], found["images"]) == (31, 111)
    assert len(found["examples"]) == EXAMPLES == 20
    assert len(found["examples"][0]["images"]) == EXAMPLES


def test_memory_maps_are_read_block_by_block(tmp_path, monkeypatch):
    images = np.stack([noise(seed % 7, 16, 16) for seed in range(20)])
    np.save(tmp_path / "images.npy", images)
    monkeypatch.setattr(examples, "_BLOCK_BYTES", 3 * images[0].nbytes)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert content_groups(mapped).tolist() == [row % 7 for row in range(20)]
    backwards = np.arange(20)[::-1]
    np.testing.assert_array_equal(shrink(mapped, backwards), images[backwards])
    assert content_groups(mapped, backwards).tolist() == [row % 7 for row in range(20)]


def test_class_balance():
    dataset = made(
        train=[(noise(1), SEA), (noise(2), SEA), (noise(3), STREET), (noise(4), SEA)],
        test=[(noise(5), STREET)],
    )
    assert audit_dataset(dataset)["class_balance"] == {
        "train": {"sea": 0.75, "street": 0.25},
        "validation": {"sea": 1.0, "street": 0.0},
        "test": {"sea": 0.0, "street": 1.0},
    }


# Near duplicates


def landscape(seed, size=48):
    """u8[size,size,3], smooth and with contrast, as photographs are."""
    blocks = noise(seed, 6, 6)
    return np.asarray(Image.fromarray(blocks).resize((size, size), Image.Resampling.BICUBIC))


def scaled(image):
    small = Image.fromarray(image).resize([3 * side // 4 for side in image.shape[1::-1]])
    return np.asarray(small.resize(image.shape[1::-1], Image.Resampling.BICUBIC))


def compressed(image, quality=60):
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=quality)
    return np.asarray(Image.open(content))


def brightened(image):
    return np.clip(image * 1.1 + 10, 0, 255).astype(np.uint8)


def test_copies_compressed_again_or_brightened_are_found_across_splits():
    dataset = made(
        train=[(landscape(seed), SEA) for seed in range(20)],
        validation=[(compressed(landscape(3)), STREET)],
        test=[(brightened(landscape(3)), SEA), (landscape(50), SEA), (landscape(7), SEA)],
    )
    found = audit_dataset(dataset)
    assert found["near"]["threshold"] == 0.4
    pairs = {(pair["a"]["name"], pair["b"]["name"]) for pair in found["near"]["examples"]}
    assert pairs == {
        ("train/3", "test/0"),
        ("validation/0", "test/0"),
        ("train/3", "validation/0"),
    }
    assert found["near"]["pairs"] == 3
    distances = [pair["distance"] for pair in found["near"]["examples"]]
    assert distances == sorted(distances)
    assert 0 < max(distances) <= 0.4
    assert found["exact"]["examples"] == [
        {
            "images": [
                {"split": "train", "name": "train/7", "label": "sea"},
                {"split": "test", "name": "test/2", "label": "sea"},
            ]
        }
    ]


def test_within_a_split_nothing_is_near():
    dataset = made(train=[(landscape(1, 8), SEA), (compressed(landscape(1, 8)), SEA)])
    assert audit_dataset(dataset)["near"] == {"threshold": 0.4, "pairs": 0, "examples": []}


def test_flat_images_resemble_each_other_and_are_no_near_duplicates():
    """Like a sky, a little brighter on one side."""
    slope = np.tile(np.arange(48, dtype=np.uint8)[None, :, None] // 2, (48, 1, 3))
    dataset = made(
        train=[(slope + np.uint8(4 * row), SEA) for row in range(50)],
        validation=[(landscape(0), SEA)],
        test=[(slope + np.uint8(4 * row + 2), SEA) for row in range(50)],
    )
    assert audit_dataset(dataset)["near"]["pairs"] == 0


def test_images_that_differ_by_a_constant_are_no_near_duplicates_by_rounding():
    random = np.random.default_rng(0)
    pattern = random.integers(0, 100, (48, 48, 3), np.uint8)
    skies = [pattern + np.uint8(value) for value in range(150)]
    dataset = made(
        train=[(image, SEA) for image in skies[::2]],
        validation=[(landscape(0), SEA)],
        test=[(image, SEA) for image in skies[1::2]],
    )
    assert audit_dataset(dataset)["near"]["pairs"] == 0


def test_images_of_one_layout_are_told_apart_by_their_pixels():
    """As garments of one cut are: each is about as near to many others."""
    ramp = np.tile(np.arange(48, dtype=np.uint8)[None, :, None] * 5, (48, 1, 3))
    texture = np.random.default_rng(0).integers(-15, 16, (31, 6, 6)).repeat(8, 1).repeat(8, 2)
    worn = [np.clip(ramp + t[..., None], 0, 255).astype(np.uint8) for t in texture]
    train = [(image, SEA) for image in worn[:20]]
    test = [(image, SEA) for image in (*worn[20:], compressed(worn[0]))]
    dataset = made(train=train, validation=[(landscape(0), SEA)], test=test)
    found = audit_dataset(dataset)["near"]["examples"]
    assert [(pair["a"]["name"], pair["b"]["name"]) for pair in found] == [("train/0", "test/11")]


def test_digits_do_not_flood_the_audit(config):
    found = audit_dataset(load(config("digits")))
    assert found["exact"]["groups"] == 0
    assert found["near"]["pairs"] <= 3  # of 698,102 pairs of images across splits


@pytest.mark.parametrize("shape", [(64, 64, 3), (48, 27, 1), (9, 5, 3)])
def test_areas_that_cut_pixels_are_exact(shape):
    for value in (0, 1, 77, 255):
        images = np.full((1, *shape), value, np.uint8)
        pixels = shrink(images, np.arange(1))
        found = thumbnails(pixels, sample_of(pixels))
        assert np.unique(found.pixels) == value
        np.testing.assert_allclose(found.coarse, 0, atol=1e-6)
    ramp = np.tile(np.arange(0, 128, 2, dtype=np.uint8)[None, :, None], (64, 1, 1))[None]
    np.testing.assert_array_equal(shrink(ramp, np.arange(1))[0, 0, :, 0], np.arange(16) * 8 + 3)


@pytest.mark.parametrize("shape", [(48, 48, 3), (21, 13, 1)])
def test_pairs_are_those_of_comparing_all_with_all(monkeypatch, shape):
    monkeypatch.setattr(near_duplicates, "_ROWS", 7)
    monkeypatch.setattr(near_duplicates, "_COLUMNS", 11)
    random = np.random.default_rng(0)
    train = random.integers(0, 256, (40, *shape), np.uint8)
    mixed = train[:30] * random.uniform(0.5, 1, (30, 1, 1, 1)) + random.integers(
        0, 99, (30, *shape)
    )
    test = np.clip(mixed, 0, 255).astype(np.uint8)
    sample = shrink(train, np.arange(40))
    np.testing.assert_array_equal(sample_of(sample), sample)
    a, b = (thumbnails(shrink(x, np.arange(len(x))), sample) for x in (train, test))

    def centred(images):
        pixels = images.astype(np.float64) / 255
        return pixels - pixels.mean(axis=(1, 2), keepdims=True)

    small = [centred(x.pixels) for x in (a, b)]
    distances = np.sqrt(np.square(small[0][:, None] - small[1]).mean(axis=(2, 3, 4)))
    itself = np.sqrt(np.square(small[0][:, None] - small[0]).mean(axis=(2, 3, 4)))
    np.testing.assert_allclose(a.neighbour, np.sort(itself, axis=1)[:, 4], atol=1e-6)
    np.testing.assert_allclose(b.neighbour, np.sort(distances, axis=0)[4], atol=1e-6)
    ratios = distances / np.minimum.outer(a.neighbour, b.neighbour)
    expected = {tuple(pair): ratios[tuple(pair)] for pair in np.argwhere(ratios < 0.4)}
    found = {
        (i, j): ratio
        for part in similar_pairs(a, b, np.arange(40), 40 + np.arange(30))
        for i, j, ratio in zip(*part, strict=True)
    }
    assert 5 < len(expected) < 40
    assert found == pytest.approx(expected, rel=1e-3)


def test_large_sets_are_searched_in_seconds():
    random = np.random.default_rng(0)
    train = random.integers(0, 256, (20_000, 8, 8, 1), np.uint8)
    test = random.integers(0, 256, (5_000, 8, 8, 1), np.uint8)
    test[[10, 20, 4_999]] = np.clip(train[[19_999, 7, 300]] + 2.0, 0, 255).astype(np.uint8)

    validation = random.integers(0, 256, (1, 8, 8, 1), np.uint8)
    splits = {"train": train, "validation": validation, "test": test}
    dataset = dataset_of(
        {name: (images, np.zeros(len(images), np.int32)) for name, images in splits.items()},
        CLASSES,
        tuple(str(row) for images in splits.values() for row in range(len(images))),
    )
    begun = time.perf_counter()
    found = audit_dataset(dataset)
    assert time.perf_counter() - begun < 10  # comparing all with all takes minutes
    pairs = {(pair["a"]["name"], pair["b"]["name"]) for pair in found["near"]["examples"]}
    assert pairs == {("19999", "10"), ("7", "20"), ("300", "4999")}


# In a run directory


def stopped(settings, out):
    with pytest.raises(Interrupted):
        run_experiment(settings, out)


def test_a_run_holds_its_audit_and_makes_it_once(tmp_path, monkeypatch):
    def stop(*_):
        raise Interrupted

    monkeypatch.setattr(experiment, "train_autoencoders", stop)
    source = tiny.write_stripes(tmp_path / "stripes.npz")
    stopped(tiny.config(source), tmp_path / "run")
    first = read_json(tmp_path / "run" / "audit.json")
    dataset = load(tiny.config(source).data)
    assert first == audit_dataset(dataset)
    assert set(first["class_balance"]["train"]) == {"0", "1"}

    calls = []
    monkeypatch.setattr(
        experiment, "audit_dataset", lambda *arguments: calls.append(arguments) or {}
    )
    stopped(tiny.config(source), tmp_path / "run")
    assert calls == []
    write_json(tmp_path / "run" / "audit.json", first | {"fingerprint": "of other data"})
    stopped(tiny.config(source), tmp_path / "run")
    assert len(calls) == 1

    write_json(tmp_path / "run" / "checkpoints/autoencoder/job-0/job.json", {"trials": []})
    with pytest.raises(UserError, match=r"made with data\.duplicates = 'keep', not 'drop'"):
        run_experiment(tiny.config(source, data__duplicates="drop"), tmp_path / "run")


# Real photographs


def test_duplicates_among_photographs(photographs, tmp_path, config):
    """The files that have an equal among them, and some others, out of 10,899."""
    contents, plain = {}, Counter()
    with tarfile.open(photographs / "scenes.tar") as archive:
        for member in archive:
            if (file := archive.extractfile(member)) is not None:
                contents[member.name] = file.read()
    digests = {name: hashlib.sha256(content).digest() for name, content in contents.items()}
    copies = Counter(digests.values())
    equal = {frozenset(n for n in digests if digests[n] == d) for d in copies if copies[d] > 1}
    near = {
        ("train/street/5321.jpg", "test/street/20296.jpg"),
        ("train/buildings/1542.jpg", "test/buildings/21648.jpg"),
        ("train/mountain/7401.jpg", "test/mountain/20866.jpg"),
    }
    for name, content in contents.items():
        folder = name.rpartition("/")[0]
        plain[folder] += 1
        if copies[digests[name]] > 1 or any(name in pair for pair in near) or plain[folder] < 20:
            (tmp_path / "scenes" / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / "scenes" / name).write_bytes(content)
    dataset = load(config(f"folder:{tmp_path / 'scenes'}", image_size=64))
    found = audit_dataset(dataset)
    assert found["exact"]["groups"] == len(equal) == 9
    assert found["exact"]["conflicting_labels"] == 7
    groups = found["exact"]["examples"]
    assert {frozenset(names(group)) for group in groups} == equal
    with_test = [g for g in groups if {image["split"] for image in g["images"]} >= {"test"}]
    assert len(with_test) == 2
    pairs = {(pair["a"]["name"], pair["b"]["name"]) for pair in found["near"]["examples"]}
    trained = set(names_of(dataset, "train")) | set(names_of(dataset, "validation"))
    assert {pair for pair in near if pair[0] in trained} == near
    assert pairs >= near
    assert found["near"]["pairs"] <= 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("archive", "size", "pairs"), [("scenes.tar", 64, 24), ("cifar10.tar.gz", 32, 138)]
)
def test_copies_of_photographs_are_found_and_little_else(
    photographs, tmp_path, config, archive, size, pairs
):
    """The pairs of train and test were looked at: all in scenes, 40 in CIFAR-10; none was wrong."""
    with tarfile.open(photographs / archive) as file:
        file.extractall(tmp_path / "images", filter="data")
    dataset = load(config(f"folder:{tmp_path / 'images'}", image_size=size))
    images, train, test = dataset.images, dataset.splits["train"], dataset.splits["test"]
    small = [shrink(images, positions) for positions in (train, test)]
    sample = sample_of(small[0])
    a, b = (thumbnails(pixels, sample) for pixels in small)
    numbers = np.arange(len(train)), len(train) + np.arange(len(test))
    assert sum(len(rows) for rows, _, _ in similar_pairs(a, b, *numbers)) <= pairs
    chosen = images[test[:: len(test) // 500][:500]]
    originals = thumbnails(shrink(chosen, np.arange(500)), sample)
    for copy in (
        partial(compressed, quality=75),
        partial(compressed, quality=30),
        scaled,
        brightened,
    ):
        images = np.stack([copy(image) for image in chosen])
        copies = thumbnails(shrink(images, np.arange(500)), sample)
        found = similar_pairs(originals, copies, np.arange(500), 500 + np.arange(500))
        matched = sum(int((i == j).sum()) for i, j, _ in found)
        assert matched >= 495
