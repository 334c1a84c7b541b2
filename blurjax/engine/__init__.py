"""Many trials in one program: a sweep over trials, a loop over steps, meshes, random keys. Knows nothing of images."""

from blurjax.engine.loops import loop_steps
from blurjax.engine.mapping import sweep
from blurjax.engine.mesh import (
    DATA_AXIS,
    TRIAL_AXIS,
    fetch,
    in_batches,
    make_mesh,
    padded_length,
    per_trial,
    place,
    place_columns,
    shared,
)
from blurjax.engine.random import key
from blurjax.engine.setup import LIBTPU_WITHOUT_TPU, configure_jax, silence_libtpu
from blurjax.engine.sharing import (
    devices_sharing,
    own_part,
    share_batches,
    sum_of_pieces,
    sum_over_devices,
)
from blurjax.engine.targets import Target, find_target, this_machine
from blurjax.engine.types import Array, Key, Metrics, Params, Scalar

__all__ = [
    "DATA_AXIS",
    "LIBTPU_WITHOUT_TPU",
    "TRIAL_AXIS",
    "Array",
    "Key",
    "Metrics",
    "Params",
    "Scalar",
    "Target",
    "configure_jax",
    "devices_sharing",
    "fetch",
    "find_target",
    "in_batches",
    "key",
    "loop_steps",
    "make_mesh",
    "own_part",
    "padded_length",
    "per_trial",
    "place",
    "place_columns",
    "share_batches",
    "shared",
    "silence_libtpu",
    "sum_of_pieces",
    "sum_over_devices",
    "sweep",
    "this_machine",
]
