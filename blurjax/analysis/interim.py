"""What a run that is not finished has measured so far, on validation images: the content of an interim report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from blurjax.analysis import scores
from blurjax.analysis.recorded_run import Unfinished, read_curves
from blurjax.analysis.training_length import evaluated_accuracy
from blurjax.analysis.types import Arrays, Block
from blurjax.config.settings import Config
from blurjax.config.trials import (
    LONGER,
    Point,
    Trial,
    all_autoencoder_trials,
    autoencoder_trials,
    checked,
    checked_views,
    classifier_trial,
    classifier_trials,
    points,
)
from blurjax.runtime import RunDirectory, read_json

Stage = tuple[str, str | None]
"""Its name, and the train view of classifiers."""


def collect_interim(run: RunDirectory, config: Config) -> Block:
    """Computes what can be said of a run before its training is over.

    Nothing of the test images is in it: these are looked at once, when all is trained.

    Args:
      run: a run directory, which is only read; a process may be writing to it.
      config: its settings, fitted to the data.

    Returns:
      `dataset`: content of dataset.json; `stages`: a list of {"stage", "view", "trials", "trained", "epoch",
      "epochs"}, where `epoch` is the least that a trial has reached; `points`: a list of {"values", "classifiers":
      {train view: ...}, "history"}, as `_point` returns them.

    Raises:
      Unfinished: not one epoch is over.
      UserError: something is damaged.
    """
    curves, reached = read_curves(run), _Reached(run)
    if not curves or not run.dataset.exists():
        raise Unfinished(
            f"The run in {run.path} has only begun: there is nothing to report before its first epoch is over."
        )
    return {
        "dataset": read_json(run.dataset),
        "stages": [
            {"stage": stage, "view": view} | reached.summary((stage, view), trials, epochs)
            for stage, view, trials, epochs in _stages(config)
        ],
        "points": [_point(point, config, curves, reached) for point in points(config)],
    }


def _stages(config: Config) -> list[tuple[str, str | None, Sequence[Trial], Any]]:
    """Returns all training that the settings ask for, in its order: stage, view, trials, epochs."""
    autoencoders: Any = config.autoencoder.epochs
    classifiers: Any = config.classifier.epochs
    stages: list[tuple[str, str | None, Sequence[Trial], Any]] = [
        ("autoencoder", None, all_autoencoder_trials(config), autoencoders)
    ]
    for view in config.train_views:
        stages.append(("classifier", view, classifier_trials(config, view), classifiers))
    if config.autoencoder.check:
        trials = checked(config, autoencoder_trials(config))
        stages.append((f"{LONGER}autoencoder", None, trials, 2 * autoencoders))
    for view in checked_views(config):
        trials = checked(config, classifier_trials(config, view))
        stages.append((f"{LONGER}classifier", view, trials, 2 * classifiers))
    return stages


class _Reached:
    """How many epochs of each trial are over, and which trials were frozen."""

    def __init__(self, run: RunDirectory):
        self._epochs: dict[Stage, dict[str, Any]] = {}
        self._frozen: dict[Stage, set[str]] = {}
        for line, trials in run.metrics_with_trials():
            stage, keys = (line["stage"], line["view"]), [Trial(**trial).key for trial in trials]
            self._epochs.setdefault(stage, {}).update(dict.fromkeys(keys, line["epoch"]))
            frozen = {k for k, loss in zip(keys, line["loss"], strict=True) if loss is None}
            self._frozen.setdefault(stage, set()).update(frozen)

    def epoch(self, stage: Stage, trial: Trial) -> int:
        """Returns the epochs that are over, 0 where the trial has not begun."""
        return self._epochs.get(stage, {}).get(trial.key, 0)

    def usable(self, stage: Stage, trials: Iterable[Trial]) -> list[Trial]:
        """Returns the trials that have begun and were not frozen."""
        frozen = self._frozen.get(stage, set())
        return [t for t in trials if self.epoch(stage, t) and t.key not in frozen]

    def summary(self, stage: Stage, trials: Sequence[Trial], epochs: int) -> Block:
        """Returns how many of the trials are trained, and the least epoch that one has reached."""
        reached = [self.epoch(stage, trial) for trial in trials]
        return {
            "trials": len(trials),
            "trained": sum(epoch >= epochs for epoch in reached),
            "epoch": min(reached),
            "epochs": epochs,
        }


def _point(
    point: Point, config: Config, curves: Mapping[Stage, Arrays], reached: _Reached
) -> Block:
    """Returns what is known at a point.

    `classifiers` has, for each train view, the `summary` of its trials, `frozen` (how many) and `accuracy` on
    validation in the classifier's own view: {"mean", "range"} over trials, None until all trials of the view are
    trained.
    """
    seeds = config.seeds
    epochs: Any = config.classifier.epochs
    classifiers: Block = {}
    history: Block = {}
    for view in config.train_views:
        stage = ("classifier", view)
        trials = [classifier_trial(point, seed, view) for seed in seeds]
        summary, usable = reached.summary(stage, trials, epochs), reached.usable(stage, trials)
        begun = [trial for trial in trials if reached.epoch(stage, trial)]
        accuracy = None
        if usable:
            rows = _rows(curves[stage], usable)
            history[view] = scores.history(rows)
            if summary["trained"] == len(trials):
                values = evaluated_accuracy(rows, config)
                accuracy = {"mean": values.mean(), "range": (values.min(), values.max())}
        classifiers[view] = summary | {"frozen": len(begun) - len(usable), "accuracy": accuracy}
    autoencoders = [Trial(seed, point.bottleneck) for seed in seeds]
    usable = reached.usable(("autoencoder", None), autoencoders)
    of_autoencoder = _rows(curves[("autoencoder", None)], usable) if usable else {}
    return {
        "values": point._asdict(),
        "classifiers": classifiers,
        "history": {"autoencoder": scores.history(of_autoencoder), "classifier": history},
    }


def _rows(table: Arrays, trials: Sequence[Trial]) -> dict[str, np.ndarray]:
    """Returns the curves of these trials, f64[T,E], up to the last epoch that one of them has reached."""
    keys = table["trial"].tolist()
    rows = [keys.index(trial.key) for trial in trials]
    found = {name: values[rows] for name, values in table.items() if name != "trial"}
    last = max(int(np.flatnonzero(~np.isnan(values).all(axis=0))[-1]) for values in found.values())
    return {name: values[:, : last + 1] for name, values in found.items()}
