"""Which trials an experiment consists of."""

from __future__ import annotations

import itertools

from blurjax.config import Config
from blurjax.types import ALL_DATA, Trial


def autoencoder_trials(config: Config) -> list[Trial]:
    """One autoencoder per seed and bottleneck."""
    settings = config.autoencoder
    return [
        Trial(seed, settings.learning_rate, settings.weight_decay, bottleneck, ALL_DATA)
        for bottleneck, seed in itertools.product(config.bottlenecks, config.seeds)
    ]


def classifier_trials(config: Config, *, needs_code: bool) -> list[Trial]:
    """One classifier per seed and point; bottleneck 0 where nothing depends on the code."""
    bottlenecks = config.bottlenecks if needs_code else (0,)
    return [
        Trial(seed, learning_rate, weight_decay, bottleneck, ALL_DATA)
        for bottleneck, learning_rate, weight_decay, seed in itertools.product(
            bottlenecks, config.learning_rates, config.weight_decays, config.seeds
        )
    ]


def autoencoder_of(trial: Trial, config: Config) -> Trial:
    """The autoencoder of a classifier's trial; any of its seed's where nothing depends on the code."""
    settings, bottleneck = config.autoencoder, trial.bottleneck or config.bottlenecks[0]
    return Trial(trial.seed, settings.learning_rate, settings.weight_decay, bottleneck, ALL_DATA)
