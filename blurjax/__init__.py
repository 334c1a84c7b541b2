"""Does a classifier learn better or worse from an autoencoder's reconstructions, and why?

    import blurjax

    config = blurjax.load_config("digits", {"sweep.num_seeds": 4})
    results = blurjax.run_experiment(config, "runs/digits")

Names and rooms (`blurjax.views`, `blurjax.models`, ...) are imported when they are first used, so that
`blurjax --help` does not wait for jax.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blurjax.config import Config
    from blurjax.config import load as load_config
    from blurjax.data import Dataset
    from blurjax.data import load as load_dataset
    from blurjax.engine import configure_jax, loop_steps, sweep
    from blurjax.experiment import (
        SavedRun,
        export_models,
        export_view,
        load_run,
        make_plan,
        run_experiment,
        time_plan,
    )
    from blurjax.report import compare_runs, make_report
    from blurjax.runtime import AllTrialsFailed, Interrupted, UserError
    from blurjax.sharpness import rate_sharpness
    from blurjax.train import Progress

_ROOMS = (
    "config",
    "data",
    "engine",
    "experiment",
    "models",
    "report",
    "runtime",
    "sharpness",
    "train",
    "views",
)
_ROOM_OF = {
    "AllTrialsFailed": "runtime",
    "Config": "config",
    "Dataset": "data",
    "Interrupted": "runtime",
    "Progress": "train",
    "SavedRun": "experiment",
    "UserError": "runtime",
    "compare_runs": "report",
    "configure_jax": "engine",
    "export_models": "experiment",
    "export_view": "experiment",
    "load_config": "config",
    "load_dataset": "data",
    "load_run": "experiment",
    "loop_steps": "engine",
    "make_plan": "experiment",
    "make_report": "report",
    "rate_sharpness": "sharpness",
    "run_experiment": "experiment",
    "sweep": "engine",
    "time_plan": "experiment",
}
_NAMED_OTHERWISE = {"load_config": "load", "load_dataset": "load"}

__all__ = [
    "AllTrialsFailed",
    "Config",
    "Dataset",
    "Interrupted",
    "Progress",
    "SavedRun",
    "UserError",
    "compare_runs",
    "configure_jax",
    "export_models",
    "export_view",
    "load_config",
    "load_dataset",
    "load_run",
    "loop_steps",
    "make_plan",
    "make_report",
    "rate_sharpness",
    "run_experiment",
    "sweep",
    "time_plan",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"blurjax.{name}")
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'blurjax' has no attribute {name!r}")
    room = importlib.import_module(f"blurjax.{_ROOM_OF[name]}")
    return getattr(room, _NAMED_OTHERWISE.get(name, name))
