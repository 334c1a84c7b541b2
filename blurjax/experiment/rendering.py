"""Images put into a train view once, before classifiers are trained on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from blurjax.config.settings import Config, fitted
from blurjax.config.trials import classifier_trials
from blurjax.data import Dataset
from blurjax.engine import DATA_AXIS, TRIAL_AXIS, Array, Scalar, per_trial
from blurjax.engine.mesh import Layout
from blurjax.runtime import Interrupted, processes
from blurjax.train.feed import Feed, ResidentFeed, batches_in_order, stream_capacity
from blurjax.views.functions import ViewParameters

if TYPE_CHECKING:
    from blurjax.experiment.programs import Programs


class Rendering(NamedTuple):
    """Which images are put into a view, in what pieces, and what they take."""

    config: Config
    dataset: Dataset
    layout: Layout
    most_steps: int
    """In one call of any program."""

    @property
    def positions(self) -> np.ndarray:
        """Of the images that classifiers are trained on, i32[S,B], in batches.

        A device has as many images of a batch as of another one in evaluation where it has the batch alone: the bits
        of a view do not depend on how many share it.
        """
        images = np.arange(self.dataset.splits["train"].max() + 1, dtype=np.int32)
        sharing = self.layout.mesh.shape.get(DATA_AXIS, 1)
        return batches_in_order(images, fitted(self.config.classifier.batch_size) * sharing)

    @property
    def bytes(self) -> int:
        """Of the images in their views, on each device."""
        return self._trials * self.positions.size * math.prod(self.dataset.image_shape)

    @property
    def fits(self) -> bool:
        """Whether `data.resident_limit` leaves room for them beside the originals."""
        room = self.config.data.resident_limit * 2**30 - self.dataset.images.nbytes
        return self.bytes <= room

    @property
    def capacity(self) -> int:
        """The most steps in one call, whose results are images of each classifier."""
        steps = min(self.most_steps, len(self.positions))
        images = fitted(self.config.classifier.batch_size) * self._trials
        return stream_capacity(self.dataset, steps, images)

    @property
    def _trials(self) -> int:
        """The most classifiers that a device trains on one view."""
        views = self.config.train_views
        trials = max(len(classifier_trials(self.config, view)) for view in views)
        return self.layout.padded(trials) // self.layout.mesh.shape[TRIAL_AXIS]


def training_feed(
    programs: Programs,
    parameters: ViewParameters,
    interrupted: Callable[[], bool] = lambda: False,
) -> Feed:
    """Returns the images that classifiers are trained on: with a `Programs.rendering`, each trial's in the view.

    Args:
      programs: of an experiment.
      parameters: of the view, of all trials.
      interrupted: asked after every chunk of images.

    Raises:
      Interrupted: where it says so.
    """
    rendering = programs.rendering
    if rendering is None:
        return programs.feed
    assert isinstance(programs.feed, ResidentFeed)
    order, steps = rendering.positions, rendering.capacity
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
