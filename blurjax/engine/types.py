"""Names for what flows between the modules. Axes: T trials, K steps, B batch, H W C image, N examples."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias, TypedDict

import jax

Array: TypeAlias = jax.Array
Key: TypeAlias = jax.Array
Scalar: TypeAlias = jax.Array
Params: TypeAlias = Any
Metrics: TypeAlias = dict[str, jax.Array]

ALL_DATA = -1


class Trial(NamedTuple):
    """What tells one independent run in a sweep from the others; scalars on the host, arrays [T] in a sweep."""

    seed: Any
    """u32; every random stream of the trial is derived from it."""
    learning_rate: Any
    """f32, peak of the schedule."""
    weight_decay: Any
    """f32, decoupled."""
    bottleneck: Any
    """i32, floats of the code in use; 0 where nothing depends on the code."""
    fold: Any = ALL_DATA
    """i32, the fold left out of training; -1: trained on the whole train split."""


class Batch(TypedDict):
    """Images and what belongs to them."""

    image: Array
    """f32[B,H,W,C] in [0,1]."""
    label: Array
    """i32[B]."""
    index: Array
    """i32[B], position of the image among those of all splits."""
    mask: Array
    """bool[B], False where the batch is padded."""
