"""data.drop_blurry: blurry images leave train, are counted, and stay in validation and test."""

from dataclasses import replace

import numpy as np
import photographs
import pytest
from tiny import config as tiny_config

from blurjax.config import override
from blurjax.config.settings import DataConfig
from blurjax.data import Dataset, audit_dataset
from blurjax.data import dataset as module
from blurjax.experiment import blurry_images, export_view, make_plan, run_experiment
from blurjax.experiment.fingerprints import identity_of
from blurjax.experiment.preparation import prepare
from blurjax.runtime import UserError

SPLITS = [*["train"] * 12, *["validation"] * 4, *["test"] * 4]
BLURRY = (1, 4, 5, 10, 13, 17)
LEFT = [0, 2, 3, 6, 7, 8, 9, 11]


def arrays(size=64):
    images = []
    for i in range(20):
        image = photographs.part(i % 12, size=size, shift=2 * i)
        images.append(np.asarray(photographs.blurred(image, 3) if i in BLURRY else image))
    return np.stack(images), np.arange(20) % 2


@pytest.fixture
def settings(tmp_path):
    def make(**changes):
        return tiny_config("digits", **{"data__cache_dir": tmp_path / "cache", **changes})

    return make


@pytest.fixture
def dataset():
    images, labels = arrays()
    return Dataset.from_arrays(images, labels, splits=SPLITS)


def test_blurry_images_leave_train_and_no_other_split(settings, dataset):
    _, found = prepare(settings(data__drop_blurry=0.5), dataset)
    train = found.splits["train"]
    assert [int(found.names[i]) for i in train] == LEFT
    np.testing.assert_array_equal(found.images[train], dataset.images[LEFT])
    np.testing.assert_array_equal(found.labels[train], dataset.labels[LEFT])
    for split in ("validation", "test"):
        np.testing.assert_array_equal(
            found.images[found.splits[split]], dataset.images[dataset.splits[split]]
        )
    assert len(found.images) == 16
    assert found.blurry == 4
    assert found.fingerprint != dataset.fingerprint


def test_it_is_counted_in_the_plan_and_the_audit(settings, dataset, tmp_path):
    config = settings(data__drop_blurry=0.5)
    config, found = prepare(config, dataset)
    sentence = "4 images were dropped from train as blurry (data.drop_blurry=0.5)."
    assert found.notes == (sentence,)
    assert f"note: {sentence}" in str(make_plan(config, found, tmp_path / "run"))
    assert audit_dataset(found)["blurry"] == 4
    assert audit_dataset(dataset)["blurry"] == 0


def test_by_default_nothing_is_rated(settings, dataset, monkeypatch):
    monkeypatch.setattr(blurry_images, "rate_images", None)
    _, found = prepare(settings(), dataset)
    assert found is dataset
    assert DataConfig().drop_blurry is None


def test_what_has_nothing_to_judge_stays(settings):
    images, labels = arrays()
    images[0] = 128
    _, found = prepare(
        settings(data__drop_blurry=0.5), Dataset.from_arrays(images, labels, splits=SPLITS)
    )
    assert [int(found.names[i]) for i in found.splits["train"]] == LEFT


def test_the_setting_is_part_of_a_runs_identity(settings):
    assert identity_of(settings(data__drop_blurry=0.9))["data.drop_blurry"] == 0.9


def test_a_data_set_is_rated_once(settings, dataset, monkeypatch):
    calls, rate_images = [], blurry_images.rate_images

    def count(images):
        calls.extend(images)
        return rate_images(images)

    monkeypatch.setattr(blurry_images, "rate_images", count)
    config = settings(data__drop_blurry=0.5)
    _, first = prepare(config, dataset)
    assert len(calls) == 12
    _, again = prepare(config, first)
    assert again is first
    _, cached = prepare(config, dataset)
    assert len(calls) == 12
    assert cached.fingerprint == first.fingerprint
    prepare(settings(data__drop_blurry=0.6), dataset)
    assert len(calls) == 12


def test_another_detector_rates_again(settings, dataset, monkeypatch, tmp_path):
    config = settings(data__drop_blurry=0.9)
    before = prepare(config, dataset)[1].blurry
    rate_images = blurry_images.rate_images

    def strict(images):
        return [replace(r, probability=float(r.probability > 0.5)) for r in rate_images(images)]

    (tmp_path / "other.safetensors").write_bytes(b"another")
    monkeypatch.setattr(blurry_images, "SHIPPED", tmp_path / "other.safetensors")
    monkeypatch.setattr(blurry_images, "rate_images", strict)
    assert prepare(config, dataset)[1].blurry == 4 >= before


def test_the_order_of_the_images_does_not_matter_for_what_is_dropped(settings):
    images, labels = arrays()
    order = np.random.default_rng(0).permutation(20)
    names = [str(i) for i in order]
    shuffled = Dataset.from_arrays(
        images[order], labels[order], splits=np.array(SPLITS)[order], names=names
    )
    _, found = prepare(settings(data__drop_blurry=0.5), shuffled)
    assert sorted(int(found.names[i]) for i in found.splits["train"]) == LEFT


def test_a_large_memory_map_is_not_copied(settings, dataset, tmp_path, monkeypatch):
    path = tmp_path / "images"
    path.write_bytes(np.ascontiguousarray(dataset.images).tobytes())
    mapped = np.memmap(path, np.uint8, mode="r", shape=dataset.images.shape)
    monkeypatch.setattr(module, "COPY_BYTES", 0)
    config = settings(data__drop_blurry=0.5, data__resident_limit=0)
    _, found = prepare(config, replace(dataset, images=mapped))
    assert found.images is mapped
    assert [int(found.names[i]) for i in found.splits["train"]] == LEFT
    assert found.splits["test"].tolist() == dataset.splits["test"].tolist()


def test_mistakes_are_named(settings, dataset):
    images, labels = arrays()
    small = Dataset.from_arrays(images[:, :31, :31], labels, splits=SPLITS)
    with pytest.raises(UserError, match=r"at least 32x32 pixels, and these have 31x31; raise"):
        prepare(settings(data__drop_blurry=0.5), small)
    one_class_is_blurry = np.array([int(i in BLURRY) for i in range(20)])
    dataset_of_blur = Dataset.from_arrays(images, one_class_is_blurry, splits=SPLITS)
    with pytest.raises(UserError, match=r"All training images of class 1 are blurry"):
        prepare(settings(data__drop_blurry=0.5), dataset_of_blur)
    _, dropped = prepare(settings(data__drop_blurry=0.5), dataset)
    with pytest.raises(UserError, match=r"made with data\.drop_blurry=0\.5; load it again"):
        prepare(settings(data__drop_blurry=0.4), dropped)
    with pytest.raises(UserError, match="drop_blurry"):
        settings(data__drop_blurry=1.5)


@pytest.mark.slow
def test_a_run_and_its_export_leave_them_out(settings, tmp_path):
    images, labels = arrays()
    np.savez(tmp_path / "photographs.npz", image=images, label=labels, split=SPLITS)
    config = settings(
        data__source=f"npz:{tmp_path / 'photographs.npz'}",
        data__drop_blurry=0.5,
        data__image_size=32,
        views__train=["original"],
        views__test=["original"],
        sweep__num_seeds=2,
        autoencoder__epochs=1,
        classifier__epochs=1,
    )
    results = run_experiment(config, tmp_path / "run")
    sizes = {name: sum(counts) for name, counts in results["dataset"]["class_counts"].items()}
    dropped = 12 - sizes["train"]
    assert (sizes["validation"], sizes["test"]) == (4, 4)
    assert dropped == results["audit"]["blurry"] > 0
    assert "training images were left out." in (tmp_path / "run/report.html").read_text()
    exported = export_view(tmp_path / "run", "original", tmp_path / "out.npz")
    with np.load(exported) as written:
        assert np.sum(written["split"] == "train") == sizes["train"]
    with pytest.raises(UserError, match=r"data\.drop_blurry = 0\.5, not None"):
        run_experiment(override(config, {"data.drop_blurry": None}), tmp_path / "run")
