"""The steps of training and evaluation: pure functions, written for one trial. Nothing here knows of sweeps.

Keyword arguments (models, optimizers, settings) are closed over with `functools.partial` before a step is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from blurjax.engine import Array, Key, Metrics, Params, Scalar, devices_sharing, key, own_part
from blurjax.models import apply
from blurjax.train import losses
from blurjax.train.augmentation import Augmentation, Drawn
from blurjax.train.batches import Batch
from blurjax.train.gradients import LossFunction, mean_gradient
from blurjax.train.state import TrainState
from blurjax.views import image_quality
from blurjax.views.functions import ViewParameters, as_bytes

ApplyView = Callable[[ViewParameters, Array, Array], Array]
"""(parameters, images f32[B,H,W,C], indices i32[B]) -> images."""
Update = Callable[[TrainState, Scalar, Params, dict[str, Any]], TrainState]
"""(state, loss, gradient, model state after the batch) -> the state after the step; see `state.update`."""
CompareWithLabels = Callable[[Array, Array], Array]
"""(logits f32[B,K], labels i32[B]) -> losses f32[B]."""


def autoencoder_train_step(
    state: TrainState,
    parameters: None,
    batch: Batch,
    *,
    model: nn.Module,
    update: Update,
    microbatches: int,
    together: int = 1,
    augmentation: Augmentation | None = None,
    loss: str = "mse",
    denoising: float = 0.0,
    beta: float = 0.0,
) -> tuple[TrainState, Metrics]:
    """Takes one step on a loss of the (unclipped) reconstruction.

    Args:
      state: of one trial.
      parameters: None: autoencoders are trained on images as they are.
      batch: images.
      model: the autoencoder.
      update: applies gradients.
      microbatches: pieces of the batch; see `mean_gradient`.
      together: images of a batch that no piece may cut.
      augmentation: of the images, drawn from (seed, step); None: they stay as they are.
      loss: name of one of `losses.RECONSTRUCTION_LOSSES`.
      denoising: standard deviation of the noise that is added to the images that the model is given, not to those that
        its output is compared with (Vincent et al. 2010); drawn from (seed, step).
      beta: weight of the divergence of the code, per value of the image, where the model is a VariationalAutoencoder;
        the noise in its code is drawn from (seed, step).
    """
    del parameters
    seed, images = state.hyperparameters.seed, batch["image"]
    if augmentation:
        drawn = augmentation.draw(seed, state.step, batch["index"], images.shape[1])
        images = augmentation.apply(images, drawn)

    def noise(stream: str, shape: tuple[int, ...]) -> Array:
        # Drawn for the whole batch, before it is cut into pieces.
        whole = (shape[0] * devices_sharing(), *shape[1:])
        return own_part(jax.random.normal(key(seed, stream, state.step), whole))

    in_images = noise("denoising", images.shape) if denoising else None
    in_code = noise("code", (len(images), model.max_bottleneck)) if beta else None

    def loss_fn(
        params: Params,
        model_state: dict[str, Any],
        examples: tuple[Array, Array | None, Array | None],
        key: Key,
    ) -> tuple[Array, dict[str, Any]]:
        images, in_images, in_code = examples
        given = images if in_images is None else images + denoising * in_images
        inputs, how = (given, state.hyperparameters.bottleneck), {"train": True, "key": key}
        variables, compare = {"params": params, **model_state}, losses.RECONSTRUCTION_LOSSES[loss]
        if in_code is None:
            output, model_state = apply(model, variables, *inputs, **how)
            return compare(output, images), model_state
        (output, divergence), model_state = apply(
            model, variables, *inputs, in_code, method="sample", **how
        )
        return compare(output, images) + beta * divergence / images[0].size, model_state

    examples = images, in_images, in_code
    return _step(state, examples, batch["mask"], loss_fn, update, microbatches, together)


def classifier_train_step(
    state: TrainState,
    parameters: ViewParameters,
    batch: Batch,
    *,
    model: nn.Module,
    view: ApplyView,
    augmentation: Augmentation,
    loss: CompareWithLabels,
    update: Update,
    microbatches: int,
    together: int = 1,
) -> tuple[TrainState, Metrics]:
    """Takes one step on the loss, such as the cross-entropy, of the augmented view."""
    seed, labels, size = state.hyperparameters.seed, parameters.labels, batch["image"].shape[1]
    drawn = augmentation.draw(seed, state.step, batch["index"], size)

    def loss_fn(
        params: Params,
        model_state: dict[str, Any],
        examples: tuple[Batch, Drawn],
        key: Key,
    ) -> tuple[Array, dict[str, Any]]:
        own, drawn = examples
        images = augmentation.apply(view(parameters, own["image"], own["index"]), drawn)
        variables = {"params": params, **model_state}
        logits, model_state = apply(model, variables, images, train=True, key=key)
        targets = own["label"] if labels is None else labels[own["index"]]
        return loss(logits, targets), model_state

    return _step(state, (batch, drawn), batch["mask"], loss_fn, update, microbatches, together)


def _step(
    state: TrainState,
    examples: Any,
    mask: Array,
    loss_fn: LossFunction,
    update: Update,
    microbatches: int,
    together: int,
) -> tuple[TrainState, Metrics]:
    dropout = key(state.hyperparameters.seed, "dropout", state.step)
    loss, grads, model_state = mean_gradient(
        loss_fn,
        state.params,
        state.model_state,
        examples,
        mask,
        dropout,
        microbatches=microbatches,
        together=together,
    )
    return update(state, loss, grads, model_state), {"loss": loss}


def autoencoder_eval_step(
    variables: Any, bottleneck: Scalar, batch: Batch, *, model: nn.Module
) -> dict[str, Array]:
    """Computes the loss f32[B] of each image, before rounding to 8 bits."""
    output, _ = apply(model, variables, batch["image"], bottleneck)
    return {"loss": losses.squared_error(output, batch["image"])}


def encode_step(
    variables: Any, bottleneck: Scalar, batch: Batch, *, model: nn.Module
) -> dict[str, Array]:
    """Computes the code f32[B,D] of each image."""
    return {"code": apply(model, variables, batch["image"], bottleneck, method="encode")[0]}


def classify(model: nn.Module, variables: Any, images: Array, *, mirror: bool) -> Array:
    """Returns the logits f32[B,K] of images f32[B,H,W,C], where `mirror` averaged with their mirror images'."""
    logits, _ = apply(model, variables, images)
    if mirror:
        logits = (logits + apply(model, variables, images[:, :, ::-1])[0]) / 2
    return logits


def classifier_eval_step(
    variables: Any,
    parameters: ViewParameters,
    batch: Batch,
    *,
    model: nn.Module,
    view: ApplyView,
    keep_logits: bool,
    mirror: bool,
) -> dict[str, Array]:
    """Classifies a view of each image.

    Returns:
      "prediction" i32[B], "confidence" f32[B] (largest softmax probability), "loss" f32[B] (nats), and "logits"
      f32[B,K] where `keep_logits`.
    """
    images = view(parameters, batch["image"], batch["index"])
    logits = classify(model, variables, images, mirror=mirror)
    outputs = {
        "prediction": jnp.argmax(logits, axis=-1).astype(jnp.int32),
        "confidence": jnp.max(jax.nn.softmax(logits), axis=-1),
        "loss": losses.cross_entropy(logits, batch["label"]),
    }
    return outputs | {"logits": logits} if keep_logits else outputs


def render_step(
    nothing: None, parameters: ViewParameters, batch: Batch, *, view: ApplyView
) -> dict[str, Array]:
    """Returns the view as "image" u8[B,H,W,C]."""
    del nothing
    return {"image": as_bytes(view(parameters, batch["image"], batch["index"]))}


def view_quality_step(
    nothing: None, parameters: ViewParameters, batch: Batch, *, view: ApplyView
) -> dict[str, Array]:
    """Measures what a view does to each image.

    Returns:
      "mse" and "ssim" f32[B] against the image itself, "laplacian_variance" f32[B] and "spectrum" f32[B,R] of the view,
      "off" f32[B], how far its values are at most from levels 0 .. 255.
    """
    del nothing
    images = view(parameters, batch["image"], batch["index"])
    # In whole numbers, so that the original differs from itself by nothing, whatever is computed twice.
    levels, original = jnp.round(images * 255.0), jnp.round(batch["image"] * 255.0)
    return {
        "off": jnp.abs(images * 255.0 - jnp.clip(levels, 0.0, 255.0)).max(axis=(1, 2, 3)),
        "mse": losses.squared_error(levels, original) / 255.0**2,
        "ssim": image_quality.ssim(images, batch["image"]),
        "laplacian_variance": image_quality.laplacian_variance(images),
        "spectrum": image_quality.radial_power_spectrum(images),
    }
