"""What is known of views by name alone, to those who make them and to those who only read what was made."""

from __future__ import annotations

from typing import get_args

from blurjax.config.sections import CONTROLS, TrainView
from blurjax.config.settings import Config

CHECK_VIEWS = tuple(view for view in CONTROLS if view != "spectrum")
"""Train views of original images that check the experiment itself."""
NEEDS_CODE = frozenset(get_args(TrainView)) - {"original", *CHECK_VIEWS}
"""The views that depend on the trial's autoencoder or on the size of its code."""
NEEDS_AUTOENCODER = frozenset({"reconstruction", "mixed", "blur", "spectrum"})
"""Of these, the ones made with or matched to the autoencoder of all data."""
NEEDS_FOLDS = frozenset({"crossfit", "infold"})
"""Of these, the ones that fold autoencoders paint."""
MEASURED = tuple(view for view in get_args(TrainView) if view in NEEDS_CODE - {"mixed"})
"""The views whose quality is measured against the original; the others show nothing but images of these."""
RESEEDED = 2**31
"""Added to the seed of the control that differs from the original in nothing but the seed; settings cannot name it."""


def views_in_use(config: Config) -> tuple[str, ...]:
    """Every view that something is trained or tested on or matched to, the original first."""
    asked_for = ("original", *config.train_views, *config.test_views)
    matched = ("reconstruction",) if NEEDS_CODE & {*asked_for} else ()
    return tuple(dict.fromkeys((*asked_for, *matched)))


def num_folds(config: Config) -> int:
    """How many folds autoencoders are trained on; 0 where no view needs them."""
    return config.autoencoder.folds if NEEDS_FOLDS & {*views_in_use(config)} else 0


def measured_views(config: Config) -> list[str]:
    """The original, and each view in use that is measured against it."""
    return ["original", *(view for view in MEASURED if view in views_in_use(config))]
