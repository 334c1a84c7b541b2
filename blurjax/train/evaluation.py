"""From trained models to arrays: what every trial says of every example."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from blurjax.engine import Array, fetch
from blurjax.train.feed import AHEAD, Feed, batches_in_order

Evaluation = dict[str, np.ndarray]


def dispatch(
    program: Callable[..., Any],
    params: Any,
    view_parameters: Any,
    feed: Feed,
    positions: np.ndarray | Array,
    batch_size: int,
) -> Callable[[], Evaluation]:
    """Starts the evaluation of all trials on the examples at positions.

    Of long evaluations it waits for all but the last chunks, whose results go to the host as they come.

    Args:
      program: compiled sweep of `evaluation_loop`: (params, view parameters, data, positions, 0, length) -> {name:
        [T,K,B,...]}.
      params: pytree with a leading axis T.
      view_parameters: what the step takes as its second argument.
      feed: where images come from.
      positions: i32[N], of one split; or on the devices i32[T,S,B], each trial's own batches, whose N is S·B.
      batch_size: B.

    Returns:
      A function that waits and returns {name: array [T,N,...]}.
    """
    parts: list[Evaluation] = []
    running: deque[tuple[dict[str, Any], int]] = deque()
    is_shared = isinstance(positions, np.ndarray)
    count = len(positions) if is_shared else math.prod(positions.shape[1:])
    order: Any = batches_in_order(positions, batch_size) if is_shared else positions
    for chunk in feed.chunks(order):
        arguments = chunk.data, chunk.positions, chunk.start, chunk.length
        running.append((program(params, view_parameters, *arguments), chunk.length))
        if len(running) > AHEAD:
            parts.append(_examples(*running.popleft()))

    def wait() -> Evaluation:
        every = [*parts, *(_examples(*results) for results in running)]
        return {
            name: np.concatenate([part[name] for part in every], axis=1)[:, :count]
            for name in every[0]
        }

    return wait


def _examples(results: dict[str, Any], length: int) -> Evaluation:
    """Arrays [T,K,B,...] on the devices, of which `length` steps count -> [T,length*B,...] on the host."""
    arrays = {name: values[:, :length] for name, values in fetch(results).items()}
    return {name: a.reshape(a.shape[0], -1, *a.shape[3:]) for name, a in arrays.items()}


def accuracy_and_loss(
    evaluation: Evaluation, labels: np.ndarray, mask: np.ndarray | Literal[True] = True
) -> dict[str, np.ndarray]:
    """Means over examples: {"loss": [T], "accuracy": [T]}.

    Args:
      evaluation: "prediction" and "loss" [T,N].
      labels: [N], or [T,N].
      mask: bool [T,N], which examples count.
    """
    return {
        "loss": evaluation["loss"].mean(axis=1, where=mask),
        "accuracy": (evaluation["prediction"] == labels).mean(axis=1, where=mask),
    }
