"""Computes results.json from the arrays that a run left on disk: estimates, differences, verdicts. No jax."""

from blurjax.analysis.comparison import collect_comparison
from blurjax.analysis.interim import collect_interim
from blurjax.analysis.recorded_run import Unfinished
from blurjax.analysis.results import collect_results
from blurjax.analysis.statistics import flips

__all__ = ["Unfinished", "collect_comparison", "collect_interim", "collect_results", "flips"]
