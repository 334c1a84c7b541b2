"""Few labels: classifiers that are trained on labelled images of their own, drawn by their seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from blurjax.config.settings import fitted
from blurjax.config.trials import Trial
from blurjax.data import Dataset, nested_subsets
from blurjax.engine import Array
from blurjax.experiment.programs import Programs
from blurjax.train.feed import batches_in_order


class Monitored(NamedTuple):
    """Images on which the classifiers of a job are measured after every epoch."""

    evaluate: Callable[..., Any]
    """The program."""
    positions: np.ndarray | Array
    """As `dispatch` takes them."""
    labels: np.ndarray
    """i32[N], or i32[T,N] where each trial has images of its own."""
    mask: np.ndarray | Literal[True] = True
    """bool[T,N], False where a trial has fewer images than others."""


def labelled(dataset: Dataset, trial: Trial) -> np.ndarray:
    """Returns the positions of a classifier's labelled images; of one seed, the fewer are the first of the more."""
    train = dataset.splits["train"]
    if trial.train_examples is None:
        return train
    return train[nested_subsets(dataset.labels[train], trial.seed)[: trial.train_examples]]


def classifier_order(programs: Programs, trials: Sequence[Trial]) -> Callable[[Any, int], Any]:
    """Returns the order of training images of a job: (states [T], epoch) -> what the feed takes."""
    if not any(trial.train_examples for trial in trials):
        return programs.classifier_order
    rows = [labelled(programs.dataset, trial).astype(np.int32) for trial in trials]
    width = max(map(len, rows))
    own = programs.place_rows([np.pad(row, (0, width - len(row))) for row in rows])
    lengths = programs.place_rows([np.int32(len(row)) for row in rows])
    train = programs.dataset.splits["train"].astype(np.int32)
    return lambda states, epoch: programs.subset_order(
        states.hyperparameters.seed, own, lengths, epoch, train
    )


def monitored(programs: Programs, trials: Sequence[Trial]) -> dict[str, Monitored]:
    """Returns the images of train and validation on which a job is measured.

    Of train, a trial with few labels is measured on its labelled images, at most as many as validation has; the others
    on the subset that they share.
    """
    dataset, split_of = programs.dataset, programs.monitored
    found = {
        name: Monitored(programs.evaluate_classifier, positions, dataset.labels[positions])
        for name, positions in split_of.items()
    }
    if not any(trial.train_examples for trial in trials):
        return found
    most, batch_size = len(split_of["validation"]), fitted(programs.config.classifier.batch_size)
    rows = [
        labelled(dataset, trial)[:most] if trial.train_examples else split_of["train"]
        for trial in trials
    ]
    width = max(map(len, rows))
    padded = [np.pad(row, (0, width - len(row)), constant_values=-1) for row in rows]
    batches = [batches_in_order(row, batch_size) for row in padded]
    positions = np.stack(batches).reshape(len(trials), -1)
    evaluate, order = programs.evaluate_classifier_on_own, programs.place_rows(batches)
    on_train = Monitored(evaluate, order, dataset.labels[positions], positions >= 0)
    return found | {"train": on_train}
