"""Augmentation: drawn from seed and step, alike in every view."""

import jax
import jax.numpy as jnp
import numpy as np

from blurjax.train.augmentation import augment, draw

COUNT = 64
IMAGES = jnp.round(jax.random.uniform(jax.random.key(1), (COUNT, 8, 8, 1)) * 255) / 255


def augmented(images, step, *, flip=False, shift=0):
    drawn = draw(jnp.uint32(0), jnp.int32(step), len(images), flip=flip, shift=shift)
    return augment(images, drawn, shift)


def test_augmentation_mirrors_and_shifts_alike_in_every_view():
    once = augmented(IMAGES, 5, flip=True)
    mirrored = np.array([not np.array_equal(a, b) for a, b in zip(once, IMAGES, strict=True)])
    np.testing.assert_array_equal(
        np.asarray(once)[mirrored], np.asarray(IMAGES)[mirrored][:, :, ::-1]
    )
    assert 0.3 < mirrored.mean() < 0.7
    of_view = augmented(1 - IMAGES, 5, flip=True)
    np.testing.assert_array_equal(of_view, 1 - once)
    later = augmented(IMAGES, 6, flip=True)
    assert (np.asarray(later) != np.asarray(once)).any()


def test_shift_moves_by_whole_pixels_and_repeats_the_border():
    columns = jnp.broadcast_to(jnp.arange(8.0)[None, None, :, None], (COUNT, 8, 8, 1))
    shifted = np.asarray(augmented(columns, 0, shift=2))[:, 0, :, 0]
    possible = {tuple(np.clip(np.arange(8) + offset, 0, 7)) for offset in range(-2, 3)}
    assert {tuple(row) for row in shifted} == possible
