"""The values that a trial has on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blurjax.train.state import Hyperparameters

if TYPE_CHECKING:
    from blurjax.config.settings import TrainingConfig
    from blurjax.config.trials import Trial

HYPERPARAMETER_DTYPES = (np.uint32, np.float32, np.float32, np.int32, np.int32)
RESEEDED = 2**31
"""Added to the seed of classifiers that differ from others in nothing but the seed; settings cannot name such seeds."""


def hyperparameters_of(
    trial: Trial, training: TrainingConfig, *, reseeded: bool = False
) -> Hyperparameters:
    """Returns a trial's values as NumPy scalars; those that it leaves open are those of the settings."""
    rate, decay = trial.learning_rate, trial.weight_decay
    return Hyperparameters(
        seed=np.uint32(trial.seed + RESEEDED * reseeded),
        learning_rate=np.float32(training.learning_rate if rate is None else rate),
        weight_decay=np.float32(training.weight_decay if decay is None else decay),
        bottleneck=np.int32(trial.bottleneck or 0),
        members=np.int32(0 if trial.fold is None else trial.fold + 1),
    )
