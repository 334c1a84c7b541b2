"""Does a classifier learn better or worse from an autoencoder's reconstructions, and why?

    import blurjax

    config = blurjax.load_config("digits", {"sweep.num_seeds": 4})
    results = blurjax.run_experiment(config, "runs/digits")

Names are imported when they are first used, so that `blurjax --help` does not wait for jax.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blurjax.config.loading import load as load_config
    from blurjax.config.settings import Config
    from blurjax.data.sources import load as load_dataset
    from blurjax.engine import configure_jax, loop_steps, sweep
    from blurjax.experiment.plan import make_plan
    from blurjax.experiment.run import run_experiment
    from blurjax.report.page import make_report
    from blurjax.runtime.errors import UserError

_WHERE = {
    "Config": ("config.settings", "Config"),
    "UserError": ("runtime.errors", "UserError"),
    "configure_jax": ("engine", "configure_jax"),
    "load_config": ("config.loading", "load"),
    "load_dataset": ("data.sources", "load"),
    "loop_steps": ("engine", "loop_steps"),
    "make_plan": ("experiment.plan", "make_plan"),
    "make_report": ("report.page", "make_report"),
    "run_experiment": ("experiment.run", "run_experiment"),
    "sweep": ("engine", "sweep"),
}

__all__ = [
    "Config",
    "UserError",
    "configure_jax",
    "load_config",
    "load_dataset",
    "loop_steps",
    "make_plan",
    "make_report",
    "run_experiment",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'blurjax' has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(importlib.import_module(f"blurjax.{module}"), attribute)
