"""Computes results.json from the arrays that a run left on disk: estimates, differences, verdicts. No jax."""

from blurjax.analysis.results import collect_results
from blurjax.analysis.statistics import flips

__all__ = ["collect_results", "flips"]
