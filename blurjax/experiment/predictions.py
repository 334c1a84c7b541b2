"""The stage of evaluation: predictions of classifiers and of probes (docs/run_directory.md)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial

import numpy as np

from blurjax.config.settings import PROBES
from blurjax.config.trials import Trial, autoencoder_trials, classifier_trials
from blurjax.config.view_table import VIEWS
from blurjax.data import generator
from blurjax.experiment import probes
from blurjax.experiment.context import Arrays, Context
from blurjax.experiment.fitted_views import FittedViews
from blurjax.experiment.programs import Models
from blurjax.runtime import processes

PROBE_UNITS = 128
"""Of the hidden layer of the small network that is trained on codes."""


def write_predictions(
    context: Context, classifiers: Mapping[str, Models], views: FittedViews
) -> None:
    """Writes what classifiers of every train view predict of the test split in every test view."""
    dataset, config = context.programs.dataset, context.config
    test = dataset.splits["test"]
    shared = {
        "label": dataset.labels[test],
        "index": np.arange(len(test), dtype=np.int32),
        "name": np.array([dataset.names[i] for i in test], dtype=np.str_),
    }
    for train_view, test_view in itertools.product(config.train_views, config.test_views):
        wanted = classifier_trials(config, train_view, test_view)
        predict = partial(_predict, context, classifiers[train_view], views, train_view, test_view)
        context.complete(context.run.predictions(train_view, test_view), wanted, predict, shared)


def _predict(
    context: Context,
    classifiers: Models,
    views: FittedViews,
    train_view: str,
    test_view: str,
    trials: list[Trial],
) -> Arrays:
    programs, needs_code = context.programs.for_view(train_view), VIEWS[train_view].needs_code
    own = [trial if needs_code else trial._replace(bottleneck=None) for trial in trials]
    models = [classifiers[trial] for trial in own]
    predicted = context.dispatch(
        programs.evaluate_classifier,
        programs.place_rows([model.variables for model in models]),
        views.parameters(test_view, trials),
        programs.dataset.splits["test"],
        len(trials),
    )()
    failed = [
        max(model.failed_step, *(views.failed_step(v, trial) for v in (train_view, test_view)))
        for trial, model in zip(trials, models, strict=True)
    ]
    return predicted | {"failed_step": np.array(failed, np.int32)}


def write_probes(context: Context, autoencoders: Models) -> None:
    """Writes what simple classifiers predict from the codes of the test split."""
    dataset, trials = context.programs.dataset, autoencoder_trials(context.config)
    shared = {"label": dataset.labels[dataset.splits["test"]]}
    # As many autoencoders at a time as the devices hold: all their codes may not fit into memory, and probes take long.
    group = context.programs.layout.padded(1)
    for kind, first in itertools.product(PROBES, range(0, len(trials), group)):
        fit = partial(_probe, context, autoencoders, kind)
        context.complete(context.run.probe(kind), trials[first : first + group], fit, shared)


def _probe(context: Context, autoencoders: Models, kind: str, trials: list[Trial]) -> Arrays:
    programs, config = context.programs, context.config
    dataset = programs.dataset
    train, test = dataset.splits["train"], dataset.splits["test"]
    if len(train) > probes.MOST_IMAGES:
        rng = generator(config.data.split_seed, "probe")
        train = np.sort(rng.choice(train, probes.MOST_IMAGES, replace=False))
    variables = programs.place_rows([autoencoders[trial].variables for trial in trials])
    bottlenecks = programs.place(trials, config.autoencoder).bottleneck
    encode = partial(context.dispatch, programs.encode, variables, bottlenecks)
    codes, test_codes = (encode(p, len(trials))()["code"] for p in (train, test))
    labels = dataset.labels[train]

    failed = np.array([autoencoders[trial].failed_step for trial in trials], np.int32)
    nothing = np.zeros(len(test), np.int32)

    def fit() -> list[np.ndarray]:
        return [
            nothing  # codes of a frozen autoencoder may be infinite
            if failed_step >= 0
            else probes.predict(kind, own, labels, test_own, units=PROBE_UNITS, seed=trial.seed)
            for trial, own, test_own, failed_step in zip(
                trials, codes, test_codes, failed, strict=True
            )
        ]

    # Of several processes the first alone fits them, since it alone writes.
    predicted = processes.on_first(fit) or [nothing] * len(trials)
    return {"prediction": np.stack(predicted), "failed_step": failed}
