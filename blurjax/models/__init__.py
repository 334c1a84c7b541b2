"""Flax models by name, behind one signature, and the convolutions that stay fast under vmap and in loops.

`register` adds a model of one's own: a class of settings and a function that builds the module.
"""

from blurjax.config.model_settings import ModelConfig
from blurjax.models.application import ModelContext, apply, build, images_together, register
from blurjax.models.classifiers import EncoderClassifier
from blurjax.models.layers import Conv, average_pool_2x2, max_pool_2x2, upsample_2x
from blurjax.models.lowering import lowering_for
from blurjax.models.normalization import GhostBatchNorm, ghost_batch
from blurjax.models.variational import VariationalAutoencoder

__all__ = [
    "Conv",
    "EncoderClassifier",
    "GhostBatchNorm",
    "ModelConfig",
    "ModelContext",
    "VariationalAutoencoder",
    "apply",
    "average_pool_2x2",
    "build",
    "ghost_batch",
    "images_together",
    "lowering_for",
    "max_pool_2x2",
    "register",
    "upsample_2x",
]
