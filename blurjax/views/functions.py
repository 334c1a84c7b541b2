"""Views: pure functions from images to images of the same shape, that classifiers are trained and tested on.

A view is a function of its parameters, the images and their indices alone: it knows neither step nor epoch, so that
training through it is the same as training on its exported images. It returns 8-bit values (a blur in floats could be
undone), as floats. Augmentation comes after the view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from blurjax.config import VIEWS, resolve
from blurjax.engine import Array, Scalar, key
from blurjax.models import apply
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


class CodeRange(NamedTuple):
    """The range of each float of the code on the train split, which 8 bits are spread over."""

    low: Any
    """f32[D]."""
    high: Any
    """f32[D]."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Autoencoders:
    """The autoencoders of one trial: a model, and the variables of several networks of its kind."""

    variables: Any
    """[1+F,...], of the autoencoder trained on the whole train split, then of those trained without fold 0, 1, ...
    (F is 0 where no view in use needs them)."""
    model: nn.Module = field(metadata={"static": True})

    @property
    def num_folds(self) -> int:
        """F."""
        return jax.tree.leaves(self.variables)[0].shape[0] - 1

    def reconstruct(self, number: Scalar, images: Array, bottleneck: Scalar) -> Array:
        """Reconstructs images f32[B,H,W,C] with one of the networks; not clipped."""
        return apply(self.model, self._own(number), images, bottleneck)[0]

    def reconstruct_quantised(self, images: Array, bottleneck: Scalar, range: CodeRange) -> Array:
        """Reconstructs images f32[B,H,W,C] with the first network, from a code of 8 bits per float; not clipped."""
        own = self._own(0)
        code = quantise(apply(self.model, own, images, bottleneck, method="encode")[0], range)
        return apply(self.model, own, code, method="decode")[0]

    def _own(self, number: Scalar | int) -> Any:
        return jax.tree.map(lambda leaf: leaf[number], self.variables)


class ViewParameters(NamedTuple):
    """The parameters of one trial's views; None where no view in use needs them."""

    view: Any
    """i32, position in the table of views. Never batched: under vmap, a switch on a batched index runs every branch."""
    seed: Any
    """u32, the trial's."""
    bottleneck: Any
    """i32, floats of the code in use."""
    autoencoders: Autoencoders
    fold_of: Any = None
    """i32[N], the fold of every image."""
    blur: Matrices | None = None
    downsample: Matrices | None = None
    basis: Basis | None = None
    gain: Any = None
    """f32[R], of each radius of frequency."""
    code_range: CodeRange | None = None
    codec_images: Any = None
    """u8[Q,N,H,W,C], all images of the data set as each codec leaves them at each quality that a trial needs."""
    codec_rows: Any = None
    """i32[2], the trial's rows of these: jpeg, webp."""
    labels: Any = None
    """i32[N], the labels that classifiers are trained on; None: those of the data set."""


AXES = ViewParameters(
    view=None,
    seed=0,
    bottleneck=0,
    autoencoders=0,  # pyright: ignore[reportArgumentType]
    fold_of=None,
    blur=0,  # pyright: ignore[reportArgumentType]
    downsample=0,  # pyright: ignore[reportArgumentType]
    basis=None,
    gain=0,
    code_range=0,  # pyright: ignore[reportArgumentType]
    codec_images=None,
    codec_rows=0,
    labels=0,
)
"""Which parameters differ between trials (0) and which are shared (None), in the manner of `jax.vmap`."""


def eight_bit(images: Array) -> Array:
    """Clips to [0, 1] and rounds to multiples of 1/255."""
    return jnp.round(jnp.clip(images, 0.0, 1.0) * 255.0) / 255.0


def as_bytes(images: Array) -> Array:
    """Returns images in 8 bits as u8: nothing is lost, since their values are multiples of 1/255."""
    return jnp.round(images * 255.0).astype(jnp.uint8)


def original(parameters: ViewParameters, images: Array, indices: Array) -> Array:
    """Returns the images themselves."""
    del parameters, indices
    return images


def identity(parameters: ViewParameters, images: Array, indices: Array) -> Array:
    """Applies the clipping and rounding that every view ends with, which must change nothing."""
    del parameters, indices
    return eight_bit(images)


def reconstruction(parameters: ViewParameters, images: Array, indices: Array) -> Array:
    """Reconstructs images with an autoencoder of the trial.

    Views reconstruction: the one trained on the whole train split. crossfit: the one trained without the image's fold.
    infold: the one trained without the next fold, and so with the image. mixed: half of the images as in
    reconstruction, the other half as they are, decided by seed and index.

    One function for all four, since an autoencoder takes long to compile.
    """
    autoencoders, folds = parameters.autoencoders, parameters.autoencoders.num_folds
    by_fold = _is_view(parameters, "crossfit", "infold")
    chosen, first, last = jnp.zeros_like(indices), 0, 1
    if folds:
        next_fold = _is_view(parameters, "infold").astype(jnp.int32)
        of_fold = 1 + (parameters.fold_of[indices] + next_fold) % folds
        chosen = jnp.where(by_fold, of_fold, 0)
        first, last = jnp.where(by_fold, 1, 0), jnp.where(by_fold, 1 + folds, 1)

    def reconstruct(number: Array, result: Array) -> Array:
        own = autoencoders.reconstruct(number, images, parameters.bottleneck)
        return jnp.where((chosen == number)[:, None, None, None], own, result)

    result = eight_bit(jax.lax.fori_loop(first, last, reconstruct, images))
    coin = jax.vmap(lambda index: jax.random.bernoulli(key(parameters.seed, "mixed", index)))
    as_it_is = _is_view(parameters, "mixed") & ~coin(indices)
    return jnp.where(as_it_is[:, None, None, None], images, result)


def _is_view(parameters: ViewParameters, *names: str) -> Array:
    return jnp.stack([jnp.asarray(parameters.view == view_index(name)) for name in names]).any()


def blur(parameters: ViewParameters, images: Array, indices: Array) -> Array:
    """Applies the Gaussian blur that distorts as much as the trial's autoencoder."""
    del indices
    assert parameters.blur is not None
    return _linear(parameters.blur, images)


def downsample(parameters: ViewParameters, images: Array, indices: Array) -> Array:
    """Averages images to as many values as the code has floats, and enlarges them again."""
    del indices
    assert parameters.downsample is not None
    return _linear(parameters.downsample, images)


def _linear(matrices: Matrices, images: Array) -> Array:
    rows = jnp.einsum("ih,bhwc->biwc", matrices.rows, images, precision=EXACT)
    return eight_bit(jnp.einsum("jw,biwc->bijc", matrices.columns, rows, precision=EXACT))


def pca(parameters: ViewParameters, images: Array, indices: Array) -> Array:
    """Projects images on as many principal components of the train split as the code has floats."""
    del indices
    assert parameters.basis is not None
    mean, components = parameters.basis
    centred = images.reshape(images.shape[0], -1) - mean[None]
    scores = jnp.matmul(centred, components.T, precision=EXACT)
    in_use = jnp.arange(components.shape[0])[None] < parameters.bottleneck
    projected = jnp.matmul(jnp.where(in_use, scores, 0.0), components, precision=EXACT)
    return eight_bit(projected + mean[None]).reshape(images.shape)


def spectrum(parameters: ViewParameters, images: Array, indices: Array) -> Array:
    """Filters images so that their power spectrum falls as that of the autoencoder's reconstructions."""
    del indices
    return eight_bit(filter_radially(images, parameters.gain))


def quantised(parameters: ViewParameters, images: Array, indices: Array) -> Array:
    """Reconstructs images from codes of 8 bits per float, with the autoencoder trained on the whole train split."""
    del indices
    assert parameters.code_range is not None
    autoencoders, bottleneck = parameters.autoencoders, parameters.bottleneck
    return eight_bit(autoencoders.reconstruct_quantised(images, bottleneck, parameters.code_range))


def quantise(code: Array, code_range: CodeRange) -> Array:
    """Rounds floats to the nearest of 256 values, evenly spaced from the low to the high end of each one's range.

    Args:
      code: f32[B,D]; values outside their range are clipped.
      code_range: of each of the D floats; one whose ends are equal keeps that value.
    """
    low, step = code_range.low[None], (code_range.high - code_range.low)[None] / 255.0
    levels = jnp.round((code - low) / jnp.where(step > 0, step, 1.0))
    return low + jnp.clip(levels, 0.0, 255.0) * step


def compressed(parameters: ViewParameters, images: Array, indices: Array) -> Array:
    """Looks images up as JPEG or WebP leaves them, at the trial's quality."""
    del images
    row = parameters.codec_rows[_is_view(parameters, "webp").astype(jnp.int32)]
    return parameters.codec_images[row, indices].astype(jnp.float32) / 255.0


def view_index(name: str) -> int:
    """Returns the position of a view in the table, the `view` of ViewParameters."""
    return list(VIEWS).index(name)


def apply_view(
    parameters: ViewParameters,
    images: Array,
    indices: Array,
    *,
    in_use: Sequence[str],
    table: Sequence[str] | None = None,
) -> Array:
    """Applies the view that the parameters name.

    Args:
      parameters: of one trial.
      images: f32[B,H,W,C] in [0, 1], multiples of 1/255.
      indices: i32[B], positions of the images in the data set.
      in_use: names of the views that the parameters may name; no other is compiled.
      table: names of the views that are numbered; None: all.

    Returns:
      f32[B,H,W,C] in [0, 1], multiples of 1/255.
    """
    names = list(VIEWS) if table is None else table
    functions: list[Callable[..., Array]] = [resolve(VIEWS[name].function) for name in names]
    # Two functions at least, both of which may be asked for: otherwise XLA dissolves the switch in what follows, and
    # bits change with the views in use.
    used = [function for name, function in zip(names, functions, strict=True) if name in in_use]
    branches = list(dict.fromkeys([original, identity, *used]))
    branch_of = [branches.index(f) if f in branches else 0 for f in functions]
    which = jnp.asarray(np.array(branch_of))[parameters.view]
    return jax.lax.switch(which, branches, parameters, images, indices)
