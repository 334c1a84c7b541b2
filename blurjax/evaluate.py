"""From trained models to arrays: what every trial says of every example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from blurjax import processes
from blurjax.feed import Feed, batches_in_order

Evaluation = dict[str, np.ndarray]


def dispatch(
    program: Callable[..., Any],
    params: Any,
    view_parameters: Any,
    feed: Feed,
    positions: np.ndarray,
    batch_size: int,
) -> Callable[[], Evaluation]:
    """Starts the evaluation of all trials on the examples at positions.

    Args:
      program: compiled sweep of `loop_evaluation`: (params, view parameters, data, positions, 0, length) -> {name:
        [T,K,B,...]}.
      params: pytree with a leading axis T.
      view_parameters: what the step takes as its second argument.
      feed: where images come from.
      positions: i32[N], of one split.
      batch_size: B.

    Returns:
      A function that waits and returns {name: array [T,N,...]}.
    """
    order = batches_in_order(positions, batch_size)
    running = [
        (
            program(
                params, view_parameters, chunk.data, chunk.positions, chunk.start, chunk.length
            ),
            chunk.length,
        )
        for chunk in feed.chunks(order)
    ]

    def wait() -> Evaluation:
        parts = [
            {name: _examples(values, length) for name, values in part.items()}
            for part, length in running
        ]
        return {
            name: np.concatenate([part[name] for part in parts], axis=1)[:, : len(positions)]
            for name in parts[0]
        }

    return wait


def _examples(values: Any, length: int) -> np.ndarray:
    """[T,K,B,...] of which `length` steps count -> [T,length*B,...]."""
    array = processes.fetch(values)[:, :length]
    return array.reshape(array.shape[0], -1, *array.shape[3:])


def accuracy_and_loss(evaluation: Evaluation, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Means over examples: predictions and losses [T,N], labels [N] -> {"loss": [T], "accuracy": [T]}."""
    return {
        "loss": evaluation["loss"].mean(axis=1),
        "accuracy": (evaluation["prediction"] == labels).mean(axis=1),
    }
