"""What data.duplicates=drop leaves out of train, and what it leaves alone."""

from functools import partial

import numpy as np
import pytest
from images import noise
from loading import names_of, refused, settings, sizes

from blurjax.config.settings import SPLITS
from blurjax.data.audit import audit_dataset
from blurjax.data.sources import load

CLASSES = ("sea", "street")
STREET = 1


@pytest.fixture
def config(tmp_path):
    return partial(settings, tmp_path)


def save(path, examples):
    """Writes (split, class name, image) as an npz file; returns the name of the data source."""
    split, label, image = zip(*examples, strict=True)
    np.savez(path, image=np.stack(image), label=np.array(label), split=np.array(split))
    return f"npz:{path}"


def others(count=6, first=100):
    """Different images of both classes in every split."""
    return [
        (split, CLASSES[seed % 2], noise(first + 100 * position + seed))
        for position, split in enumerate(SPLITS)
        for seed in range(count)
    ]


def test_the_train_copy_goes_and_the_others_stay(config, tmp_path):
    examples = [
        ("train", "sea", noise(1)),  # 0: a copy in test
        ("test", "sea", noise(1)),
        ("train", "sea", noise(2)),  # 2: a copy in validation, of another label
        ("validation", "street", noise(2)),
        ("train", "street", noise(3)),  # 4: the first of three
        ("train", "street", noise(3)),
        ("train", "street", noise(3)),
        ("train", "sea", noise(4)),  # 7: another label in train
        ("train", "street", noise(4)),
        ("validation", "sea", noise(5)),  # none of train's business
        ("test", "sea", noise(5)),
    ]
    source = save(tmp_path / "x.npz", [*examples, *others()])
    kept, dropped = load(config(source)), load(config(source, duplicates="drop"))
    gone = set(names_of(kept, "train")) - set(names_of(dropped, "train"))
    assert gone == {"0", "2", "5", "6", "7", "8"}
    for split in ("validation", "test"):
        assert names_of(kept, split) == names_of(dropped, split)
    assert (kept.dropped, dropped.dropped) == (0, 6)
    assert kept.notes == ()
    assert dropped.notes == (
        "6 duplicates were dropped from train: 2 with a copy in validation or test, "
        "2 with a copy of another label, 2 repeated in train.",
    )
    assert kept.fingerprint != dropped.fingerprint
    found = audit_dataset(dropped, "drop")
    assert (found["duplicates"], found["dropped"]) == ("drop", 6)
    assert found["fingerprint"] == dropped.fingerprint
    assert len(found["exact"]["examples"]) == 1
    assert [image["name"] for image in found["exact"]["examples"][0]["images"]] == ["9", "10"]


def test_dropping_where_nothing_is_repeated_changes_nothing(config, tmp_path):
    source = save(tmp_path / "x.npz", others())
    kept, dropped = load(config(source)), load(config(source, duplicates="drop"))
    assert kept.fingerprint == dropped.fingerprint
    assert (dropped.dropped, dropped.notes) == (0, ())


def test_splits_that_do_not_ship_are_drawn_as_if_nothing_were_dropped(config, tmp_path):
    examples = [("train", CLASSES[seed % 2], noise(seed % 40)) for seed in range(80)]
    source = save(tmp_path / "x.npz", examples)
    kept, dropped = load(config(source)), load(config(source, duplicates="drop"))
    for split in ("validation", "test"):
        assert names_of(kept, split) == names_of(dropped, split)
    in_other_splits = {
        int(name) % 40 for split in ("validation", "test") for name in names_of(kept, split)
    }
    stays = sorted(set(range(40)) - in_other_splits)
    assert [int(name) for name in names_of(dropped, "train")] == stays
    assert dropped.dropped == sizes(kept)["train"] - len(stays) > 0


def test_train_examples_are_taken_of_what_stays(config, tmp_path):
    repeated = [("train", "sea", noise(1))] * 20
    source = save(tmp_path / "x.npz", [*repeated, *others(20)])
    dataset = load(config(source, duplicates="drop", train_examples=21))
    assert sizes(dataset)["train"] == 21
    assert dataset.dropped == 19
    refused(
        config(source, duplicates="drop", train_examples=22),
        r"data\.train_examples is 22, but the train split has only 21 images",
    )


def test_a_class_that_would_lose_all_of_its_images_is_named(config, tmp_path):
    only = [("train", "street", noise(1)), ("train", "street", noise(2))]
    copies = [("test", "street", noise(1)), ("validation", "sea", noise(2))]
    rest = [example for example in others() if example[:2] != ("train", "street")]
    source = save(tmp_path / "x.npz", [*only, *copies, *rest])
    assert load(config(source)).class_counts["train"][STREET] == 2
    refused(
        config(source, duplicates="drop"),
        r"All training images of class street have duplicates and would be dropped",
    )
