"""The trials of an experiment: which there are, what tells them apart, and under which key files hold them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from blurjax.config.view_table import VIEWS, in_order, named

if TYPE_CHECKING:
    from blurjax.config.settings import Config

LONGER = "longer_"
"""Before the name of a stage: that of trials trained again for twice the epochs."""
CHECKED_SEEDS = 2


class Trial(NamedTuple):
    """The identity of one independent run within its stage; None where a value does not apply."""

    seed: int
    bottleneck: int | None = None
    """Floats of the code in use; None where nothing depends on the code."""
    fold: int | None = None
    """The fold that an autoencoder is trained without; None: trained on the whole train split."""
    learning_rate: float | None = None
    """The classifier's; an autoencoder's is the same for all trials."""
    weight_decay: float | None = None
    train_examples: int | None = None
    """Labelled images that a classifier is trained on; None: the whole train split."""

    @property
    def key(self) -> str:
        """The identity as text, such as "seed=3 bottleneck=8"."""
        return " ".join(f"{k}={v!r}" for k, v in self._asdict().items() if v is not None)

    @classmethod
    def from_key(cls, key: str) -> Trial:
        """Returns the trial whose `key` this is."""
        values: dict[str, Any] = {}
        for part in key.split():
            name, value = part.split("=")
            values[name] = (float if name in ("learning_rate", "weight_decay") else int)(value)
        return cls(**values)


class Point(NamedTuple):
    """One combination of swept values; its trials differ in nothing but the seed."""

    bottleneck: int
    learning_rate: float
    weight_decay: float
    train_examples: int | None = None
    """Labelled images; None: the whole train split."""


def points(config: Config) -> list[Point]:
    """Returns all points, the bottleneck varying slowest."""
    recipes = config.learning_rates, config.weight_decays
    values = itertools.product(config.bottlenecks, *recipes, config.label_counts)
    return list(itertools.starmap(Point, values))


def autoencoder_trials(config: Config, *, fold: int | None = None) -> list[Trial]:
    """Returns the autoencoders trained without a fold, or on the whole train split: one per bottleneck and seed."""
    pairs = itertools.product(config.bottlenecks, config.seeds)
    return [Trial(seed, bottleneck, fold) for bottleneck, seed in pairs]


def all_autoencoder_trials(config: Config) -> list[Trial]:
    """Returns the autoencoders trained on the whole train split, then those of each fold."""
    folds = (None, *range(num_folds(config)))
    return [trial for fold in folds for trial in autoencoder_trials(config, fold=fold)]


def classifier_trial(point: Point, seed: int, *views: str) -> Trial:
    """Returns the classifier of a point and seed; without a bottleneck where none of the views depends on the code."""
    needs_code = any(VIEWS[view].needs_code for view in views)
    bottleneck = point.bottleneck if needs_code else None
    return Trial(seed, bottleneck, None, *point[1:])


def classifier_trials(config: Config, *views: str) -> list[Trial]:
    """Returns the classifiers trained on a view; of a train and a test view, those that pairs of the two are about."""
    trials = (classifier_trial(p, seed, *views) for p in points(config) for seed in config.seeds)
    return list(dict.fromkeys(trials))


def checked(config: Config, trials: Sequence[Trial]) -> list[Trial]:
    """Returns those trials that are trained again for twice the epochs, where `check` asks for it."""
    return [trial for trial in trials if trial.seed in config.seeds[:CHECKED_SEEDS]]


def checked_views(config: Config) -> tuple[str, ...]:
    """Returns the train views whose classifiers are trained again for twice the epochs."""
    asked_for = ("original", "reconstruction") if config.classifier.check else ()
    return tuple(view for view in asked_for if view in config.train_views)


def quality_trials(config: Config, view: str) -> list[Trial]:
    """Returns what the image quality of a view has rows for: one for all where it does not depend on the code."""
    if VIEWS[view].needs_code:
        return autoencoder_trials(config)
    return [Trial(config.sweep.first_seed)]


def views_in_use(config: Config) -> tuple[str, ...]:
    """Returns every view that something is trained or tested on or matched to, the original first."""
    asked_for = ("original", *config.train_views, *config.test_views)
    matched = ["reconstruction"] if any(VIEWS[view].needs_code for view in asked_for) else []
    return tuple(dict.fromkeys((*asked_for, *matched)))


def num_folds(config: Config) -> int:
    """Returns how many folds autoencoders are trained on; 0 where no view needs them."""
    needed = any(VIEWS[view].needs_folds for view in views_in_use(config))
    return config.autoencoder.folds if needed else 0


def measured_views(config: Config) -> list[str]:
    """Returns the views in use whose image quality is measured, in the table's order."""
    return in_order({*views_in_use(config)} & {*named(measured=True)})
