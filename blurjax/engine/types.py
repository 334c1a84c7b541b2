"""Names for arrays in annotations. Axes: T trials, K steps, B batch, H W C image, N examples."""

from __future__ import annotations

from typing import Any, TypeAlias

import jax

Array: TypeAlias = jax.Array
Key: TypeAlias = jax.Array
Scalar: TypeAlias = jax.Array
Params: TypeAlias = Any
Metrics: TypeAlias = dict[str, jax.Array]
