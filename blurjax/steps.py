"""The steps of training and evaluation: pure functions, written for one trial. Nothing here knows of sweeps.

Keyword arguments (models, optimizers, settings) are closed over with `functools.partial` before a step is compiled.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from blurjax import image_quality, losses
from blurjax.models import forward
from blurjax.models.autoencoder import Autoencoder
from blurjax.models.classifier import Classifier
from blurjax.rng import key
from blurjax.train_state import MakeOptimizer, TrainState, apply_gradients
from blurjax.types import Array, Batch, Metrics, Params, Scalar
from blurjax.views import ViewParameters

ApplyView = Callable[[ViewParameters, Array, Array], Array]
"""(parameters, images f32[B,H,W,C], indices i32[B]) -> images."""


def autoencoder_train_step(
    state: TrainState,
    view_parameters: None,
    batch: Batch,
    *,
    model: Autoencoder,
    optimizer: MakeOptimizer,
) -> tuple[TrainState, Metrics]:
    """One step on the mean squared error of the (unclipped) reconstruction."""
    del view_parameters  # autoencoders see images as they are

    def loss_of(params: Params) -> Scalar:
        painted = forward(model, params, batch["image"], state.trial.bottleneck)
        return losses.masked_mean(losses.squared_error(painted, batch["image"]), batch["mask"])

    loss, grads = jax.value_and_grad(loss_of)(state.params)
    return apply_gradients(state, loss, grads, optimizer), {"loss": loss}


def classifier_train_step(
    state: TrainState,
    view_parameters: ViewParameters,
    batch: Batch,
    *,
    model: Classifier,
    view: ApplyView,
    optimizer: MakeOptimizer,
    flip: bool,
    shift: int,
) -> tuple[TrainState, Metrics]:
    """One step on the cross-entropy of the augmented view."""
    images = view(view_parameters, batch["image"], batch["index"])
    images = augment(images, state.trial.seed, state.step, flip=flip, shift=shift)
    told = view_parameters.labels
    labels = batch["label"] if told is None else told[batch["index"]]

    def loss_of(params: Params) -> Scalar:
        logits = forward(model, params, images)
        return losses.masked_mean(losses.cross_entropy(logits, labels), batch["mask"])

    loss, grads = jax.value_and_grad(loss_of)(state.params)
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


def augment(images: Array, seed: Scalar, step: Scalar, *, flip: bool, shift: int) -> Array:
    """Mirrors half of the images and shifts each by up to `shift` pixels, repeating the border.

    Args:
      images: f32[B,H,W,C].
      seed: u32 scalar.
      step: i32 scalar; (seed, step) decide the augmentation, the same in every view.
      flip: whether to mirror left to right.
      shift: largest shift in pixels, in both directions.
    """
    flip_key, shift_key = jax.random.split(key(seed, "augmentation", step))
    batch_size = images.shape[0]
    if flip:
        mirrored = jax.random.bernoulli(flip_key, shape=(batch_size, 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    if shift:
        offsets = jax.random.randint(shift_key, (batch_size, 2), 0, 2 * shift + 1)
        padded = jnp.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode="edge")
        images = jax.vmap(
            lambda image, offset: jax.lax.dynamic_slice(
                image, (offset[0], offset[1], 0), images.shape[1:]
            )
        )(padded, offsets)
    return images
