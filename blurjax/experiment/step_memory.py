"""How much device memory a training step takes, without compiling it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from blurjax.config.settings import fitted
from blurjax.engine import live_bytes
from blurjax.train.batches import gather_batch
from blurjax.train.state import Hyperparameters
from blurjax.views.functions import Autoencoders, ViewParameters, apply_view

if TYPE_CHECKING:
    from blurjax.experiment.networks import Networks

HYPERPARAMETER_DTYPES = (np.uint32, np.float32, np.float32, np.int32, np.int32)


def bytes_per_trial(networks: Networks) -> float:
    """Estimates the memory that each of several trials side by side takes, in the step that takes most.

    Of the views, the reconstruction takes most, and which of the trial's autoencoders makes it matters little.
    """
    rows = Hyperparameters(*(jax.ShapeDtypeStruct((2,), d) for d in HYPERPARAMETER_DTYPES))
    autoencoders = jax.eval_shape(jax.vmap(networks.autoencoder_init), rows)
    classifiers = jax.eval_shape(jax.vmap(networks.classifier_init), rows)
    variables = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((2, 1, *leaf.shape[1:]), leaf.dtype),
        autoencoders.variables,
    )
    views = ViewParameters(
        jax.ShapeDtypeStruct((), np.int32),
        rows.seed,
        rows.bottleneck,
        Autoencoders(variables, networks.autoencoder),
    )
    step = networks.classifier_step(partial(apply_view, in_use=("original", "reconstruction")))
    axes = ViewParameters(None, 0, 0, 0)  # pyright: ignore[reportArgumentType]
    config, shape = networks.config, networks.data.image_shape
    autoencoder = networks.autoencoder_step, None, autoencoders, None
    return max(
        _bytes_of(shape, fitted(config.autoencoder.batch_size), *autoencoder),
        _bytes_of(shape, fitted(config.classifier.batch_size), step, axes, classifiers, views),
    )


def _bytes_of(
    image_shape: tuple[int, ...],
    batch_size: int,
    step: Callable[..., Any],
    view_axes: Any,
    states: Any,
    views: Any,
) -> float:
    """Returns half of the memory of a step of two trials, with batches gathered from a resident data set."""
    image = jax.ShapeDtypeStruct((1, *image_shape), np.uint8)
    label = jax.ShapeDtypeStruct((1,), np.int32)
    data = {"image": image, "label": label, "index": label}
    positions = jax.ShapeDtypeStruct((2, batch_size), np.int32)
    rows = jax.ShapeDtypeStruct((2,), np.int32)
    batches = jax.eval_shape(jax.vmap(gather_batch, (None, None, 0)), data, positions, rows)
    return live_bytes(jax.vmap(step, (0, view_axes, 0)), states, views, batches) / 2
