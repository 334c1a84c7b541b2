"""Reading ahead: batches come in the order asked for; TensorFlow stays away from accelerators and may be absent."""

import sys
import threading
import time

import numpy as np
import pytest

from blurjax.data.prefetch import read_batches, run_ahead
from blurjax.data.tfds_source import import_tensorflow
from blurjax.runtime.errors import UserError


def stored_images(path, count=50):
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    np.save(path, images)
    return np.load(path, mmap_mode="r")


def random_order(steps=7, batch_size=5, count=50):
    return np.random.default_rng(1).integers(0, count, (steps, batch_size))


def test_streams_exact_values_in_the_order_asked_for(tmp_path):
    images, order = stored_images(tmp_path / "images.npy"), random_order()
    chunks = list(read_batches(images, order, chunk=3))
    assert [len(chunk) for chunk in chunks] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(chunks), np.asarray(images)[order])
    assert chunks[0].dtype == np.uint8


def test_repeated_rows_come_back_repeated(tmp_path):
    images = stored_images(tmp_path / "images.npy")
    (chunk,) = read_batches(images, np.array([[4, 0, 4, 4]]), chunk=1)
    np.testing.assert_array_equal(chunk[0], images[[4, 0, 4, 4]])


def test_starts_at_any_step(tmp_path):
    images, order = stored_images(tmp_path / "images.npy"), random_order()
    whole = np.concatenate(list(read_batches(images, order, chunk=2)))
    rest = np.concatenate(list(read_batches(images, order[5:], chunk=2)))
    np.testing.assert_array_equal(rest, whole[5:])


def test_streams_an_array_in_memory_too():
    images = np.arange(10 * 64, dtype=np.uint8).reshape(10, 8, 8, 1)
    (chunk,) = read_batches(images, np.array([[9, 1], [0, 2]]), chunk=10)
    np.testing.assert_array_equal(chunk, images[[[9, 1], [0, 2]]])


def test_an_empty_order_streams_nothing():
    images = np.zeros((10, 8, 8, 1), np.uint8)
    assert list(read_batches(images, np.zeros((0, 4), np.int64), chunk=2)) == []


def test_reads_ahead_only_a_few_chunks():
    read = []

    class Watched(np.ndarray):
        def take(self, indices, **options):
            read.extend(np.asarray(indices).tolist())
            return np.asarray(self).take(indices, **options)

    images = np.zeros((1000, 8, 8, 1), np.uint8).view(Watched)
    chunks = read_batches(images, np.arange(1000).reshape(1000, 1), chunk=2)
    next(chunks)
    time.sleep(0.3)
    assert 2 <= len(read) < 100


def test_an_error_while_reading_is_raised_where_batches_are_used():
    images = np.zeros((10, 8, 8, 1), np.uint8)
    batches = read_batches(images, np.array([[0], [1], [10], [2]]), chunk=1)
    np.testing.assert_array_equal(next(batches), images[None, :1])
    next(batches)
    with pytest.raises(IndexError, match="10 is out of bounds"):
        next(batches)


def test_reading_ends_when_nobody_reads_on():
    begun = []

    def slowly(item):
        begun.append(item)
        time.sleep(0.02)
        return item

    before = threading.active_count()
    results = run_ahead(slowly, range(1000), ahead=50)
    assert [next(results), next(results)] == [0, 1]
    closing = time.perf_counter()
    results.close()
    assert time.perf_counter() - closing < 0.5
    assert threading.active_count() == before
    assert len(begun) < 60


def test_accelerators_are_hidden_from_tensorflow():
    tf = import_tensorflow()
    assert tf.config.get_visible_devices("GPU") == []
    assert tf.config.get_visible_devices("TPU") == []


def test_missing_tensorflow_is_said_with_what_works_without(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(UserError, match=r"install tensorflow-cpu .* npz:FILE works without"):
        import_tensorflow()
