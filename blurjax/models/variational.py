"""Autoencoders with a random code."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from blurjax.engine import Array, Scalar
from blurjax.models.application import images_together
from blurjax.models.autoencoders import in_use

FIRST_LOG_VARIANCE = -4.0
"""Of each float of the code: at the beginning of training its noise is small beside it."""


class VariationalAutoencoder(nn.Module):
    """Any autoencoder with a code that is normally distributed in training, and its mean otherwise.

    Kingma and Welling 2014 (arXiv:1312.6114); with another weight of the divergence than 1, Higgins et al. 2017. The
    variances, one per float of the code, are an exponential of a linear function of the mean code, so that any
    autoencoder can be made variational.

    Attributes:
      model: the autoencoder, whose code is the mean.
      max_bottleneck: D, floats of the code as built.
    """

    model: nn.Module
    max_bottleneck: int

    @property
    def full_size_channels(self) -> int | None:
        """That of the autoencoder, if it has it."""
        return getattr(self.model, "full_size_channels", None)

    @nn.nowrap
    def images_together(self, batch_size: int) -> int:
        """As many as of the autoencoder."""
        return images_together(self.model, batch_size)

    def setup(self) -> None:
        """Makes the layer of variances."""
        zeros, first = nn.initializers.zeros, nn.initializers.constant(FIRST_LOG_VARIANCE)
        self.log_variance = nn.Dense(self.max_bottleneck, kernel_init=zeros, bias_init=first)

    def encode(self, images: Array, bottleneck: Scalar | int, *, train: bool = False) -> Array:
        """Encodes images f32[B,H,W,C] in [0,1] into mean codes f32[B,D], zero from `bottleneck` on."""
        return self.model.encode(images, bottleneck, train=train)

    def decode(self, code: Array, *, train: bool = False) -> Array:
        """Decodes codes f32[B,D] into images f32[B,H,W,C], not clipped."""
        return self.model.decode(code, train=train)

    def sample(
        self, images: Array, bottleneck: Scalar | int, noise: Array, *, train: bool = False
    ) -> tuple[Array, Array]:
        """Reconstructs images from random codes.

        Args:
          images: f32[B,H,W,C] in [0,1].
          bottleneck: floats of the code in use.
          noise: f32[B,D], standard normal.
          train: as for `encode` and `decode`.

        Returns:
          The reconstructions f32[B,H,W,C], not clipped, and the Kullback-Leibler divergences f32[B] of the codes from
          the standard normal distribution, in nats, of the floats in use.
        """
        mean = self.encode(images, bottleneck, train=train)
        log_variance = self.log_variance(mean)
        divergence = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - log_variance - 1.0)
        code = mean + in_use(jnp.exp(0.5 * log_variance) * noise, bottleneck)
        return self.decode(code, train=train), jnp.sum(in_use(divergence, bottleneck), axis=1)

    def __call__(self, images: Array, bottleneck: Scalar | int, *, train: bool = False) -> Array:
        """Reconstructs images f32[B,H,W,C] in [0,1] from their mean codes; not clipped."""
        code = self.encode(images, bottleneck, train=train)
        if self.is_initializing():
            self.log_variance(code)
        return self.decode(code, train=train)
