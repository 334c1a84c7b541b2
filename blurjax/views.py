"""Views: pure functions from images to images of the same shape, that classifiers are trained and tested on.

A view is a function of its parameters, the images and their indices alone: it knows neither step nor epoch, so that
training through it is the same as training on its exported images. It returns 8-bit values (a blur in floats could be
undone), as floats. Augmentation comes after the view.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from blurjax.models import forward
from blurjax.models.autoencoder import Autoencoder
from blurjax.rng import key
from blurjax.types import Array, Params


class ViewParameters(NamedTuple):
    """What the views of one trial are made with."""

    view: Any
    """i32, position in VIEWS. Never batched: under vmap, a switch on a batched index executes every branch."""
    seed: Any
    """u32, the trial's."""
    bottleneck: Any
    """i32, floats of the code in use."""
    autoencoder: Params
    """Parameters of the autoencoder trained on the whole train split."""


AXES = ViewParameters(view=None, seed=0, bottleneck=0, autoencoder=0)
"""Which parameters differ between trials (0) and which are shared (None), in the manner of `jax.vmap`."""


def eight_bit(images: Array) -> Array:
    """Clips to [0, 1] and rounds to multiples of 1/255."""
    return jnp.round(jnp.clip(images, 0.0, 1.0) * 255.0) / 255.0


def original(
    parameters: ViewParameters, images: Array, indices: Array, autoencoder: Autoencoder
) -> Array:
    """The image itself."""
    del parameters, indices, autoencoder
    return images


def reconstruction(
    parameters: ViewParameters, images: Array, indices: Array, autoencoder: Autoencoder
) -> Array:
    """The image as the trial's autoencoder paints it."""
    del indices
    painted = forward(autoencoder, parameters.autoencoder, images, parameters.bottleneck)
    return eight_bit(painted)


def mixed(
    parameters: ViewParameters, images: Array, indices: Array, autoencoder: Autoencoder
) -> Array:
    """Half of the images reconstructed, the other half as they are; which is which hangs on seed and index."""
    painted = reconstruction(parameters, images, indices, autoencoder)
    coin = jax.vmap(lambda index: jax.random.bernoulli(key(parameters.seed, "mixed", index)))
    return jnp.where(coin(indices)[:, None, None, None], painted, images)


View = Callable[[ViewParameters, Array, Array, Autoencoder], Array]
VIEWS: dict[str, View] = {"original": original, "reconstruction": reconstruction, "mixed": mixed}
NEEDS_CODE = frozenset({"reconstruction", "mixed"})
"""The views that depend on the trial's autoencoder or on the size of its code."""


def view_index(name: str) -> int:
    """Position of a view in VIEWS, the `view` of ViewParameters."""
    return list(VIEWS).index(name)


def apply_view(
    parameters: ViewParameters, images: Array, indices: Array, *, autoencoder: Autoencoder
) -> Array:
    """The view that the parameters name, of images f32[B,H,W,C] with indices i32[B]."""
    branches = [
        lambda parameters, images, indices, view=view: view(
            parameters, images, indices, autoencoder
        )
        for view in VIEWS.values()
    ]
    return jax.lax.switch(parameters.view, branches, parameters, images, indices)
