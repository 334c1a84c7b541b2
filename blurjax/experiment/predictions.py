"""What the trained models make of the images, on disk: predictions/*.npz (docs/run_directory.md)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from blurjax.analysis import statistics
from blurjax.config.view_names import MEASURED, NEEDS_CODE
from blurjax.data.splits import generator
from blurjax.engine.types import Trial
from blurjax.experiment import probe
from blurjax.experiment.context import Context, Models
from blurjax.experiment.fitted_views import FittedViews
from blurjax.experiment.trial_table import Arrays, trials_of
from blurjax.experiment.trials import autoencoder_trials, classifier_of, point_trials
from blurjax.runtime import processes
from blurjax.runtime.files import read_npz


def write_predictions(
    context: Context, classifiers: Mapping[str, Models], views: FittedViews
) -> None:
    """<train view>-on-<test view>.npz, for each pair."""
    dataset = context.programs.dataset
    test = dataset.splits["test"]
    shared = {
        "label": dataset.labels[test],
        "index": np.arange(len(test), dtype=np.int32),
        "name": np.array([dataset.names[i] for i in test], dtype=np.str_),
    }
    config = context.config
    for train_view, test_view in itertools.product(config.train_views, config.test_views):
        wanted = point_trials(config, needs_code=bool({train_view, test_view} & NEEDS_CODE))
        predict = partial(_predict, context, classifiers[train_view], views, train_view, test_view)
        context.complete(f"predictions/{train_view}-on-{test_view}.npz", wanted, predict, shared)


def _predict(
    context: Context,
    classifiers: Models,
    views: FittedViews,
    train_view: str,
    test_view: str,
    rows: list[Trial],
) -> Arrays:
    """What the classifiers of one train view say of the test split in one view."""
    programs = context.programs
    models = [classifiers[classifier_of(row, train_view)] for row in rows]
    predicted = context.dispatch(
        programs.evaluate_classifier,
        programs.place_rows([model.params for model in models]),
        views.parameters(test_view, rows),
        programs.dataset.splits["test"],
        len(rows),
    )()
    failed = [
        max(model.failed_step, *(views.failed_step(view, row) for view in (train_view, test_view)))
        for row, model in zip(rows, models, strict=True)
    ]
    return predicted | {"failed_step": np.array(failed, np.int32)}


def write_probes(context: Context, autoencoders: Models) -> None:
    """code-linear.npz and code-mlp.npz: what simple classifiers make of the code itself."""
    trials = autoencoder_trials(context.config)
    dataset = context.programs.dataset
    shared = {"label": dataset.labels[dataset.splits["test"]]}
    # As many autoencoders at a time as the devices hold: all their codes may not fit into memory, and probes take long.
    group = context.programs.layout.padded(1)
    for kind, first in itertools.product(probe.KINDS, range(0, len(trials), group)):
        ask = partial(_probe, context, autoencoders, kind)
        name, some = f"predictions/code-{kind}.npz", trials[first : first + group]
        context.complete(name, some, ask, shared)


def _probe(context: Context, autoencoders: Models, kind: str, rows: list[Trial]) -> Arrays:
    dataset = context.programs.dataset
    train, test = dataset.splits["train"], dataset.splits["test"]
    if len(train) > probe.MOST_IMAGES:
        rng = generator(context.config.data.split_seed, "probe")
        train = np.sort(rng.choice(train, probe.MOST_IMAGES, replace=False))
    codes, test_codes = (_codes(context, autoencoders, rows, split) for split in (train, test))
    labels, units = dataset.labels[train], context.config.classifier.dense

    def fit() -> list[np.ndarray]:
        return [
            probe.predict(kind, *of_trial, units=units, seed=row.seed)
            for row, *of_trial in zip(rows, codes, [labels] * len(rows), test_codes, strict=True)
        ]

    # Of several processes the first alone fits them, since it alone writes.
    predicted = processes.on_first(fit) or [np.zeros(len(test), np.int32)] * len(rows)
    failed = np.array([autoencoders[row].failed_step for row in rows], np.int32)
    return {"prediction": np.stack(predicted), "failed_step": failed}


def _codes(
    context: Context, autoencoders: Models, rows: list[Trial], positions: np.ndarray
) -> np.ndarray:
    """f32[T,N,D]."""
    programs = context.programs
    params = programs.place_rows([autoencoders[row].params for row in rows])
    bottlenecks = programs.place(rows).bottleneck
    return context.dispatch(programs.encode, params, bottlenecks, positions, len(rows))()["code"]


def write_gallery(context: Context, views: FittedViews) -> None:
    """gallery.npz: test images of all classes in turn, in every view, at every bottleneck."""
    config, dataset = context.config, context.programs.dataset
    test = dataset.splits["test"]
    labels = dataset.labels[test]
    by_rank_in_class = np.argsort(_rank_in_class(labels), kind="stable")
    chosen = by_rank_in_class[: config.report.gallery]
    chosen = test[chosen[np.argsort(labels[chosen], kind="stable")]]
    shown = [view for view in MEASURED if view in {*config.test_views, "reconstruction"}]
    painted = [
        [_paint(context, views, view, trial, chosen) for view in shown]
        for trial in _first_seeds(context)
    ]
    context.run.write_npz(
        "predictions/gallery.npz",
        original=np.asarray(dataset.images[chosen]),
        views=np.array(painted, np.uint8),
        view_names=np.array(shown, dtype=np.str_),
        bottleneck=np.array(config.bottlenecks, np.int32),
        label=dataset.labels[chosen],
        name=np.array([dataset.names[i] for i in chosen], dtype=np.str_),
    )


def write_flips(context: Context, views: FittedViews) -> None:
    """flips.npz: the test images that most trials answer differently once all is reconstructed."""
    config, dataset = context.config, context.programs.dataset
    cells = ["original-on-original", "reconstruction-on-reconstruction"]
    paths = [context.run / "predictions" / f"{cell}.npz" for cell in cells]
    if not all(path.exists() for path in paths):
        return
    arrays = [read_npz(path) for path in paths]
    counts = [
        statistics.flips(*(_correct(cell, _of_first_recipe(context, trial)) for cell in arrays))
        for trial in _first_seeds(context)
    ]
    chosen = np.argsort(-np.stack(counts), axis=1, kind="stable")[:, : config.report.gallery]
    positions = dataset.splits["test"][chosen]
    painted = [
        _paint(context, views, "reconstruction", trial, of_trial)
        for trial, of_trial in zip(_first_seeds(context), positions, strict=True)
    ]
    context.run.write_npz(
        "predictions/flips.npz",
        bottleneck=np.array(config.bottlenecks, np.int32),
        index=chosen.astype(np.int32),
        count=np.take_along_axis(np.stack(counts), chosen, axis=1).astype(np.int32),
        original=np.asarray(dataset.images[positions]),
        reconstruction=np.stack(painted),
        label=dataset.labels[positions],
        name=np.array([[dataset.names[i] for i in row] for row in positions], dtype=np.str_),
    )


def _first_seeds(context: Context) -> list[Trial]:
    """The first seed's autoencoder at every bottleneck."""
    config = context.config
    return [trial for trial in autoencoder_trials(config) if trial.seed == config.seeds[0]]


def _of_first_recipe(context: Context, painter: Trial) -> list[Trial]:
    """The trials of a bottleneck with the first learning rate and weight decay."""
    config = context.config
    return [
        Trial(seed, config.learning_rates[0], config.weight_decays[0], painter.bottleneck)
        for seed in config.seeds
    ]


def _correct(arrays: Arrays, trials: Sequence[Trial]) -> np.ndarray:
    """bool[T,N], whether each trial names each image's class; rows of no bottleneck serve all."""
    rows = {trial: row for row, trial in enumerate(trials_of(arrays))}
    own = [rows[t] if t in rows else rows[t._replace(bottleneck=0)] for t in trials]
    return arrays["prediction"][own] == arrays["label"]


def _paint(
    context: Context, views: FittedViews, view: str, trial: Trial, positions: np.ndarray
) -> np.ndarray:
    """Images u8[M,H,W,C] at positions [M], in a view of one trial."""
    images = np.asarray(context.programs.dataset.images[positions])
    return np.asarray(context.programs.paint(views.of_trial(view, trial), images, positions))


def _rank_in_class(labels: np.ndarray) -> np.ndarray:
    """How many examples of the same class come before each."""
    ranks = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ranks[members] = np.arange(len(members))
    return ranks
