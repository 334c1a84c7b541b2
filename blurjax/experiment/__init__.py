"""An experiment: its plan, and its stages in order, each resumable."""

from blurjax.experiment.plan import Plan, make_plan
from blurjax.experiment.run import run_experiment

__all__ = ["Plan", "make_plan", "run_experiment"]
