"""Which trials an experiment consists of."""

from __future__ import annotations

import itertools

from blurjax.config.settings import Config
from blurjax.config.view_names import NEEDS_CODE, RESEEDED, num_folds
from blurjax.engine.types import ALL_DATA, Trial


def autoencoder_trials(config: Config, *, fold: int = ALL_DATA) -> list[Trial]:
    """One autoencoder per bottleneck and seed, trained without a fold or on all data."""
    settings = config.autoencoder
    return [
        Trial(seed, settings.learning_rate, settings.weight_decay, bottleneck, fold)
        for bottleneck, seed in itertools.product(config.bottlenecks, config.seeds)
    ]


def all_autoencoder_trials(config: Config) -> list[Trial]:
    """Those trained on all data, then those of each fold."""
    folds = (ALL_DATA, *range(num_folds(config)))
    return [trial for fold in folds for trial in autoencoder_trials(config, fold=fold)]


def point_trials(config: Config, *, needs_code: bool) -> list[Trial]:
    """One trial per point and seed; bottleneck 0 where nothing depends on the code."""
    bottlenecks = config.bottlenecks if needs_code else (0,)
    return [
        Trial(seed, learning_rate, weight_decay, bottleneck)
        for bottleneck, learning_rate, weight_decay, seed in itertools.product(
            bottlenecks, config.learning_rates, config.weight_decays, config.seeds
        )
    ]


def classifier_trials(config: Config, view: str) -> list[Trial]:
    """The classifiers trained on a view."""
    trials = point_trials(config, needs_code=view in NEEDS_CODE)
    return [classifier_of(trial, view) for trial in trials]


def classifier_of(trial: Trial, view: str) -> Trial:
    """The classifier that a trial has of a train view."""
    if view == "reseeded":
        trial = trial._replace(seed=trial.seed + RESEEDED)
    return trial if view in NEEDS_CODE else trial._replace(bottleneck=0)


def autoencoder_of(trial: Trial, config: Config, *, fold: int = ALL_DATA) -> Trial:
    """The autoencoder of a classifier's trial; any of its seed's where nothing depends on the code."""
    settings, bottleneck = config.autoencoder, trial.bottleneck or config.bottlenecks[0]
    seed = trial.seed % RESEEDED
    return Trial(seed, settings.learning_rate, settings.weight_decay, bottleneck, fold)
