"""The detector's network: what each region shows, and how much it counts in the image."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from blurjax.engine import Array

KINDS = ("sharp", "gaussian", "defocus", "motion", "codec", "compression", "enlarged")
"""What an image is, as far as the network can tell: `codec` is what a linear autoencoder makes of it."""
WIDTH = 64
"""Of both hidden layers."""


class Judgement(NamedTuple):
    """What the network says of an image, and of each of its R regions.

    Attributes:
      logit: f32[], of the probability that the image is blurry.
      log_sigma: f32[], of the strength of the blur.
      kind_logits: f32[len(KINDS) - 1], of the kinds of blur, where it is blurry.
      region_logits: f32[R], of the probability that a region is blurry.
      attention: f32[R], of the regions in the image, of sum 1.
    """

    logit: Array
    log_sigma: Array
    kind_logits: Array
    region_logits: Array
    attention: Array


class Network(nn.Module):
    """Two dense layers for each region, and attention over the regions (Ilse et al. 2018, arXiv:1802.04712).

    The attention learns that sky says little, and that a sharp subject makes an image sharp whatever lies behind it.
    """

    @nn.compact
    def __call__(self, features: Array, present: Array | None = None) -> Judgement:
        """Judges an image.

        Args:
          features: f32[R,STATISTICS], of its regions (`region_features`).
          present: bool[R], False for regions that are left out; all are present where it is None.
        """
        hidden = nn.relu(nn.Dense(WIDTH, name="hidden_1")(features))
        hidden = nn.relu(nn.Dense(WIDTH, name="hidden_2")(hidden))
        said = nn.Dense(4 + len(KINDS) - 1, name="output")(hidden)
        scores = said[:, 0] if present is None else jnp.where(present, said[:, 0], -1e9)
        attention = jax.nn.softmax(scores)
        of_image = attention @ said
        return Judgement(of_image[1], of_image[2], of_image[4:], said[:, 3], attention)
