"""Augmentation: drawn from seed and step, alike in every view."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blurjax.train.augmentation import Augmentation

COUNT = 64
IMAGES = jnp.round(jax.random.uniform(jax.random.key(1), (COUNT, 8, 8, 1)) * 255) / 255


def drawn(augmentation, step, indices, seed=0):
    return augmentation.draw(jnp.uint32(seed), jnp.int32(step), jnp.asarray(indices), 8)


def augmented(images, step, **kinds):
    augmentation = Augmentation(COUNT, **kinds)
    return augmentation.apply(images, drawn(augmentation, step, np.arange(len(images))))


def test_augmentation_mirrors_and_shifts_alike_in_every_view():
    once = augmented(IMAGES, 5, flip="random")
    mirrored = np.array([not np.array_equal(a, b) for a, b in zip(once, IMAGES, strict=True)])
    np.testing.assert_array_equal(
        np.asarray(once)[mirrored], np.asarray(IMAGES)[mirrored][:, :, ::-1]
    )
    assert 0.3 < mirrored.mean() < 0.7
    of_view = augmented(1 - IMAGES, 5, flip="random")
    np.testing.assert_array_equal(of_view, 1 - once)
    later = augmented(IMAGES, 6, flip="random")
    assert (np.asarray(later) != np.asarray(once)).any()


def test_shift_moves_by_whole_pixels_and_repeats_the_border():
    columns = jnp.broadcast_to(jnp.arange(8.0)[None, None, :, None], (COUNT, 8, 8, 1))
    shifted = np.asarray(augmented(columns, 0, shift=2))[:, 0, :, 0]
    possible = {tuple(np.clip(np.arange(8) + offset, 0, 7)) for offset in range(-2, 3)}
    assert {tuple(row) for row in shifted} == possible


@pytest.mark.parametrize("batch_size", [8, 5, 30])
def test_alternating_flips_mirror_each_image_every_second_time_that_it_is_seen(batch_size):
    """Also where a batch holds the end of one pass and the start of the next, or more than a pass."""
    num_train, passes = 20, 6
    rng, augmentation = np.random.default_rng(0), Augmentation(20, flip="alternating")
    stream = np.concatenate([rng.permutation(num_train) for _ in range(passes)])
    mirrored = [
        drawn(augmentation, step, indices).mirrored
        for step, indices in enumerate(stream.reshape(-1, batch_size))
    ]
    states = np.zeros((passes, num_train), bool)
    states[np.arange(passes).repeat(num_train), stream] = np.concatenate(mirrored)
    np.testing.assert_array_equal(states[1:], ~states[:-1])
    first = drawn(augmentation, 0, stream[:num_train]).mirrored
    np.testing.assert_array_equal(states[0, stream[:num_train]], first)


def test_the_first_flips_are_of_half_of_the_images_and_of_others_for_each_seed():
    augmentation, indices = Augmentation(1000, flip="alternating"), np.arange(1000)
    one, two = (drawn(augmentation, 0, indices, seed).mirrored for seed in (0, 1))
    assert one is not None
    assert two is not None
    assert 0.45 < one.mean() < 0.55
    assert 0.45 < (one != two).mean() < 0.55


@pytest.mark.parametrize("side", [3, 4])
def test_cutout_is_a_grey_square_around_any_pixel_cut_off_at_the_border(side):
    augmentation = Augmentation(1000, cutout=side)
    white, places = jnp.ones((1000, 8, 8, 3)), drawn(augmentation, 3, np.arange(1000))
    cut = np.asarray(augmentation.apply(white, places))
    expected = np.ones((1000, 8, 8, 3), np.float32)
    assert places.centre is not None
    for image, (row, column) in zip(expected, np.asarray(places.centre), strict=True):
        top, left = row - side // 2, column - side // 2
        image[max(top, 0) : top + side, max(left, 0) : left + side] = 0.5
    np.testing.assert_array_equal(cut, expected)
    assert {tuple(centre) for centre in np.asarray(places.centre)} == set(np.ndindex(8, 8))
    assert (cut[:, 4, 4, 0] == 0.5).mean() == pytest.approx(side**2 / 64, abs=0.04)


def test_one_kind_of_change_leaves_what_the_others_draw():
    alone = drawn(Augmentation(COUNT, flip="random", shift=2), 4, np.arange(COUNT))
    both = drawn(Augmentation(COUNT, flip="random", shift=2, cutout=3), 4, np.arange(COUNT))
    np.testing.assert_array_equal(alone.mirrored, both.mirrored)
    np.testing.assert_array_equal(alone.offset, both.offset)
