"""A plain convolutional classifier."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from blurjax.config.model_settings import Cnn
from blurjax.engine.types import Array
from blurjax.models.application import ModelContext
from blurjax.models.autoencoders import he_uniform, lecun_uniform
from blurjax.models.layers import Conv, max_pool_2x2


def build_cnn(settings: Cnn, context: ModelContext) -> CnnClassifier:
    """Builds the classifier `cnn`."""
    return CnnClassifier(
        num_classes=context.num_classes,
        width=settings.width,
        dense=settings.dense,
        dtype=jnp.dtype(context.dtype),
        lowering=context.lowering,
    )


class CnnClassifier(nn.Module):
    """3x3 convolutions with ReLU and 2x2 max pooling, one hidden dense layer, logits.

    Three levels up to 64x64 images, one more for every further doubling; a map of 2x2 is not pooled again.

    Attributes:
      num_classes: K.
      width: channels of the first level; they double per level up to 4 * width.
      dense: units of the hidden layer.
      dtype: of activations; parameters and logits are float32.
      lowering: of the convolutions.
    """

    num_classes: int
    width: int = 32
    dense: int = 128
    dtype: Any = jnp.float32
    lowering: str = "auto"

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Array:
        """Computes logits f32[B,K] of images f32[B,H,W,C] in [0,1]."""
        del train
        x = images - 0.5
        for level in range(max(3, math.ceil(math.log2(images.shape[1] / 8)))):
            features = self.width * min(2**level, 4)
            conv = Conv(features, dtype=self.dtype, lowering=self.lowering, kernel_init=he_uniform)
            x = nn.relu(conv(x))
            if x.shape[1] > 2:
                x = max_pool_2x2(x)
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(self.dense, dtype=self.dtype, kernel_init=he_uniform)(x))
        return nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=lecun_uniform)(x).astype(
            jnp.float32
        )
