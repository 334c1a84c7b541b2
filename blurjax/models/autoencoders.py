"""Autoencoders whose code can be narrowed without building another model: what lies beyond the bottleneck is zero."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from blurjax.config.model_settings import Conv as ConvConfig
from blurjax.config.model_settings import MlpAutoencoder as MlpConfig
from blurjax.engine import Array, Scalar
from blurjax.models.application import ModelContext
from blurjax.models.layers import Conv, average_pool_2x2

SMALLEST_MAP = 4
Layer = Callable[[Conv, Array], Array]
# Uniform, since drawing truncated normals takes seconds to compile.
he_uniform, lecun_uniform = nn.initializers.he_uniform(), nn.initializers.lecun_uniform()


def build_conv(settings: ConvConfig, context: ModelContext) -> ConvAutoencoder:
    """Builds the autoencoder `conv`."""
    return ConvAutoencoder(
        image_shape=context.image_shape,
        max_bottleneck=context.max_bottleneck,
        width=settings.width,
        dtype=jnp.dtype(context.dtype),
        lowering=context.lowering,
        rematerialize=context.rematerialize,
        code=settings.code,
    )


def build_mlp(settings: MlpConfig, context: ModelContext) -> MlpAutoencoder:
    """Builds the autoencoder `mlp`."""
    units = (settings.width,) * settings.depth
    dtype = jnp.dtype(context.dtype)
    return MlpAutoencoder(context.image_shape, context.max_bottleneck, units, dtype)


def map_sizes(image_size: int) -> list[int]:
    """Heights of the feature maps, from the image down: halved, rounding up, until at most 4."""
    sizes = [image_size]
    while sizes[-1] > SMALLEST_MAP:
        sizes.append(math.ceil(sizes[-1] / 2))
    return sizes


def in_use(code: Array, bottleneck: Scalar | int) -> Array:
    """Sets the floats of codes [B,D] from `bottleneck` on to zero."""
    kept = jnp.arange(code.shape[1]) < bottleneck
    return jnp.where(kept[None, :], code.astype(jnp.float32), 0.0)


def floats_of(code_map: Array) -> Array:
    """Lays a code [B,h,w,c] out as floats [B,c*h*w], channel after channel: a narrower code has fewer channels."""
    return code_map.transpose(0, 3, 1, 2).reshape(len(code_map), -1)


def map_of(code: Array, side: int) -> Array:
    """Undoes `floats_of`: [B,c*side*side] -> [B,side,side,c]."""
    return code.reshape(len(code), -1, side, side).transpose(0, 2, 3, 1)


def layer(function: Layer, rematerialize: bool) -> Layer:
    """Returns a function of one layer that, where asked for, computes its activations again for the gradient."""
    return nn.remat(function) if rematerialize else function


class ConvAutoencoder(nn.Module):
    """Image -> code -> image.

    Each level of the encoder is a 3x3 convolution, GELU and 2x2 average pooling; each level of the decoder doubles the
    map by repetition before its 3x3 convolution, so that no kernel overlaps itself unevenly (Odena et al. 2016,
    "Deconvolution and checkerboard artifacts").

    Attributes:
      image_shape: (H, W, C) with H = W.
      max_bottleneck: floats of the code as built.
      width: channels of the first level; they double per level up to 8 * width.
      dtype: of activations; parameters are float32.
      lowering: of the convolutions.
      rematerialize: whether to compute the activations within a level again for the gradient: less memory, slower.
      code: "vector", between dense layers, or "spatial": a map as high and wide as the encoder's last one, between
        convolutions, in floats as `floats_of` lays them out.
    """

    image_shape: tuple[int, int, int]
    max_bottleneck: int
    width: int = 32
    dtype: Any = jnp.float32
    lowering: str = "auto"
    rematerialize: bool = False
    code: str = "vector"

    @property
    def full_size_channels(self) -> int:
        """Channels of the largest activations, which are as high and wide as the images."""
        return self.width

    @property
    def code_side(self) -> int | None:
        """Height and width of a spatial code."""
        return map_sizes(self.image_shape[0])[-1] if self.code == "spatial" else None

    def setup(self) -> None:
        """Makes the layers."""
        levels = len(map_sizes(self.image_shape[0])) - 1
        channels = [self.width * min(2**level, 8) for level in range(levels)]
        self.encoder = [self._conv(features) for features in channels]
        if self.code_side:
            code_channels = self.max_bottleneck // self.code_side**2
            self.to_code = self._conv(code_channels, kernel_init=lecun_uniform)
            self.from_code = self._conv(channels[-1])
        else:
            self.to_code = self._dense(self.max_bottleneck, lecun_uniform)
            self.from_code = self._dense(SMALLEST_MAP**2 * channels[-1], he_uniform)
        self.decoder = [self._conv(features, upsample=True) for features in reversed(channels[:-1])]
        self.to_image = self._conv(self.image_shape[-1], upsample=True)

    def _dense(self, features: int, kernel_init: Any) -> nn.Dense:
        return nn.Dense(features, dtype=self.dtype, kernel_init=kernel_init)

    def _conv(
        self, features: int, *, kernel_init: Any = he_uniform, upsample: bool = False
    ) -> Conv:
        return Conv(
            features,
            dtype=self.dtype,
            lowering=self.lowering,
            kernel_init=kernel_init,
            upsample=upsample,
        )

    def encode(self, images: Array, bottleneck: Scalar | int, *, train: bool = False) -> Array:
        """Encodes images f32[B,H,W,C] in [0,1] into codes f32[B,D], zero from `bottleneck` on."""
        del train
        x = images - 0.5
        for conv in self.encoder:
            x = layer(_down, self.rematerialize)(conv, x)
        if self.code_side:
            return in_use(floats_of(self.to_code(x)), bottleneck)
        return in_use(self.to_code(x.reshape(x.shape[0], -1)), bottleneck)

    def decode(self, code: Array, *, train: bool = False) -> Array:
        """Decodes codes f32[B,D] into images f32[B,H,W,C], not clipped."""
        del train
        sizes = map_sizes(self.image_shape[0])[:-1]
        side = self.code_side or SMALLEST_MAP
        x = nn.gelu(self.from_code(map_of(code, side) if self.code_side else code))
        x = x.reshape(code.shape[0], side, side, -1)
        for conv, size in zip(self.decoder, sizes[:0:-1], strict=True):
            x = layer(activated, self.rematerialize)(conv, x)[:, :size, :size]
        image = self.to_image(x)[:, : sizes[0], : sizes[0]]
        return image.astype(jnp.float32) + 0.5

    def __call__(self, images: Array, bottleneck: Scalar | int, *, train: bool = False) -> Array:
        """Reconstructs images f32[B,H,W,C] in [0,1]; not clipped."""
        return self.decode(self.encode(images, bottleneck, train=train), train=train)


def _down(conv: Conv, x: Array) -> Array:
    return average_pool_2x2(activated(conv, x))


def activated(conv: Conv, x: Array) -> Array:
    """Convolves, then applies GELU."""
    return nn.gelu(conv(x))


class MlpAutoencoder(nn.Module):
    """Image -> code -> image, with dense layers and GELU on both sides.

    Attributes:
      image_shape: (H, W, C).
      max_bottleneck: D, floats of the code as built.
      units: of the hidden layers from the image to the code; those back have as many in reverse.
      dtype: of activations; parameters are float32.
    """

    image_shape: tuple[int, int, int]
    max_bottleneck: int
    units: tuple[int, ...] = (512, 512)
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the layers."""
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=he_uniform)
        self.encoder = [dense(units) for units in self.units]
        self.to_code = dense(self.max_bottleneck, kernel_init=lecun_uniform)
        self.decoder = [dense(units) for units in self.units[::-1]]
        self.to_image = dense(math.prod(self.image_shape), kernel_init=lecun_uniform)

    def encode(self, images: Array, bottleneck: Scalar | int, *, train: bool = False) -> Array:
        """Encodes images f32[B,H,W,C] in [0,1] into codes f32[B,D], zero from `bottleneck` on."""
        del train
        x = (images - 0.5).reshape(len(images), -1)
        for dense in self.encoder:
            x = nn.gelu(dense(x))
        return in_use(self.to_code(x), bottleneck)

    def decode(self, code: Array, *, train: bool = False) -> Array:
        """Decodes codes f32[B,D] into images f32[B,H,W,C], not clipped."""
        del train
        x = code
        for dense in self.decoder:
            x = nn.gelu(dense(x))
        image = self.to_image(x).reshape(-1, *self.image_shape)
        return image.astype(jnp.float32) + 0.5

    def __call__(self, images: Array, bottleneck: Scalar | int, *, train: bool = False) -> Array:
        """Reconstructs images f32[B,H,W,C] in [0,1]; not clipped."""
        return self.decode(self.encode(images, bottleneck, train=train), train=train)
