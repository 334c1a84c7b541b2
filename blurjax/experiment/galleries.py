"""Test images and their views for figures: a gallery, and images whose answers change (docs/run_directory.md)."""

from __future__ import annotations

import numpy as np

from blurjax.analysis import flips
from blurjax.config.trials import Trial, autoencoder_trials, classifier_trial, points
from blurjax.config.view_table import named
from blurjax.experiment.context import Context
from blurjax.experiment.fitted_views import FittedViews
from blurjax.runtime import read_npz

OWN_CELLS = ("original", "original"), ("reconstruction", "reconstruction")


def write_gallery(context: Context, views: FittedViews) -> None:
    """Writes test images of all classes in turn, in every view, at every bottleneck."""
    config, dataset = context.config, context.programs.dataset
    test = dataset.splits["test"]
    labels = dataset.labels[test]
    by_rank_in_class = np.argsort(_rank_in_class(labels), kind="stable")
    chosen = by_rank_in_class[: config.report.gallery]
    chosen = test[chosen[np.argsort(labels[chosen], kind="stable")]]
    in_use = {*config.test_views, "reconstruction"} - {"original"}
    shown = [view for view in named(measured=True) if view in in_use]
    images = [
        [views.images(view, trial, chosen) for view in shown]
        for trial in _first_autoencoders(context)
    ]
    original = np.asarray(dataset.images[chosen])
    context.writer.write_images("original", original)
    for bottleneck, of_views in zip(config.bottlenecks, images, strict=True):
        for view, viewed in zip(shown, of_views, strict=True):
            context.writer.write_images(f"{view} bottleneck={bottleneck}", viewed)
    context.run.write_npz(
        context.run.gallery,
        original=original,
        views=np.array(images, np.uint8),
        view_names=np.array(shown, dtype=np.str_),
        bottleneck=np.array(config.bottlenecks, np.int32),
        label=dataset.labels[chosen],
        name=np.array([dataset.names[i] for i in chosen], dtype=np.str_),
    )


def write_flips(context: Context, views: FittedViews) -> None:
    """Writes the test images that most trials answer differently once all is reconstructed."""
    config, dataset, run = context.config, context.programs.dataset, context.run
    paths = [run.predictions(*cell) for cell in OWN_CELLS]
    if not all(path.exists() for path in paths):
        return
    arrays = [read_npz(path) for path in paths]
    # The first of the other swept values at every bottleneck.
    first = [next(p for p in points(config) if p.bottleneck == b) for b in config.bottlenecks]
    counts = []
    for point in first:
        correct = []
        for cell, values in zip(OWN_CELLS, arrays, strict=True):
            keys = values["trial"].tolist()
            rows = [keys.index(classifier_trial(point, s, *cell).key) for s in config.seeds]
            correct.append(values["prediction"][rows] == values["label"])
        counts.append(flips(*correct))
    chosen = np.argsort(-np.stack(counts), axis=1, kind="stable")[:, : config.report.gallery]
    positions = dataset.splits["test"][chosen]
    reconstructed = [
        views.images("reconstruction", trial, own)
        for trial, own in zip(_first_autoencoders(context), positions, strict=True)
    ]
    run.write_npz(
        run.flips,
        bottleneck=np.array(config.bottlenecks, np.int32),
        index=chosen.astype(np.int32),
        count=np.take_along_axis(np.stack(counts), chosen, axis=1).astype(np.int32),
        original=np.asarray(dataset.images[positions]),
        reconstruction=np.stack(reconstructed),
        label=dataset.labels[positions],
        name=np.array([[dataset.names[i] for i in row] for row in positions], dtype=np.str_),
    )


def _first_autoencoders(context: Context) -> list[Trial]:
    """Returns the first seed's autoencoder at every bottleneck."""
    config = context.config
    return [trial for trial in autoencoder_trials(config) if trial.seed == config.seeds[0]]


def _rank_in_class(labels: np.ndarray) -> np.ndarray:
    """Returns how many examples of the same class come before each."""
    ranks = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ranks[members] = np.arange(len(members))
    return ranks
