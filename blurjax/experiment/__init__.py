"""An experiment: its plan, its stages in order, each resumable, and what can be had of it when it is finished."""

from blurjax.experiment.compilation import (
    CompiledExperiment,
    CompiledProgram,
    compile_experiment,
)
from blurjax.experiment.estimate import make_plan, time_plan
from blurjax.experiment.export import export_models, export_view
from blurjax.experiment.plan import Plan
from blurjax.experiment.run import run_experiment
from blurjax.experiment.saved_run import SavedRun, load_run

__all__ = [
    "CompiledExperiment",
    "CompiledProgram",
    "Plan",
    "SavedRun",
    "compile_experiment",
    "export_models",
    "export_view",
    "load_run",
    "make_plan",
    "run_experiment",
    "time_plan",
]
