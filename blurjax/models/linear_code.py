"""Linear autoencoders in a basis of cosines, and the corrections to them that convolutions learn."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from blurjax.config.model_settings import LinearAutoencoder as LinearConfig
from blurjax.config.model_settings import ResidualAutoencoder as ResidualConfig
from blurjax.engine import Array, Scalar
from blurjax.models.application import ModelContext
from blurjax.models.autoencoders import (
    activated,
    floats_of,
    he_uniform,
    in_use,
    layer,
    map_of,
    map_sizes,
)
from blurjax.models.layers import PIXEL_DEVIATION, Conv, average_pool_2x2

MOST_FREQUENCIES = 32
"""Along each axis, unless the code is so wide that it needs more."""
# Brightness, then two differences of colour: their amplitudes are nearly independent in photographs.
OPPONENT_COLOURS = ((1.0, 1.0, 1.0), (1.0, -1.0, 0.0), (1.0, 1.0, -2.0))
# At frequency f their standard deviations are about H * amplitude / (1 + f)^1.5, where the image is H pixels high.
# Measured on scenes at 32 and 64 pixels and on CIFAR-10, f from 1 to 16: amplitudes of 0.33-0.47, 0.03-0.06, 0.03-0.09.
AMPLITUDES = {1: (0.35,), 3: (0.35, 0.05, 0.08)}
BLOCKS = 2
"""Of residual convolutions in a decoder."""
BRANCH = 0.3
"""What the branch of a block is multiplied by."""
DAMPING = 0.1
"""Of changes of the linear maps (see `Change`)."""


def build_linear(settings: LinearConfig, context: ModelContext) -> LinearAutoencoder:
    """Builds the autoencoder `linear`."""
    del settings
    return LinearAutoencoder(context.image_shape, context.max_bottleneck)


def build_residual(settings: ResidualConfig, context: ModelContext) -> ResidualAutoencoder:
    """Builds the autoencoder `residual`."""
    return ResidualAutoencoder(
        image_shape=context.image_shape,
        max_bottleneck=context.max_bottleneck,
        width=settings.width,
        dtype=jnp.dtype(context.dtype),
        lowering=context.lowering,
        rematerialize=context.rematerialize,
        code=settings.code,
    )


def cosines(count: int, size: int) -> np.ndarray:
    """Returns the `count` lowest frequencies of the orthonormal cosine transform (DCT-II) of `size` values.

    Returns:
      f32[count,size].
    """
    frequencies, positions = np.arange(count)[:, None], np.arange(size)[None, :]
    basis = np.cos(np.pi * frequencies * (2 * positions + 1) / (2 * size)) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis.astype(np.float32)


class Change(nn.Module):
    """What a linear map learns to add to what it was at the beginning: a dense layer, damped.

    One step of Adam changes every entry of a kernel by the learning rate, which would soon drown the entries that the
    map begins with.

    Attributes:
      features: outputs.
    """

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Computes [B,I] -> [B,features], 0 at the beginning."""
        zeros = nn.initializers.zeros
        kernel = self.param("kernel", zeros, (x.shape[1], self.features))
        bias = self.param("bias", zeros, (self.features,))
        return DAMPING * (x @ kernel + bias[None])


class LinearAutoencoder(nn.Module):
    """Image -> code -> image, both linear.

    It begins as the cosine transform of the image, of which the floats of the code are the coefficients that have the
    largest variance in photographs: nearly their principal components (Ahmed, Natarajan and Rao 1974). Images that the
    first floats show stay as they are where later floats are set to zero. Training leads to the principal subspace of
    the data (Baldi and Hornik 1989). The coefficients are divided by the standard deviations that they have in
    photographs, so that the floats of the code are alike in size.

    Attributes:
      image_shape: (H, W, C) with H = W and C 1 or 3.
      max_bottleneck: D, floats of the code as built.
    """

    image_shape: tuple[int, int, int]
    max_bottleneck: int

    def setup(self) -> None:
        """Makes the basis and the two layers."""
        size, _, channels = self.image_shape
        needed = 2 * math.ceil(math.sqrt(self.max_bottleneck / channels))
        count = min(size, max(MOST_FREQUENCIES, needed))
        self.basis = cosines(count, size)
        colours = np.array(OPPONENT_COLOURS if channels == 3 else [[1.0]], np.float32)
        self.colours = colours / np.linalg.norm(colours, axis=1, keepdims=True)
        frequency = np.hypot(*np.meshgrid(np.arange(count), np.arange(count)))[:, :, None]
        deviations = size * np.array(AMPLITUDES[channels]) / (1 + frequency) ** 1.5
        self.deviations = deviations.astype(np.float32)
        largest_first = np.argsort(-deviations.reshape(-1), kind="stable")
        self.chosen = largest_first[: self.max_bottleneck]
        self.to_code, self.from_code = Change(self.max_bottleneck), Change(deviations.size)

    def encode(self, images: Array, bottleneck: Scalar | int, *, train: bool = False) -> Array:
        """Encodes images f32[B,H,W,C] in [0,1] into codes f32[B,D], zero from `bottleneck` on."""
        del train
        coefficients = self.coefficients(images)
        beyond = ((0, 0), (0, self.max_bottleneck - len(self.chosen)))
        code = jnp.pad(coefficients[:, self.chosen], beyond) + self.to_code(coefficients)
        return in_use(code, bottleneck)

    def decode(self, code: Array, *, train: bool = False) -> Array:
        """Decodes codes f32[B,D] into images f32[B,H,W,C], not clipped."""
        del train
        scaled = self.from_code(code).at[:, self.chosen].add(code[:, : len(self.chosen)])
        scaled = scaled.reshape(-1, *self.deviations.shape) * self.deviations[None]
        colours, basis = self.colours, self.basis
        return jnp.einsum("uh,vw,buvk,kc->bhwc", basis, basis, scaled, colours) + 0.5

    def coefficients(self, images: Array) -> Array:
        """Computes the scaled coefficients f32[B,n] of images f32[B,H,W,C]."""
        basis, colours = self.basis, self.colours
        transformed = jnp.einsum("uh,vw,bhwc,kc->buvk", basis, basis, images - 0.5, colours)
        return (transformed / self.deviations[None]).reshape(len(images), -1)

    def __call__(self, images: Array, bottleneck: Scalar | int, *, train: bool = False) -> Array:
        """Reconstructs images f32[B,H,W,C] in [0,1]; not clipped."""
        return self.decode(self.encode(images, bottleneck, train=train), train=train)


class BlockwiseLinearAutoencoder(nn.Module):
    """Image -> map -> image: each pixel of the map is the linear code of one square block of the image.

    It begins as the cosine transform of JPEG (Wallace 1992), with larger blocks, of which every block keeps as many of
    the coefficients that have the largest variance in photographs as the map has channels.

    Attributes:
      image_shape: (H, W, C) with H = W and C 1 or 3.
      max_bottleneck: D, floats of the code as built: a multiple of the map's pixels.
    """

    image_shape: tuple[int, int, int]
    max_bottleneck: int

    def setup(self) -> None:
        """Makes the autoencoder of a block."""
        size, _, channels = self.image_shape
        sizes = map_sizes(size)
        self.side, self.block = sizes[-1], 2 ** (len(sizes) - 1)
        shape = (self.block, self.block, channels)
        self.of_block = LinearAutoencoder(shape, self.max_bottleneck // self.side**2)

    def encode(self, images: Array, bottleneck: Scalar | int, *, train: bool = False) -> Array:
        """Encodes images f32[B,H,W,C] in [0,1] into codes f32[B,D], zero from `bottleneck` on."""
        size, side, block = self.image_shape[0], self.side, self.block
        over = (0, side * block - size)
        x = jnp.pad(images, ((0, 0), over, over, (0, 0)), mode="edge")
        x = x.reshape(-1, side, block, side, block, images.shape[3]).transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(-1, block, block, images.shape[3])
        code = self.of_block.encode(x, self.max_bottleneck, train=train)
        return in_use(floats_of(code.reshape(len(images), side, side, -1)), bottleneck)

    def decode(self, code: Array, *, train: bool = False) -> Array:
        """Decodes codes f32[B,D] into images f32[B,H,W,C], not clipped."""
        (size, _, channels), side, block = self.image_shape, self.side, self.block
        codes = map_of(code, side)
        x = self.of_block.decode(codes.reshape(-1, codes.shape[3]), train=train)
        x = x.reshape(-1, side, side, block, block, channels).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(-1, side * block, side * block, channels)[:, :size, :size]


class ResidualAutoencoder(nn.Module):
    """Image -> code -> image: a linear autoencoder, and convolutions that learn what it lacks.

    The encoder adds to the linear code what convolutions find in the image; the decoder adds to the linear image what
    convolutions make of it: two residual blocks, after one look at half the resolution. All of them work on windows of
    2x2 pixels, whose values lie side by side as channels (Shi et al. 2016, arXiv:1609.05158), which is four times
    cheaper. Their last layers are zero at the beginning (Zhang et al. 2019, "Fixup"), so that training begins at nearly
    the principal components, however wide the code is.

    Attributes:
      image_shape: (H, W, C) with H = W and C 1 or 3.
      max_bottleneck: D, floats of the code as built.
      width: channels of the first level; on the way to the code they double per level up to 4 * width.
      dtype: of the convolutions' activations; parameters are float32.
      lowering: of the convolutions.
      rematerialize: whether to compute the activations within a level again for the gradient: less memory, slower.
      code: "vector", or "spatial": a map as high and wide as the encoder's last one, whose linear part is
        `BlockwiseLinearAutoencoder`, in floats as `floats_of` lays them out.
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
        """Values of the largest activations per pixel of an image."""
        return max(self.width // 4, self.image_shape[2])

    @property
    def code_side(self) -> int | None:
        """Height and width of a spatial code."""
        return map_sizes(self.image_shape[0])[-1] if self.code == "spatial" else None

    def setup(self) -> None:
        """Makes the parts."""
        width, zeros = self.width, nn.initializers.zeros
        conv = partial(Conv, dtype=self.dtype, lowering=self.lowering, kernel_init=he_uniform)
        linear = BlockwiseLinearAutoencoder if self.code_side else LinearAutoencoder
        self.linear = linear(self.image_shape, self.max_bottleneck)
        levels = len(map_sizes(math.ceil(self.image_shape[0] / 2)))
        self.encoder = [conv(width * min(2**level, 4)) for level in range(levels)]
        if self.code_side:
            self.to_code = conv(self.max_bottleneck // self.code_side**2, kernel_init=zeros)
        else:
            self.to_code = nn.Dense(self.max_bottleneck, dtype=self.dtype, kernel_init=zeros)
        self.from_linear, self.coarse = conv(width), (conv(2 * width), conv(2 * width))
        self.from_coarse = conv(width, upsample=True)
        self.blocks = [(conv(width), conv(width)) for _ in range(BLOCKS)]
        self.to_image = conv(4 * self.image_shape[2], kernel_init=zeros)

    def encode(self, images: Array, bottleneck: Scalar | int, *, train: bool = False) -> Array:
        """Encodes images f32[B,H,W,C] in [0,1] into codes f32[B,D], zero from `bottleneck` on."""
        x = to_channels((images - 0.5) / PIXEL_DEVIATION)
        for level, conv in enumerate(self.encoder):
            x = average_pool_2x2(x) if level else x
            x = layer(activated, self.rematerialize)(conv, x)
        x = x if self.code_side else x.reshape(len(x), -1)
        added = floats_of(self.to_code(x)) if self.code_side else self.to_code(x)
        return self.linear.encode(images, bottleneck, train=train) + in_use(added, bottleneck)

    def decode(self, code: Array, *, train: bool = False) -> Array:
        """Decodes codes f32[B,D] into images f32[B,H,W,C], not clipped."""
        linear = self.linear.decode(code, train=train)
        x = activated(self.from_linear, to_channels((linear - 0.5) / PIXEL_DEVIATION))
        coarse = average_pool_2x2(x)
        for conv in self.coarse:
            coarse = layer(activated, self.rematerialize)(conv, coarse)
        x = x + self.from_coarse(coarse)[:, : x.shape[1], : x.shape[2]]
        branch = layer(_after_gelu, self.rematerialize)
        for first, second in self.blocks:
            x = x + BRANCH * branch(second, branch(first, x))
        height, width, _ = self.image_shape
        return linear + from_channels(_after_gelu(self.to_image, x))[:, :height, :width]

    def __call__(self, images: Array, bottleneck: Scalar | int, *, train: bool = False) -> Array:
        """Reconstructs images f32[B,H,W,C] in [0,1]; not clipped."""
        return self.decode(self.encode(images, bottleneck, train=train), train=train)


def _after_gelu(conv: Conv, x: Array) -> Array:
    return conv(nn.gelu(x))


def to_channels(x: Array) -> Array:
    """Puts each 2x2 window into the channels: [B,H,W,C] -> [B,ceil(H/2),ceil(W/2),4*C]; an odd edge is repeated."""
    height, width = math.ceil(x.shape[1] / 2), math.ceil(x.shape[2] / 2)
    odd = ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0))
    x = jnp.pad(x, odd, mode="edge").reshape(len(x), height, 2, width, 2, -1)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(len(x), height, width, -1)


def from_channels(x: Array) -> Array:
    """Undoes `to_channels`: [B,H,W,4*C] -> [B,2*H,2*W,C]."""
    batch, height, width, _ = x.shape
    x = x.reshape(batch, height, width, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, 2 * height, 2 * width, -1)
