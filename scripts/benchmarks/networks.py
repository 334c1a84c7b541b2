"""The networks of the workloads: their arithmetic, and plain flax modules with the same parameters as blurjax's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from blurjax.models.classifiers import whitening_kernel

BOTTLENECK = 128
RESIDUAL_CHANNELS = (64, 128, 256)

Layer = tuple[int, int, int]
"""(pixels of the output, inputs of each of its values, channels of the output)."""


@dataclass(frozen=True)
class Network:
    """A network that a workload trains."""

    title: str
    stage: str
    """Stage of blurjax: "classifier" or "autoencoder"."""
    image_size: int
    layers: Sequence[Layer]
    plain: Callable[[Any], nn.Module]
    """dtype of activations -> module."""
    loss: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    """(output, images, labels) -> scalar."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of blurjax, by dotted key, where the network is not its default."""

    def flop(self, batch_size: int) -> float:
        """Returns the floating-point operations of one training step, from the definition of the network.

        Every multiply-add counts as two; the gradients of kernels and of images count as many again, except the image
        gradient of the first layer, which is not needed. Only convolutions and dense layers count. (blurjax computes
        the convolutions after upsampling with 4/9 of the products; they are counted in full.)
        """
        forward = [2 * math.prod(layer) for layer in self.layers]
        return batch_size * (3 * sum(forward) - forward[0])


class PlainClassifier(nn.Module):
    """`blurjax.models.classifiers.CnnClassifier` at width 32, in flax's own layers."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Images f32[B,32,32,3] -> logits f32[B,10]."""
        x = images - 0.5
        for features in (32, 64, 128):
            x = nn.relu(nn.Conv(features, (3, 3), dtype=self.dtype)(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(128, dtype=self.dtype)(x))
        return nn.Dense(10, dtype=self.dtype)(x).astype(jnp.float32)


class PlainAutoencoder(nn.Module):
    """`blurjax.models.autoencoders.ConvAutoencoder` at width 32, in flax's own layers."""

    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Creates the layers, with the names that they have in blurjax."""
        self.encoder = [nn.Conv(n, (3, 3), dtype=self.dtype) for n in (32, 64, 128, 256)]
        self.to_code = nn.Dense(BOTTLENECK, dtype=self.dtype)
        self.from_code = nn.Dense(4 * 4 * 256, dtype=self.dtype)
        self.decoder = [nn.Conv(n, (3, 3), dtype=self.dtype) for n in (128, 64, 32)]
        self.to_image = nn.Conv(3, (3, 3), dtype=self.dtype)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Images f32[B,64,64,3] -> their reconstructions."""
        x = images - 0.5
        for conv in self.encoder:
            x = nn.avg_pool(nn.gelu(conv(x)), (2, 2), (2, 2))
        code = self.to_code(x.reshape(x.shape[0], -1)).astype(jnp.float32)
        x = nn.gelu(self.from_code(code)).reshape(-1, 4, 4, 256)
        for conv in self.decoder:
            x = nn.gelu(conv(_doubled(x)))
        return self.to_image(_doubled(x)).astype(jnp.float32) + 0.5


class PlainResNet(nn.Module):
    """`blurjax.models.classifiers.ResNetClassifier` at width 64, in flax's own layers, with statistics of the batch."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Images f32[B,32,32,3] -> logits f32[B,10]."""
        count = 0

        def normalized(x: jax.Array) -> jax.Array:
            nonlocal count
            name, count = f"GhostBatchNorm_{count}", count + 1
            return nn.gelu(nn.BatchNorm(False, dtype=self.dtype, name=name)(x))

        def conv(features: int, x: jax.Array) -> jax.Array:
            return nn.Conv(features, (3, 3), use_bias=False, dtype=self.dtype)(x)

        x = jax.lax.conv_general_dilated(
            images - 0.5,
            jnp.asarray(whitening_kernel(3)),
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = nn.gelu(x).astype(self.dtype)
        for features in RESIDUAL_CHANNELS:
            x = normalized(nn.max_pool(conv(features, x), (2, 2), (2, 2)))
            x = x + normalized(conv(features, x))
        return nn.Dense(10, dtype=self.dtype)(x.max((1, 2))).astype(jnp.float32)


def _doubled(images: jax.Array) -> jax.Array:
    return images.repeat(2, axis=1).repeat(2, axis=2)


def _cross_entropy(logits: jax.Array, images: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


CNN = Network(
    title="CNN, 32x32x3",
    stage="classifier",
    image_size=32,
    layers=(
        (32 * 32, 9 * 3, 32),
        (16 * 16, 9 * 32, 64),
        (8 * 8, 9 * 64, 128),
        (1, 4 * 4 * 128, 128),
        (1, 128, 10),
    ),
    plain=PlainClassifier,
    loss=_cross_entropy,
)
RESNET = Network(
    title="residual network, 32x32x3",
    stage="classifier",
    image_size=32,
    layers=(
        (32 * 32, 9 * 24, 64),
        (16 * 16, 9 * 64, 64),
        (16 * 16, 9 * 64, 128),
        (8 * 8, 9 * 128, 128),
        (8 * 8, 9 * 128, 256),
        (4 * 4, 9 * 256, 256),
        (1, 256, 10),
    ),
    plain=PlainResNet,
    loss=_cross_entropy,
    settings={"classifier.model": "resnet"},
)
AUTOENCODER = Network(
    title="convolutional autoencoder, 64x64x3",
    stage="autoencoder",
    image_size=64,
    layers=(
        (64 * 64, 9 * 3, 32),
        (32 * 32, 9 * 32, 64),
        (16 * 16, 9 * 64, 128),
        (8 * 8, 9 * 128, 256),
        (1, 4 * 4 * 256, BOTTLENECK),
        (1, BOTTLENECK, 4 * 4 * 256),
        (8 * 8, 9 * 256, 128),
        (16 * 16, 9 * 128, 64),
        (32 * 32, 9 * 64, 32),
        (64 * 64, 9 * 32, 3),
    ),
    plain=PlainAutoencoder,
    loss=lambda output, images, labels: ((output - images) ** 2).mean(),
)
