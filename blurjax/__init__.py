"""Does a classifier learn better or worse from an autoencoder's reconstructions, and why?

    import blurjax

    config = blurjax.load_config("digits", {"sweep.num_seeds": 4})
    results = blurjax.run_experiment(config, "runs/digits")

Names are imported when they are first used, so that `blurjax --help` does not wait for jax.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blurjax.config import Config
    from blurjax.config import load as load_config
    from blurjax.data.sources import load as load_dataset
    from blurjax.errors import UserError
    from blurjax.experiment import run_experiment
    from blurjax.plan import make_plan
    from blurjax.report import make_report
    from blurjax.sweep import loop_steps, sweep

_WHERE = {
    "Config": ("config", "Config"),
    "UserError": ("errors", "UserError"),
    "load_config": ("config", "load"),
    "load_dataset": ("data.sources", "load"),
    "loop_steps": ("sweep", "loop_steps"),
    "make_plan": ("plan", "make_plan"),
    "make_report": ("report", "make_report"),
    "run_experiment": ("experiment", "run_experiment"),
    "sweep": ("sweep", "sweep"),
}

__all__ = [
    "Config",
    "UserError",
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
