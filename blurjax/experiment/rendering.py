"""Images put into a train view once, before classifiers are trained on them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import Sharding

from blurjax.engine import Array, Scalar, per_trial
from blurjax.experiment.programs import Programs
from blurjax.runtime import processes
from blurjax.train.feed import Feed, ResidentFeed
from blurjax.train.loop import Interrupted
from blurjax.views.functions import ViewParameters


def training_feed(
    programs: Programs,
    parameters: ViewParameters,
    interrupted: Callable[[], bool] = lambda: False,
) -> Feed:
    """Returns the images that classifiers are trained on: where `Programs.renders`, each trial's in the view.

    Args:
      programs: of an experiment.
      parameters: of the view, of all trials.
      interrupted: asked after every chunk of images.

    Raises:
      Interrupted: where it says so.
    """
    if not programs.renders:
        return programs.feed
    assert isinstance(programs.feed, ResidentFeed)
    order, steps = programs.to_render, programs.render_capacity
    sharding = per_trial(programs.layout.mesh)
    shape = len(parameters.seed), order.size, *programs.dataset.image_shape
    images = jnp.zeros(shape, jnp.uint8, device=sharding)
    for first in range(0, len(order), steps):
        (chunk,) = programs.feed.chunks(order[first : first + steps])
        arguments = chunk.data, chunk.positions, chunk.start, chunk.length
        part = programs.render_view(None, parameters, *arguments)["image"]
        images = _put(images, part, first * order.shape[1], chunk.length, sharding)
        jax.block_until_ready(images)
        if processes.any_process(interrupted())[0]:
            raise Interrupted
    return programs.feed.with_images(images)


@partial(jax.jit, donate_argnums=0, static_argnums=(3, 4))
def _put(images: Array, part: Array, first: Scalar, length: int, sharding: Sharding) -> Array:
    """Puts the first `length` batches of [T,S,B,H,W,C] among images [T,M,H,W,C], from `first` on."""
    flat = part[:, :length].reshape(len(part), -1, *part.shape[3:])
    images = jax.lax.dynamic_update_slice_in_dim(images, flat, first, axis=1)
    return jax.lax.with_sharding_constraint(images, sharding)
