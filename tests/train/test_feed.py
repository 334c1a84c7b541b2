"""The order of the data: a pure function of (seed, t), every example once a pass, resident or streamed alike."""

import jax
import numpy as np
import pytest
from loading import dataset_of

from blurjax.engine import make_mesh, shared
from blurjax.train.batches import gather_batch
from blurjax.train.feed import (
    ResidentFeed,
    StreamedFeed,
    batches_in_order,
    epoch_order,
    members_by_fold,
    subset_order,
)

N, BATCH = 10, 4


def order(seed, epoch, *, members=0, table=None, lengths=None, steps=3):
    if table is None:
        table, lengths = members_by_fold(np.arange(N), None, 0)
    return np.asarray(
        epoch_order(
            seed, members, epoch, table, lengths, steps=steps, batch_size=BATCH, stream="test"
        )
    )


def stream_of(seed, epochs, **options):
    return np.concatenate([order(seed, epoch, **options).reshape(-1) for epoch in range(epochs)])


def test_every_pass_holds_every_example_once_whatever_the_batch_size():
    """12 images an epoch of 10: passes straddle epochs, and nothing is dropped or doubled."""
    stream = stream_of(0, 5)
    for start in range(0, 60, N):
        assert sorted(stream[start : start + N]) == list(range(N))


def test_passes_seeds_and_streams_differ():
    stream = stream_of(0, 5)
    passes = {tuple(stream[start : start + N]) for start in range(0, 60, N)}
    assert len(passes) == 6
    assert (stream_of(1, 5) != stream).any()


def test_steps_depend_on_seed_and_step_alone():
    np.testing.assert_array_equal(stream_of(3, 4, steps=3), stream_of(3, 2, steps=6))


def test_a_fold_trial_never_sees_its_fold_and_sees_the_rest_equally_often():
    fold_of = np.array([0, 1] * 5)
    table, lengths = members_by_fold(np.arange(N), fold_of, 2)
    stream = stream_of(0, 5, members=2, table=table, lengths=lengths)
    assert set(stream) == {0, 2, 4, 6, 8}
    assert set(np.bincount(stream)[::2]) == {12}


def test_folds_of_unequal_size_pass_through_all_of_theirs():
    table, lengths = members_by_fold(np.arange(N), np.array([0] * 4 + [1] * 3 + [2] * 3), 3)
    np.testing.assert_array_equal(lengths, [10, 6, 7, 7])
    stream = stream_of(0, 7, members=1, table=table, lengths=lengths)
    for start in range(0, 84, 6):
        assert sorted(stream[start : start + 6]) == [4, 5, 6, 7, 8, 9]


def subset_stream(seed, epochs, own, *, width=N, steps=3):
    padded = np.zeros(width, np.int32)
    padded[: len(own)] = own
    options = {"steps": steps, "batch_size": BATCH, "stream": "test"}
    orders = [
        subset_order(seed, padded, len(own), epoch, np.arange(N), **options)
        for epoch in range(epochs)
    ]
    return np.concatenate([np.asarray(order).reshape(-1) for order in orders])


@pytest.mark.parametrize("own", [[7], [2, 9], [9, 1, 4], [0, 1, 2, 3, 4, 5, 6]], ids=len)
def test_a_subset_is_passed_through_again_and_again(own):
    stream = subset_stream(0, 7, own)
    for start in range(0, 84 - len(own) + 1, len(own)):
        assert sorted(stream[start : start + len(own)]) == sorted(own)
    passes = {tuple(stream[start : start + len(own)]) for start in range(0, 84, len(own))}
    assert len(passes) == 1 if len(own) == 1 else len(passes) > len(own) / 2
    assert len(own) < 3 or (subset_stream(1, 7, own) != stream).any()


def test_a_subset_order_depends_on_seed_and_step_alone():
    own = [8, 3, 5]
    stream = subset_stream(3, 4, own)
    np.testing.assert_array_equal(stream, subset_stream(3, 2, own, steps=6))
    np.testing.assert_array_equal(stream, subset_stream(3, 4, own, width=4))  # beside others


def test_a_trial_of_the_whole_split_has_its_usual_order_beside_subsets():
    np.testing.assert_array_equal(subset_stream(3, 4, np.arange(N)), stream_of(3, 4))


def test_evaluation_order_pads_and_drops_nothing():
    np.testing.assert_array_equal(
        batches_in_order(np.arange(5), 4), [[0, 1, 2, 3], [4, -1, -1, -1]]
    )


@pytest.fixture
def dataset():
    rng = np.random.default_rng(0)

    def split(count):
        images = rng.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)
        return images, rng.integers(0, 2, count)

    return dataset_of({"train": split(N), "validation": split(5), "test": split(7)})


def batches(feed, order):
    for chunk in feed.chunks(order):
        for step in range(chunk.start, chunk.start + chunk.length):
            yield gather_batch(chunk.data, chunk.positions, step)


@pytest.mark.parametrize("first", [0, N, N + 5])
def test_streamed_batches_equal_resident_ones(dataset, first):
    sharding = shared(make_mesh(1, jax.devices()))
    rows = batches_in_order(np.random.default_rng(1).permutation(5).astype(np.int32) + first, 2)
    resident = batches(ResidentFeed(dataset, 2, sharding), rows)
    streamed = batches(StreamedFeed(dataset, 2, sharding), rows)
    for one, other in zip(resident, streamed, strict=True):
        kept = np.asarray(one["mask"])
        np.testing.assert_array_equal(kept, other["mask"])
        for name in ("image", "label", "index"):
            np.testing.assert_array_equal(
                np.asarray(one[name])[kept], np.asarray(other[name])[kept]
            )


def test_data_within_the_limit_is_resident(dataset):
    size = 22 * 64 / 2**30
    assert dataset.fits(size)
    assert not dataset.fits(size * 0.99)
