"""The steps of training and evaluation: pure functions, written for one trial. Nothing here knows of sweeps.

Keyword arguments (models, optimizers, settings) are closed over with `functools.partial` before a step is compiled.
`gradient` is `functools.partial(mean_gradient, ...)`: how a batch is gone through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from blurjax.engine.random import key
from blurjax.engine.types import Array, Batch, Metrics, Params, Scalar
from blurjax.models import forward
from blurjax.models.autoencoder import Autoencoder
from blurjax.models.classifier import Classifier
from blurjax.train import losses
from blurjax.train.state import MakeOptimizer, TrainState, apply_gradients
from blurjax.views import image_quality
from blurjax.views.functions import ViewParameters

ApplyView = Callable[[ViewParameters, Array, Array], Array]
"""(parameters, images f32[B,H,W,C], indices i32[B]) -> images."""
Gradient = Callable[[Callable[[Params, Any], Array], Params, Any, Array], tuple[Scalar, Params]]
"""(function of parameters and some examples -> their losses, parameters, examples, mask) -> mean loss, its gradient."""


def autoencoder_train_step(
    state: TrainState,
    view_parameters: None,
    batch: Batch,
    *,
    model: Autoencoder,
    optimizer: MakeOptimizer,
    gradient: Gradient,
) -> tuple[TrainState, Metrics]:
    """One step on the mean squared error of the (unclipped) reconstruction."""
    del view_parameters  # autoencoders see images as they are

    def losses_of(params: Params, images: Array) -> Array:
        painted = forward(model, params, images, state.trial.bottleneck)
        return losses.squared_error(painted, images)

    loss, grads = gradient(losses_of, state.params, batch["image"], batch["mask"])
    return apply_gradients(state, loss, grads, optimizer), {"loss": loss}


def classifier_train_step(
    state: TrainState,
    view_parameters: ViewParameters,
    batch: Batch,
    *,
    model: Classifier,
    view: ApplyView,
    optimizer: MakeOptimizer,
    gradient: Gradient,
    flip: bool,
    shift: int,
) -> tuple[TrainState, Metrics]:
    """One step on the cross-entropy of the augmented view."""
    drawn = draw_augmentation(
        state.trial.seed, state.step, len(batch["label"]), flip=flip, shift=shift
    )
    told = view_parameters.labels

    def losses_of(params: Params, examples: tuple[Batch, Augmentation]) -> Array:
        some, drawn = examples
        images = augment(view(view_parameters, some["image"], some["index"]), drawn, shift)
        labels = some["label"] if told is None else told[some["index"]]
        return losses.cross_entropy(forward(model, params, images), labels)

    loss, grads = gradient(losses_of, state.params, (batch, drawn), batch["mask"])
    return apply_gradients(state, loss, grads, optimizer), {"loss": loss}


def autoencoder_eval_step(
    params: Params, bottleneck: Scalar, batch: Batch, *, model: Autoencoder
) -> dict[str, Array]:
    """The loss f32[B] of each image, before rounding to 8 bits."""
    painted = forward(model, params, batch["image"], bottleneck)
    return {"loss": losses.squared_error(painted, batch["image"])}


def encode_step(
    params: Params, bottleneck: Scalar, batch: Batch, *, model: Autoencoder
) -> dict[str, Array]:
    """The code f32[B,D] of each image."""
    variables = {"params": params}
    return {"code": model.apply(variables, batch["image"], bottleneck, method="encode")}  # pyright: ignore[reportReturnType]


def view_quality_step(
    nothing: None, view_parameters: ViewParameters, batch: Batch, *, view: ApplyView
) -> dict[str, Array]:
    """What a view does to each image.

    Returns:
      "mse" and "ssim" f32[B] against the image itself, "laplacian_variance" f32[B] and "spectrum" f32[B,R] of the view.
    """
    del nothing
    images = view(view_parameters, batch["image"], batch["index"])
    # In whole numbers, so that the original differs from itself by nothing, whatever is computed twice.
    levels, original = jnp.round(images * 255.0), jnp.round(batch["image"] * 255.0)
    return {
        "mse": losses.squared_error(levels, original) / 255.0**2,
        "ssim": image_quality.ssim(images, batch["image"]),
        "laplacian_variance": image_quality.laplacian_variance(images),
        "spectrum": image_quality.radial_power_spectrum(images),
    }


def classifier_eval_step(
    params: Params,
    view_parameters: ViewParameters,
    batch: Batch,
    *,
    model: Classifier,
    view: ApplyView,
    keep_logits: bool,
) -> dict[str, Array]:
    """What the classifier says of a view of each image.

    Returns:
      "prediction" i32[B], "confidence" f32[B] (largest softmax probability), "loss" f32[B] (nats), and "logits"
      f32[B,K] where `keep_logits`.
    """
    images = view(view_parameters, batch["image"], batch["index"])
    logits = forward(model, params, images)
    outputs = {
        "prediction": jnp.argmax(logits, axis=-1).astype(jnp.int32),
        "confidence": jnp.max(jax.nn.softmax(logits), axis=-1),
        "loss": losses.cross_entropy(logits, batch["label"]),
    }
    return outputs | {"logits": logits} if keep_logits else outputs


class Augmentation(NamedTuple):
    """What happens to each image of a batch; None: nothing of the kind."""

    mirrored: Array | None
    """bool[B]."""
    offset: Array | None
    """i32[B,2], rows and columns of the image that lie before its window, shift: none."""


def draw_augmentation(
    seed: Scalar, step: Scalar, batch_size: int, *, flip: bool, shift: int
) -> Augmentation:
    """Draws what (seed, step) decide, the same in every view.

    Args:
      seed: u32 scalar.
      step: i32 scalar.
      batch_size: B.
      flip: whether to mirror half of the images left to right.
      shift: largest shift in pixels, in both directions.
    """
    flip_key, shift_key = jax.random.split(key(seed, "augmentation", step))
    return Augmentation(
        jax.random.bernoulli(flip_key, shape=(batch_size,)) if flip else None,
        jax.random.randint(shift_key, (batch_size, 2), 0, 2 * shift + 1) if shift else None,
    )


def augment(images: Array, drawn: Augmentation, shift: int) -> Array:
    """Mirrors and shifts images f32[B,H,W,C] as drawn, repeating the border."""
    if drawn.mirrored is not None:
        images = jnp.where(drawn.mirrored[:, None, None, None], images[:, :, ::-1], images)
    if drawn.offset is not None:
        padded = jnp.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode="edge")
        images = jax.vmap(
            lambda image, offset: jax.lax.dynamic_slice(
                image, (offset[0], offset[1], 0), images.shape[1:]
            )
        )(padded, drawn.offset)
    return images


def mean_gradient(
    losses_of: Callable[[Params, Any], Array],
    params: Params,
    examples: Any,
    mask: Array,
    *,
    microbatches: int,
) -> tuple[Scalar, Params]:
    """The mean of per-example losses and its gradient.

    Args:
      losses_of: (parameters, examples) -> losses f32[B] of any number of examples.
      params: what the gradient is of.
      examples: pytree of arrays [B,...].
      mask: bool[B], which examples count.
      microbatches: a divisor of B, the number of pieces that the batch is gone through in, one after another; their
        gradients are added. Equal results within rounding, less memory, and on CPU faster where a piece stays in the
        cache.
    """
    count = jnp.maximum(jnp.sum(mask), 1)

    @jax.value_and_grad
    def part(params: Params, piece: tuple[Any, Array]) -> Scalar:
        some, counted = piece
        return jnp.sum(jnp.where(counted, losses_of(params, some), 0.0)) / count

    if microbatches == 1:
        return part(params, (examples, mask))

    def cut(array: Array) -> Array:
        # Every microbatches-th example, so that the parts of a sharded axis stay where they are.
        return array.reshape(-1, microbatches, *array.shape[1:]).swapaxes(0, 1)

    def add(total: Any, piece: tuple[Any, Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, part(params, piece)), None

    zero = jax.tree.map(jnp.zeros_like, (jnp.float32(0), params))
    return jax.lax.scan(add, zero, jax.tree.map(cut, (examples, mask)))[0]
