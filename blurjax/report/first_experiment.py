"""What the experiment of 2020 probably saw, in a sentence computed from results.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from blurjax.analysis import statistics
from blurjax.analysis.formatting import level, signed, signed_span
from blurjax.report.answer import contains_zero


def retold(point: Mapping[str, Any], confidence: float) -> str:
    """The experiment whose training accuracy climbed while validation did not, beside this run's gaps."""
    history = point["history"]["classifier"]["reconstruction"]
    own = _gap(history, "validation")
    sentence = (
        "The experiment of 2020 saw training accuracy climb and validation accuracy stay behind. "
        "Here, trained on reconstructions, the gap between the two went from "
        f"{signed(own[0].mean())} points after the first epoch to {signed(own[-1].mean())} after "
        "the last when validated on reconstructions"
    )
    if "validation_original" not in history:
        return sentence + "."
    other = _gap(history, "validation_original")
    sentence += (
        f", and from {signed(other[0].mean())} to {signed(other[-1].mean())} when validated on "
        "originals"
    )
    return sentence + _which(other[-1] - own[-1], confidence)


def _which(excess: np.ndarray, confidence: float) -> str:
    """Whether it matters what was validated on; excess[T]: how much larger the originals' gap is."""
    _, interval = statistics.over_trials(excess, confidence)
    size = f"{signed(excess.mean())} points"
    if interval is None:
        return f": a difference of {size}, in too few trials to tell from chance."
    low, high = interval.tolist()
    over_trials = f"{level(confidence)} interval over trials {signed_span((low, high))}"
    if contains_zero((low, high)):
        return (
            f": a difference of {size} ({over_trials}), so whether it validated on the one or the other "
            "is not what this run can tell apart."
        )
    wider = "originals" if excess.mean() > 0 else "reconstructions"
    return (
        f": a difference of {size} ({over_trials}), so it probably saw more of a gap if it validated on "
        f"{wider}."
    )


def _gap(history: Mapping[str, Any], side: str) -> np.ndarray:
    """[E,T]: accuracy on train minus on this side."""
    train, other = (np.array(history[key]["accuracy"], float) for key in ("train", side))
    return train - other
