"""Images put into a train view once, before classifiers are trained on them."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from blurjax.config.settings import fitted
from blurjax.experiment.programs import Programs
from blurjax.runtime import processes
from blurjax.train.feed import Feed, ResidentFeed, batches_in_order
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
    every = np.arange(len(programs.dataset.labels), dtype=np.int32)
    order, parts = batches_in_order(every, fitted(programs.config.classifier.batch_size)), []
    for first in range(0, len(order), programs.render_capacity):
        (chunk,) = programs.feed.chunks(order[first : first + programs.render_capacity])
        arguments = chunk.data, chunk.positions, chunk.start, chunk.length
        images = programs.render_view(None, parameters, *arguments)["image"][:, : chunk.length]
        parts.append(jax.block_until_ready(images.reshape(len(images), -1, *images.shape[3:])))
        if processes.any_process(interrupted())[0]:
            raise Interrupted
    return programs.feed.with_images(jnp.concatenate(parts, axis=1))
