"""What the points of a sweep, and curves through them, are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from blurjax.analysis.formatting import count, labels_in_words
from blurjax.analysis.types import Point


def point_name(point: Point, points: Sequence[Point]) -> str:
    """Returns the values in which a point differs from the others."""
    values = point["values"]
    varying = [name for name in values if len({other["values"][name] for other in points}) > 1]
    return " and ".join(
        count(values[name], "float")
        if name == "bottleneck"
        else labels_in_words(values[name])
        if name == "train_examples"
        else f"{name.replace('_', ' ')} {values[name]:g}"
        for name in varying or ["bottleneck"]
    )


def recipe_name(curve: Mapping[str, Any]) -> str:
    """Returns the values in which the points of a curve against the bottleneck agree."""
    name = f"Learning rate {curve['learning_rate']:g}, weight decay {curve['weight_decay']:g}"
    labels = curve["train_examples"]
    return name if labels is None else f"{name}, {labels_in_words(labels)}"
