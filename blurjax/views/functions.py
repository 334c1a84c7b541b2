"""Views: pure functions from images to images of the same shape, that classifiers are trained and tested on.

A view is a function of its parameters, the images and their indices alone: it knows neither step nor epoch, so that
training through it is the same as training on its exported images. It returns 8-bit values (a blur in floats could be
undone), as floats. Augmentation comes after the view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from blurjax.engine.random import key
from blurjax.engine.types import Array, Params
from blurjax.models import forward
from blurjax.models.autoencoder import Autoencoder
from blurjax.views.image_quality import filter_radially

EXACT = jax.lax.Precision.HIGHEST
"""Of matrix products with pixels, which accelerators would round to bfloat16."""


class Matrices(NamedTuple):
    """A linear map of images that is a product of one for rows and one for columns."""

    rows: Any
    """f32[H,H]."""
    columns: Any
    """f32[W,W]."""


class Basis(NamedTuple):
    """Principal components of the train split."""

    mean: Any
    """f32[H*W*C]."""
    components: Any
    """f32[D,H*W*C], orthonormal, the largest variance first."""


class ViewParameters(NamedTuple):
    """What the views of one trial are made with; None where no view in use needs it."""

    view: Any
    """i32, position in VIEWS. Never batched: under vmap, a switch on a batched index executes every branch."""
    seed: Any
    """u32, the trial's."""
    bottleneck: Any
    """i32, floats of the code in use."""
    autoencoders: Params
    """[1+F,...], parameters of the autoencoder trained on the whole train split, then of those trained without fold
    0, 1, ... (F is 0 where no view in use needs them)."""
    fold_of: Any = None
    """i32[N], the fold of every image."""
    blur: Matrices | None = None
    downsample: Matrices | None = None
    basis: Basis | None = None
    gain: Any = None
    """f32[R], of each radius of frequency."""
    labels: Any = None
    """i32[N], what classifiers are told that the images are; None: the truth."""


AXES = ViewParameters(
    view=None,
    seed=0,
    bottleneck=0,
    autoencoders=0,
    fold_of=None,
    blur=0,  # pyright: ignore[reportArgumentType]
    downsample=0,  # pyright: ignore[reportArgumentType]
    basis=None,
    gain=0,
    labels=0,
)
"""Which parameters differ between trials (0) and which are shared (None), in the manner of `jax.vmap`."""


def eight_bit(images: Array) -> Array:
    """Clips to [0, 1] and rounds to multiples of 1/255."""
    return jnp.round(jnp.clip(images, 0.0, 1.0) * 255.0) / 255.0


View = Callable[[ViewParameters, Array, Array, Autoencoder], Array]


def original(
    parameters: ViewParameters, images: Array, indices: Array, autoencoder: Autoencoder
) -> Array:
    """The image itself."""
    del parameters, indices, autoencoder
    return images


def identity(
    parameters: ViewParameters, images: Array, indices: Array, autoencoder: Autoencoder
) -> Array:
    """The image after the clipping and rounding that every view ends with, which must change nothing."""
    del parameters, indices, autoencoder
    return eight_bit(images)


def painted(
    parameters: ViewParameters, images: Array, indices: Array, autoencoder: Autoencoder
) -> Array:
    """The image as an autoencoder of the trial paints it.

    reconstruction: the one trained on all of train. crossfit: the one trained without the image's fold. infold: the one
    trained without the next fold, and so with the image. mixed: half of the images as in reconstruction, the other half
    as they are; which is which hangs on seed and index.

    One function for all, since an autoencoder takes long to compile.
    """
    folds = jax.tree.leaves(parameters.autoencoders)[0].shape[0] - 1
    by_fold = _is_view(parameters, "crossfit", "infold")
    chosen, first, last = jnp.zeros_like(indices), 0, 1
    if folds:
        next_fold = _is_view(parameters, "infold").astype(jnp.int32)
        seen_or_not = 1 + (parameters.fold_of[indices] + next_fold) % folds
        chosen = jnp.where(by_fold, seen_or_not, 0)
        first, last = jnp.where(by_fold, 1, 0), jnp.where(by_fold, 1 + folds, 1)

    def paint(number: Array, result: Array) -> Array:
        params = jax.tree.map(lambda leaf: leaf[number], parameters.autoencoders)
        own = forward(autoencoder, params, images, parameters.bottleneck)
        return jnp.where((chosen == number)[:, None, None, None], own, result)

    result = eight_bit(jax.lax.fori_loop(first, last, paint, images))
    coin = jax.vmap(lambda index: jax.random.bernoulli(key(parameters.seed, "mixed", index)))
    as_it_is = _is_view(parameters, "mixed") & ~coin(indices)
    return jnp.where(as_it_is[:, None, None, None], images, result)


def _is_view(parameters: ViewParameters, *names: str) -> Array:
    return jnp.stack([jnp.asarray(parameters.view == view_index(name)) for name in names]).any()


def blur(
    parameters: ViewParameters, images: Array, indices: Array, autoencoder: Autoencoder
) -> Array:
    """The image under the Gaussian blur whose distortion is the trial's autoencoder's."""
    del indices, autoencoder
    assert parameters.blur is not None
    return _linear(parameters.blur, images)


def downsample(
    parameters: ViewParameters, images: Array, indices: Array, autoencoder: Autoencoder
) -> Array:
    """The image averaged to as many values as the code has floats, and enlarged again."""
    del indices, autoencoder
    assert parameters.downsample is not None
    return _linear(parameters.downsample, images)


def _linear(matrices: Matrices, images: Array) -> Array:
    rows = jnp.einsum("ih,bhwc->biwc", matrices.rows, images, precision=EXACT)
    return eight_bit(jnp.einsum("jw,biwc->bijc", matrices.columns, rows, precision=EXACT))


def pca(
    parameters: ViewParameters, images: Array, indices: Array, autoencoder: Autoencoder
) -> Array:
    """The image's projection on as many principal components of the train split as the code has floats."""
    del indices, autoencoder
    assert parameters.basis is not None
    mean, components = parameters.basis
    centred = images.reshape(images.shape[0], -1) - mean[None]
    scores = jnp.matmul(centred, components.T, precision=EXACT)
    in_use = jnp.arange(components.shape[0])[None] < parameters.bottleneck
    projected = jnp.matmul(jnp.where(in_use, scores, 0.0), components, precision=EXACT)
    return eight_bit(projected + mean[None]).reshape(images.shape)


def spectrum(
    parameters: ViewParameters, images: Array, indices: Array, autoencoder: Autoencoder
) -> Array:
    """The image filtered so that its power spectrum falls as the autoencoder's reconstructions' does."""
    del indices, autoencoder
    return eight_bit(filter_radially(images, parameters.gain))


VIEWS: dict[str, View] = {
    "original": original,
    "reconstruction": painted,
    "crossfit": painted,
    "infold": painted,
    "mixed": painted,
    "blur": blur,
    "pca": pca,
    "downsample": downsample,
    "spectrum": spectrum,
    "identity": identity,
    "reseeded": original,  # with another seed
    "shuffled": original,  # with other labels
}


def view_index(name: str) -> int:
    """Position of a view in VIEWS, the `view` of ViewParameters."""
    return list(VIEWS).index(name)


def apply_view(
    parameters: ViewParameters,
    images: Array,
    indices: Array,
    *,
    in_use: Sequence[str],
    autoencoder: Autoencoder,
) -> Array:
    """The view that the parameters name, of images.

    Args:
      parameters: of one trial.
      images: f32[B,H,W,C] in [0, 1], multiples of 1/255.
      indices: i32[B], positions of the images among all of the data set's.
      in_use: names of the views that may be asked for; no other is compiled.
      autoencoder: the model.
    """
    # Two functions at least: a switch of one would dissolve in what follows, and bits change with the views in use.
    functions = list(dict.fromkeys([original, identity, *(VIEWS[name] for name in in_use)]))
    function_of = np.array([functions.index(f) if f in functions else 0 for f in VIEWS.values()])
    branches = [
        lambda parameters, images, indices, function=function: function(
            parameters, images, indices, autoencoder
        )
        for function in functions
    ]
    which = jnp.asarray(function_of)[parameters.view]
    return jax.lax.switch(which, branches, parameters, images, indices)
