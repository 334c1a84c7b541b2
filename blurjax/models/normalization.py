"""Batch normalisation whose result does not depend on how batches are cut, or spread over devices."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from blurjax.engine import Array
from blurjax.models.pieces import nearest_divisor

GHOST_BATCH = 32
"""About how many images are normalised together."""
STATISTICS_DECAY = 0.9
"""Decay of the running averages of batch statistics, per step."""


def ghost_batch(images: int) -> int:
    """Returns how many images of a batch are normalised together: the divisor of its size that is nearest to 32.

    Nearest by its ratio, and the smaller one of two.
    """
    return nearest_divisor(images, GHOST_BATCH)


class GhostBatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015) by the statistics of small parts of a batch (Hoffer et al. 2017).

    Images of a part follow each other in the batch. A model that has such layers also has a method `images_together`,
    which is `ghost_batch`: then no micro-batch and no device that shares a batch has less than a part, and they do not
    change what is computed. Evaluation takes running averages of the statistics, in "batch_stats". Variables are named
    as those of `flax.linen.BatchNorm`.

    Attributes:
      dtype: of the result; parameters and statistics are float32.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Normalises each channel of [B,H,W,C], and gives it a learned deviation and mean."""
        channels, init = (x.shape[3],), nn.initializers
        scale = self.param("scale", init.ones, channels)
        bias = self.param("bias", init.zeros, channels)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        variance = self.variable("batch_stats", "var", jnp.ones, channels)
        if not train:
            return self._scaled(x[None], mean.value[None], variance.value[None], scale, bias)[0]
        parts = x.reshape(-1, ghost_batch(len(x)), *x.shape[1:])
        wide = parts.astype(jnp.float32)
        means = jnp.mean(wide, axis=(1, 2, 3))
        variances = jnp.maximum(jnp.mean(wide**2, axis=(1, 2, 3)) - means**2, 0.0)
        for kept, new in ((mean, means), (variance, variances)):
            kept.value = STATISTICS_DECAY * kept.value + (1 - STATISTICS_DECAY) * new.mean(axis=0)
        return self._scaled(parts, means, variances, scale, bias).reshape(x.shape)

    def _scaled(
        self, parts: Array, means: Array, variances: Array, scale: Array, bias: Array
    ) -> Array:
        """[P,b,H,W,C], with statistics [P,C]."""
        factor = scale[None] * lax.rsqrt(variances + 1e-5)
        shift = bias[None] - means * factor
        factor, shift = (a[:, None, None, None].astype(self.dtype) for a in (factor, shift))
        return parts * factor + shift
