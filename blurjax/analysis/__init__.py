"""From arrays on disk to results.json: statistics, comparisons, verdicts. No jax."""
