"""Whether models were trained long enough: what the last epochs still changed, and what twice the steps would give.

Axes: T trials, E epochs.
"""

from __future__ import annotations

import math

import numpy as np

from blurjax.analysis.recorded_run import RecordedPoint
from blurjax.analysis.scores import psnr
from blurjax.analysis.types import Arrays, Block
from blurjax.config.settings import Config


def training_length(point: RecordedPoint, config: Config) -> Block:
    """Returns the block `training_length` of results.json (docs/run_directory.md)."""
    curves, longer = point.autoencoder_curves, point.longer_curves
    autoencoder: Block = {"last_fifth_change": last_fifth_change(curves)} if curves else {}
    if None in longer:
        ends = (psnr(c["validation.loss"][:, -1]) for c in (curves, longer[None]))
        autoencoder["twice_the_steps"] = _compare(*ends)
    return {
        "autoencoder": autoencoder,
        "classifier": {
            view: _compare(
                *(evaluated_accuracy(c, config) for c in (point.classifier_curves[view], twice))
            )
            for view, twice in longer.items()
            if view is not None
        },
    }


def last_fifth_change(curves: Arrays) -> float | None:
    """Computes by which share of itself the mean validation loss fell over the last fifth of the epochs.

    A learning rate that falls to zero levels off any loss, so a small change does not show that longer training would
    not help. None with fewer than two epochs.
    """
    loss = curves["validation.loss"].mean(axis=0)
    if len(loss) < 2:
        return None
    before = loss[-1 - math.ceil((len(loss) - 1) / 5)]
    return float((before - loss[-1]) / before)


def _compare(before: np.ndarray, after: np.ndarray) -> Block:
    """Compares the first trials with the same trials after twice the steps."""
    before = before[: len(after)]
    return {"before": before, "after": after, "gain": float((after - before).mean())}


def evaluated_accuracy(curves: Arrays, config: Config) -> np.ndarray:
    """Returns the validation accuracy of the epoch that is evaluated, f64[T]."""
    accuracy = curves["validation.accuracy"]
    return np.nanmax(accuracy, axis=1) if config.classifier.select == "best" else accuracy[:, -1]
