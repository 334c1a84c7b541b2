"""Training of jobs of trials: state, optimizers, losses, steps, batches, the loop on the host, checkpoints.

`register_optimizer` adds an optimizer of one's own.
"""

from blurjax.train.metric_writers import MetricWriter, Progress
from blurjax.train.optimizers import register_optimizer
from blurjax.train.state import TrainState

__all__ = [
    "MetricWriter",
    "Progress",
    "TrainState",
    "register_optimizer",
]
