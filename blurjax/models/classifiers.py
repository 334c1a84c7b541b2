"""Classifiers: convolutional, residual, of dense layers, linear, and an autoencoder's encoder with a head."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from blurjax.config.model_settings import Cnn, LinearClassifier, MlpClassifier, ResNet
from blurjax.engine import Array, Scalar
from blurjax.models.application import ModelContext
from blurjax.models.autoencoders import SMALLEST_MAP, he_uniform, lecun_uniform
from blurjax.models.layers import PIXEL_DEVIATION, Conv, StandardizedConv, max_pool_2x2

STEM_CHANNELS = 32
RESIDUAL_SHARE = 0.3
"""Of a residual branch at the beginning."""
HEAD_UNITS = 128
"""Of the hidden layer between a code and logits."""


def build_cnn(settings: Cnn, context: ModelContext) -> CnnClassifier:
    """Builds the classifier `cnn`."""
    return CnnClassifier(
        num_classes=context.num_classes,
        width=settings.width,
        dense=settings.dense,
        dtype=jnp.dtype(context.dtype),
        lowering=context.lowering,
    )


def build_resnet(settings: ResNet, context: ModelContext) -> ResNetClassifier:
    """Builds the classifier `resnet`."""
    return ResNetClassifier(
        num_classes=context.num_classes,
        width=settings.width,
        dtype=jnp.dtype(context.dtype),
        lowering=context.lowering,
    )


def build_mlp(settings: MlpClassifier, context: ModelContext) -> DenseClassifier:
    """Builds the classifier `mlp`."""
    units = (settings.width,) * settings.depth
    return DenseClassifier(context.num_classes, units, jnp.dtype(context.dtype))


def build_linear(settings: LinearClassifier, context: ModelContext) -> DenseClassifier:
    """Builds the classifier `linear`."""
    del settings
    return DenseClassifier(context.num_classes, (), jnp.dtype(context.dtype))


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

    @property
    def full_size_channels(self) -> int:
        """Channels of the largest activations, which are as high and wide as the images."""
        return self.width

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


class ResNetClassifier(nn.Module):
    """A fast residual network in the manner of those that set records on CIFAR-10 (Page 2019; Jordan 2024).

    Each level is a convolution with max pooling and a residual convolution; levels follow until the map is 4x4 or
    smaller. Activations are not normalised: kernels are (see `StandardizedConv`), and residual branches begin small (De
    and Smith 2020, "Batch normalization biases residual blocks"). So the output for an image depends on that image
    alone, and results do not depend on how batches are cut or spread over devices.

    Attributes:
      num_classes: K.
      width: channels of the first level; they double per level up to 4 * width.
      dtype: of activations; parameters and logits are float32.
      lowering: of the convolutions.
    """

    num_classes: int
    width: int = 64
    dtype: Any = jnp.float32
    lowering: str = "auto"

    @property
    def full_size_channels(self) -> int:
        """Channels of the largest activations, which are as high and wide as the images."""
        return self.width

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Array:
        """Computes logits f32[B,K] of images f32[B,H,W,C] in [0,1]."""
        del train
        x = nn.gelu(self._conv(STEM_CHANNELS, (images - 0.5) / PIXEL_DEVIATION))
        level = 0
        while x.shape[1] > SMALLEST_MAP:
            features = self.width * min(2**level, 4)
            level += 1
            x = nn.gelu(max_pool_2x2(self._conv(features, x)))
            share = self.param(f"share_{level}", nn.initializers.constant(RESIDUAL_SHARE), ())
            x = x + share.astype(self.dtype) * nn.gelu(self._conv(features, x))
        x = jnp.max(x, axis=(1, 2))
        logits = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=lecun_uniform)(x)
        return logits.astype(jnp.float32)

    def _conv(self, features: int, x: Array) -> Array:
        return StandardizedConv(features, dtype=self.dtype, lowering=self.lowering)(x)


class DenseClassifier(nn.Module):
    """Dense layers with ReLU on the pixels; without a hidden layer, multinomial logistic regression.

    Attributes:
      num_classes: K.
      units: of each hidden layer.
      dtype: of activations; parameters and logits are float32.
    """

    num_classes: int
    units: tuple[int, ...] = ()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Array:
        """Computes logits f32[B,K] of images f32[B,H,W,C] in [0,1]."""
        del train
        x = (images - 0.5).reshape(len(images), -1)
        for units in self.units:
            x = nn.relu(nn.Dense(units, dtype=self.dtype, kernel_init=he_uniform)(x))
        logits = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=lecun_uniform)(x)
        return logits.astype(jnp.float32)


class EncoderClassifier(nn.Module):
    """An autoencoder's encoder, and a hidden dense layer with ReLU between its code and the logits.

    The number of floats of the code that are in use is one of its variables, so that it is applied like any other
    classifier.

    Attributes:
      num_classes: K.
      encoder: the autoencoder, of which only `encode` is called.
      frozen: whether the encoder computes as in evaluation, and no gradient reaches it.
      dtype: of the head's activations; parameters and logits are float32.
    """

    num_classes: int
    encoder: nn.Module
    frozen: bool = False
    dtype: Any = jnp.float32

    @property
    def full_size_channels(self) -> int | None:
        """That of the autoencoder, if it has it."""
        return getattr(self.encoder, "full_size_channels", None)

    @nn.compact
    def __call__(
        self, images: Array, bottleneck: Scalar | int = 0, *, train: bool = False
    ) -> Array:
        """Computes logits f32[B,K] of images f32[B,H,W,C] in [0,1].

        Args:
          images: as they are.
          bottleneck: floats of the code in use; read where variables are made, and kept among them.
          train: as for other models.
        """
        in_use = self.variable("code", "bottleneck", lambda: jnp.int32(bottleneck))
        code = self.encoder.encode(images, in_use.value, train=train and not self.frozen)
        code = jax.lax.stop_gradient(code) if self.frozen else code
        x = nn.Dense(HEAD_UNITS, dtype=self.dtype, kernel_init=he_uniform)(code)
        logits = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=lecun_uniform)(nn.relu(x))
        return logits.astype(jnp.float32)
