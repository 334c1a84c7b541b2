"""Linear autoencoders in a basis of cosines, and the corrections to them that convolutions learn."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from blurjax.config.model_settings import LinearAutoencoder as LinearConfig
from blurjax.config.model_settings import ResidualAutoencoder as ResidualConfig
from blurjax.engine.types import Array, Scalar
from blurjax.models.application import ModelContext
from blurjax.models.autoencoders import ConvAutoencoder, he_uniform, in_use
from blurjax.models.layers import Conv

MOST_FREQUENCIES = 32
"""Along each axis, unless the code is so wide that it needs more."""
# Brightness, then two differences of colour: their amplitudes are nearly independent in photographs.
OPPONENT_COLOURS = ((1.0, 1.0, 1.0), (1.0, -1.0, 0.0), (1.0, 1.0, -2.0))
# At frequency f their standard deviations are about H * amplitude / (1 + f)^1.5, where the image is H pixels high.
# Measured on scenes at 32 and 64 pixels and on CIFAR-10, f from 1 to 16: amplitudes of 0.33-0.47, 0.03-0.06, 0.03-0.09.
AMPLITUDES = {1: (0.35,), 3: (0.35, 0.05, 0.08)}
DAMPING = 0.1
"""Of changes of the linear maps (see `NearTo`)."""


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


class NearTo(nn.Module):
    """A dense layer whose kernel is a given one at the beginning.

    The parameters are what is added to it, damped: one step of Adam changes every entry of a kernel by the learning
    rate, which would soon drown the entries that it begins with.

    Attributes:
      beginning: f32[I,O].
    """

    beginning: np.ndarray

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Computes [B,I] -> [B,O]."""
        zeros = nn.initializers.zeros
        change = self.param("kernel", zeros, self.beginning.shape)
        bias = self.param("bias", zeros, self.beginning.shape[1:])
        return x @ (self.beginning + DAMPING * change) + DAMPING * bias[None]


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
        chosen = largest_first[: self.max_bottleneck]
        selection = np.zeros((deviations.size, self.max_bottleneck), np.float32)
        selection[chosen, np.arange(len(chosen))] = 1.0
        self.to_code, self.from_code = NearTo(selection), NearTo(selection.T)

    def encode(self, images: Array, bottleneck: Scalar | int, *, train: bool = False) -> Array:
        """Encodes images f32[B,H,W,C] in [0,1] into codes f32[B,D], zero from `bottleneck` on."""
        del train
        return in_use(self.to_code(self.coefficients(images)), bottleneck)

    def decode(self, code: Array, *, train: bool = False) -> Array:
        """Decodes codes f32[B,D] into images f32[B,H,W,C], not clipped."""
        del train
        scaled = self.from_code(code).reshape(-1, *self.deviations.shape) * self.deviations[None]
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


class ResidualAutoencoder(nn.Module):
    """Image -> code -> image: a linear autoencoder, and convolutions that learn what it lacks.

    The encoder adds the code of a ConvAutoencoder to the linear code. The decoder adds to the linear image what the
    ConvAutoencoder decodes, and a refinement: convolutions of the linear image at half of its resolution, with 2x2
    pixels side by side as channels (Shi et al. 2016). What is added has weights that are zero at the beginning
    (Bachlechner et al. 2020, "ReZero"), so that training begins at nearly the principal components, however wide the
    code is.

    Attributes:
      image_shape: (H, W, C) with H = W and C 1 or 3.
      max_bottleneck: D, floats of the code as built.
      width: channels of the first level; they double per level up to 8 * width.
      dtype: of the convolutions' activations; parameters are float32.
      lowering: of the convolutions.
      rematerialize: whether to compute the activations within a level again for the gradient: less memory, slower.
    """

    image_shape: tuple[int, int, int]
    max_bottleneck: int
    width: int = 32
    dtype: Any = jnp.float32
    lowering: str = "auto"
    rematerialize: bool = False

    @property
    def full_size_channels(self) -> int:
        """Channels of the largest activations, which are as high and wide as the images."""
        return self.width

    def setup(self) -> None:
        """Makes the parts."""
        how = {"dtype": self.dtype, "lowering": self.lowering}
        shape, floats = self.image_shape, self.max_bottleneck
        self.linear = LinearAutoencoder(shape, floats)
        self.conv = ConvAutoencoder(
            shape, floats, self.width, rematerialize=self.rematerialize, **how
        )
        features = (self.width, self.width, 4 * shape[2])
        self.refine = [Conv(f, kernel_init=he_uniform, **how) for f in features]
        self.weights = self.param("weights", nn.initializers.zeros, (3,))

    def encode(self, images: Array, bottleneck: Scalar | int, *, train: bool = False) -> Array:
        """Encodes images f32[B,H,W,C] in [0,1] into codes f32[B,D], zero from `bottleneck` on."""
        arguments = {"bottleneck": bottleneck, "train": train}
        added = self.conv.encode(images, **arguments)
        return self.linear.encode(images, **arguments) + self.weights[0] * added

    def decode(self, code: Array, *, train: bool = False) -> Array:
        """Decodes codes f32[B,D] into images f32[B,H,W,C], not clipped."""
        linear = self.linear.decode(code, train=train)
        x = to_channels(linear - 0.5)
        for conv in self.refine[:-1]:
            x = nn.gelu(conv(x))
        height, width, _ = self.image_shape
        refinement = from_channels(self.refine[-1](x))[:, :height, :width].astype(jnp.float32)
        added = self.conv.decode(code, train=train) - 0.5
        return linear + self.weights[1] * added + self.weights[2] * refinement

    def __call__(self, images: Array, bottleneck: Scalar | int, *, train: bool = False) -> Array:
        """Reconstructs images f32[B,H,W,C] in [0,1]; not clipped."""
        return self.decode(self.encode(images, bottleneck, train=train), train=train)


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
