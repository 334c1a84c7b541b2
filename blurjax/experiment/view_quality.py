"""How blurry views are: predictions/quality-<view>-<split>.npz (docs/run_directory.md)."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from functools import partial

import numpy as np

from blurjax.engine.types import Trial
from blurjax.experiment.context import Context
from blurjax.experiment.fitted_views import FittedViews
from blurjax.experiment.trial_table import Arrays
from blurjax.experiment.trials import autoencoder_trials

NOBODY = Trial(0, 0.0, 0.0, 0)
"""Whose the originals are: they are the same in all trials."""


def write_view_quality(
    context: Context, views: FittedViews, names: Collection[str], splits: Collection[str]
) -> None:
    """Measures views on splits (train: its fixed subset), where that is not done yet."""
    trials = autoencoder_trials(context.config)
    for name, split in itertools.product(names, splits):
        rows = [NOBODY] if name == "original" else trials
        measure = partial(_measure, context, views, name, split)
        context.complete(f"predictions/quality-{name}-{split}.npz", rows, measure)


def _measure(
    context: Context, views: FittedViews, view: str, split: str, rows: list[Trial]
) -> Arrays:
    programs = context.programs
    positions = (programs.monitored | {"test": programs.dataset.splits["test"]})[split]
    painters = autoencoder_trials(context.config)[:1] if view == "original" else rows
    program, parameters = programs.measure_view, views.parameters(view, painters)
    measured = context.dispatch(program, None, parameters, positions, len(rows))()
    failed = np.array([views.failed_step(view, row) for row in rows], np.int32)
    return measured | {"spectrum": measured["spectrum"].mean(axis=1), "failed_step": failed}
