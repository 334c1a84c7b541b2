"""How models are registered, built and applied: the one signature that all of them have.

A model is a flax module whose `__call__` takes images f32[B,H,W,C] in [0,1] (an autoencoder also the bottleneck) and
`train`, and returns logits f32[B,K] or images. It may have dropout and batch statistics, or any other collection of
variables. An autoencoder has methods `encode(images, bottleneck, *, train)` and `decode(code, *, train)`, too; where
its code is a map, its property `code_side`, the map's height and width, restricts bottlenecks to multiples of its
pixels.
A model may have a property `full_size_channels`, the channels of its activations at the images' size: with it, batches
are cut on CPU so that these stay in the cache. One that normalises parts of a batch, by statistics of their own, has a
method `images_together(batch_size)`, the number of images in each part: then batches are cut only between parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax

from blurjax.config.model_settings import AUTOENCODERS, CLASSIFIERS, ModelConfig, ModelSpec
from blurjax.config.registry import Registry, resolve
from blurjax.engine import Array, Key

Variables = Mapping[str, Any]
"""Collections of a model's variables: "params", and others such as "batch_stats"."""
KINDS: dict[str, Registry[ModelSpec]] = {"classifier": CLASSIFIERS, "autoencoder": AUTOENCODERS}


@dataclass(frozen=True)
class ModelContext:
    """The arguments that all models are built with, beside their own settings.

    Attributes:
      image_shape: (H, W, C) with H = W.
      num_classes: K, of a classifier.
      max_bottleneck: D, floats of an autoencoder's code as built.
      dtype: of activations; parameters and outputs are float32.
      lowering: of the convolutions (see `blurjax.models.layers.convolution`).
      rematerialize: whether to compute activations again for the gradient: less memory, slower.
    """

    image_shape: tuple[int, int, int]
    num_classes: int = 0
    max_bottleneck: int = 0
    dtype: Any = "float32"
    lowering: str = "auto"
    rematerialize: bool = False


def register(
    kind: Literal["classifier", "autoencoder"],
    settings: type[ModelConfig],
    build: Callable[[Any, ModelContext], nn.Module],
) -> None:
    """Makes a model known to settings by the name that its class of settings has.

    Args:
      kind: what it is.
      settings: a subclass of ModelConfig whose field `name` has the model's name as its default.
      build: (settings, context) -> the module.

    Raises:
      ValueError: another model of the kind has the name.
    """
    KINDS[kind].register(settings.model_fields["name"].default, ModelSpec(settings, build))


def build(
    kind: Literal["classifier", "autoencoder"], settings: ModelConfig, context: ModelContext
) -> nn.Module:
    """Builds the module that settings name."""
    return resolve(KINDS[kind][settings.name].build)(settings, context)


def images_together(model: nn.Module, batch_size: int) -> int:
    """Returns how many images of a batch follow each other in a part that is never cut."""
    return getattr(model, "images_together", lambda batch_size: 1)(batch_size)


def apply(
    model: nn.Module,
    variables: Variables,
    *inputs: Any,
    train: bool = False,
    key: Key | None = None,
    method: str | None = None,
) -> tuple[Array, dict[str, Any]]:
    """Applies a model.

    Args:
      model: any registered model.
      variables: its collections.
      *inputs: of the method, images first.
      train: whether dropout is on and batch statistics are those of the batch.
      key: for dropout; needed only where the model has some and train is True.
      method: name of the method; None: `__call__`.

    Returns:
      The output, and the collections other than "params" as they are after it.
    """
    state = {name: value for name, value in variables.items() if name != "params"}
    if not train:
        return model.apply(variables, *inputs, train=False, method=method), state  # pyright: ignore[reportReturnType]
    rngs = None if key is None else {"dropout": key}
    output, updated = model.apply(
        variables, *inputs, train=True, rngs=rngs, mutable=[*state], method=method
    )
    return output, jax.tree.map(lambda new, old: new.astype(old.dtype), dict(updated), state)
