"""Small networks, and how tests make and apply them; one with everything that a model may carry beside parameters."""

from typing import Literal

import flax.linen as nn
import jax
from pydantic import PositiveInt

from blurjax.config.model_settings import ModelConfig
from blurjax.models import ModelContext, apply


def images(shape=(8, 8, 1), count=3, seed=0):
    return jax.random.uniform(jax.random.key(seed), (count, *shape))


def init(model, *inputs, seed=0):
    """The parameters of a model that has no other variables."""
    return jax.jit(model.init)(jax.random.key(seed), *inputs)["params"]


def output(model, params, *inputs, method=None):
    """What such a model returns."""
    return apply(model, {"params": params}, *inputs, method=method)[0]


class Normalized(nn.Module):
    """Dense layers with batch statistics (decay 0.9) and dropout (half)."""

    num_classes: int = 3
    width: int = 6

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.Dense(self.width, use_bias=False)(images.reshape(len(images), -1))
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = nn.Dropout(0.5, deterministic=not train)(nn.relu(x))
        return nn.Dense(self.num_classes)(x)


class NormalizedSettings(ModelConfig):
    """Settings of Normalized."""

    name: Literal["normalized"] = "normalized"
    width: PositiveInt = 6
    """units of the hidden layer"""


def build_normalized(settings: NormalizedSettings, context: ModelContext) -> Normalized:
    return Normalized(context.num_classes, settings.width)
