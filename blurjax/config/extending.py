"""Settings that ask for all that others ask for, and for more."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from blurjax.config.loading import override
from blurjax.config.settings import Config
from blurjax.runtime.errors import UserError

HELD = {
    "sweep.bottleneck": attrgetter("bottlenecks"),
    "sweep.learning_rate": attrgetter("learning_rates"),
    "sweep.weight_decay": attrgetter("weight_decays"),
    "sweep.train_examples": lambda config: tuple(n or "all" for n in config.label_counts),
    "views.train": attrgetter("views.train"),
    "views.test": attrgetter("views.test"),
}
"""Lists to which values are added -> what the settings ask for already."""


def extended(config: Config, overrides: Mapping[str, Any]) -> Config:
    """Returns settings with the dotted keys set, those of HELD added to what is there.

    Args:
      config: of a run, fitted to the data.
      overrides: dotted key -> value (text or typed).

    Raises:
      UserError: a value is wrong, or a code is wider than the run's networks.
    """
    built = config.autoencoder.max_bottleneck
    asked = override(config, {"views.exclude": (), **overrides, "autoencoder.max_bottleneck": None})
    widest = max(asked.bottlenecks)
    if built is not None and widest > built:
        raise UserError(
            f"The autoencoders of this run were built for codes of at most {built} floats, and those for {widest} "
            "would begin from other weights: sweep all codes in another directory, with `blurjax run`."
        )
    added = {}
    for key in HELD.keys() & overrides.keys():
        added[key] = tuple(dict.fromkeys((*HELD[key](config), *attrgetter(key)(asked))))
    named = {view for key in added if key.startswith("views.") for view in attrgetter(key)(asked)}
    if "views.exclude" not in overrides:
        added["views.exclude"] = tuple(v for v in config.views.exclude if v not in named)
    return override(config, {**overrides, **added})
