"""Classifiers: convolutional, residual, of dense layers, linear, and an autoencoder's encoder with a head."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from blurjax.config.model_settings import Cnn, LinearClassifier, MlpClassifier, ResNet
from blurjax.engine import Array, Scalar
from blurjax.models.application import ModelContext, images_together
from blurjax.models.autoencoders import SMALLEST_MAP, he_uniform, lecun_uniform
from blurjax.models.layers import PIXEL_DEVIATION, Conv, convolution, max_pool_2x2
from blurjax.models.linear_code import cosines
from blurjax.models.normalization import GhostBatchNorm, ghost_batch

WHITENED_CHANNELS = 24
"""Of the first layer, for colour images (see `whitening_kernel`)."""
NEIGHBOURS_CORRELATION = 0.95
LEAST_VARIANCE = 5e-4
"""Added to variances of pixels in [0,1], so that noise is not enlarged (Jordan 2024)."""
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

    The first layer is fixed (see `whitening_kernel`). Each level is a convolution with max pooling and a residual
    convolution, both normalised by `GhostBatchNorm`; levels follow until the map is 4x4 or smaller.

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
        return max(self.width, WHITENED_CHANNELS)

    @nn.nowrap
    def images_together(self, batch_size: int) -> int:
        """Returns how many images of a batch are normalised together in training."""
        return ghost_batch(batch_size)

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Array:
        """Computes logits f32[B,K] of images f32[B,H,W,C] in [0,1]."""

        def normalized(x: Array) -> Array:
            return nn.gelu(GhostBatchNorm(self.dtype)(x, train=train))

        # In full precision: the smallest coefficients, enlarged forty times, are differences of nearly equal pixels.
        kernel = jnp.asarray(whitening_kernel(images.shape[3]))
        x = convolution(images - 0.5, kernel, lowering=self.lowering, precision="highest")
        x = nn.gelu(x).astype(self.dtype)
        level = 0
        while x.shape[1] > SMALLEST_MAP:
            features = self.width * min(2**level, 4)
            level += 1
            x = normalized(max_pool_2x2(self._conv(features, x)))
            x = x + normalized(self._conv(features, x))
        x = jnp.max(x, axis=(1, 2))
        logits = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=lecun_uniform)(x)
        return logits.astype(jnp.float32)

    def _conv(self, features: int, x: Array) -> Array:
        how: Any = {"dtype": self.dtype, "lowering": self.lowering}
        return Conv(features, use_bias=False, kernel_init=lecun_uniform, **how)(x)


def whitening_kernel(channels: int) -> np.ndarray:
    """Returns a kernel f32[3,3,C,8C] that makes of photographs' pixels features that are nearly uncorrelated.

    They are the 2x2 wavelets of Haar, of cosines over the channels, and their negatives, divided by the standard
    deviations that they have where neighbouring pixels, and channels, of photographs are correlated by 0.95: the five
    strongest of colour images have a variance of nearly 1, others less, down to those that are hardly more than noise.
    So a network need not learn to see faint structure (Page 2019).
    """
    pairs, colours = cosines(2, 2), cosines(channels, channels)
    features = np.einsum("ai,bj,dk->ijkabd", pairs, pairs, colours).reshape(2, 2, channels, -1)

    def variances(basis: np.ndarray) -> np.ndarray:
        distance = np.abs(np.subtract.outer(np.arange(len(basis)), np.arange(len(basis))))
        return np.einsum("ai,ij,aj->a", basis, NEIGHBOURS_CORRELATION**distance, basis)

    of_pairs, of_colours = variances(pairs), variances(colours)
    variance = PIXEL_DEVIATION**2 * np.einsum("a,b,d->abd", of_pairs, of_pairs, of_colours).ravel()
    features = features / np.sqrt(variance + LEAST_VARIANCE)
    kernel = np.concatenate([features, -features], axis=3)
    return np.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0))).astype(np.float32)


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

    @nn.nowrap
    def images_together(self, batch_size: int) -> int:
        """As many as of the autoencoder."""
        return images_together(self.encoder, batch_size)

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
