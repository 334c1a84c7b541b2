"""Flax modules, and the convolutions that stay fast under vmap and in loops."""

from typing import Any

import flax.linen as nn

from blurjax.engine.types import Array, Params


def forward(model: nn.Module, params: Params, *inputs: Any) -> Array:
    """The output of a module that has parameters and nothing else."""
    output = model.apply({"params": params}, *inputs)
    assert not isinstance(output, tuple)
    return output
