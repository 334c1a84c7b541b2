"""The stage of views: fits what they are made with, and measures how blurry they are (docs/run_directory.md)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection
from functools import partial

import numpy as np

from blurjax.config.settings import SPLITS
from blurjax.config.trials import (
    Trial,
    autoencoder_trials,
    measured_views,
    quality_trials,
    views_in_use,
)
from blurjax.config.view_table import VIEWS
from blurjax.data import generator
from blurjax.experiment.codec_stage import fit_codecs, no_codec_images
from blurjax.experiment.context import Arrays, Context
from blurjax.experiment.fitted_views import Fit, FittedViews
from blurjax.experiment.programs import Models
from blurjax.runtime import RunDirectory, UserError, processes, read_npz
from blurjax.views.fitting import (
    candidate_sigmas,
    gaussian,
    principal_components,
    sigma_of_distortion,
)
from blurjax.views.functions import Basis, CodeRange

MOST_IMAGES = 50_000
"""Of the train split, whose codes' range is measured."""


def make_views(context: Context, autoencoders: Models) -> FittedViews:
    """Fits what the views in use need, and measures all of them."""
    views = fit_views(context, autoencoders)
    _write_quality(context, views, measured_views(context.config), SPLITS)
    return views


def fit_views(context: Context, autoencoders: Models) -> FittedViews:
    """Fits what the views in use need, or reads it where the run directory holds it."""
    in_use = views_in_use(context.config)
    basis = _basis(context) if "pca" in in_use else None
    trials = autoencoder_trials(context.config)
    height, width, _ = context.programs.dataset.image_shape
    unfitted = Fit(0.0, True, np.ones(min(height, width) // 2 + 1, np.float32))
    ranges = _code_ranges(context, autoencoders) if "quantised" in in_use else {}
    fits = {t: dataclasses.replace(unfitted, code_range=ranges.get(t)) for t in trials}
    unknown = no_codec_images(context, trials)
    views = FittedViews(context.programs, autoencoders, fits, basis, unknown)
    if not any(VIEWS[view].needs_code for view in in_use):
        return views
    _write_quality(context, views, ("original", "reconstruction"), ("validation",))
    path = context.run.fitted_views
    if "blur" in in_use:
        processes.on_first(partial(_drop_rows_without_blur, context.run))
    context.complete(path, trials, partial(_fit, context, views))
    arrays = read_npz(path)
    columns = zip(*(arrays[n] for n in ("trial", "sigma", "reachable", "gain")), strict=True)
    for key, sigma, reachable, gain in columns:
        trial = Trial.from_key(key)
        fits[trial] = Fit(float(sigma), bool(reachable), gain, ranges.get(trial))
    return FittedViews(context.programs, autoencoders, fits, basis, fit_codecs(context, trials))


def _fit(context: Context, views: FittedViews, trials: list[Trial]) -> Arrays:
    """Computes the columns of the file for autoencoders, from the quality of their reconstructions of validation."""
    original, reconstruction = (
        read_npz(context.run.quality(view, "validation")) for view in ("original", "reconstruction")
    )
    row_of = {key: row for row, key in enumerate(reconstruction["trial"].tolist())}
    rows = [row_of[trial.key] for trial in trials]
    before, after = original["spectrum"][:1], reconstruction["spectrum"][rows]
    gain = np.sqrt(np.divide(after, before, out=np.ones_like(after), where=before > 0))
    gain[:, 0] = 1.0  # the mean, which a spectrum leaves out
    sigma, reachable = np.zeros(len(trials), np.float32), np.ones(len(trials), bool)
    if "blur" in views_in_use(context.config):
        sigmas, distortion = _distortion_of_blur(context, views, trials)
        target = reconstruction["mse"][rows].mean(axis=1, dtype=np.float64)
        sigma, reachable = sigma_of_distortion(sigmas, distortion, target)
    return {"sigma": sigma, "reachable": reachable, "gain": gain}


def _drop_rows_without_blur(run: RunDirectory) -> None:
    """Drops the rows that were fitted while blur was not in use, and have no sigma."""
    arrays = read_npz(run.fitted_views) if run.fitted_views.exists() else {"sigma": np.ones(0)}
    fitted = arrays["sigma"] != 0  # that of a frozen autoencoder is NaN
    if not fitted.all():
        run.write_npz(run.fitted_views, **{name: a[fitted] for name, a in arrays.items()})


def _distortion_of_blur(
    context: Context, views: FittedViews, trials: list[Trial]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns sigmas f64[S], and the mean squared error f64[S] on validation of the blurs that they make.

    As many at a time as there are rows of trials with padding, whose program it is: each brings autoencoders with it.
    """
    programs = context.programs
    shape, positions = programs.dataset.image_shape, programs.dataset.splits["validation"]
    parameters, errors = views.parameters("blur", trials), []
    sigmas = candidate_sigmas(shape)
    rows = programs.layout.padded(len(trials))
    for some in np.array_split(sigmas, range(rows, len(sigmas), rows)):
        blurs = programs.place_rows([gaussian(sigma, shape) for sigma in np.resize(some, rows)])
        of_blurs = None, parameters._replace(blur=blurs), positions, len(some)
        measured = context.dispatch(programs.measure_view, *of_blurs)()
        errors.append(measured["mse"].mean(axis=1, dtype=np.float64))
    return sigmas, np.concatenate(errors)


def _code_ranges(context: Context, autoencoders: Models) -> dict[Trial, CodeRange]:
    """Returns the range of each float of the autoencoders' codes on the train split (50,000 images of it, at most)."""
    config, programs, path = context.config, context.programs, context.run.code_ranges
    train, trials = programs.dataset.splits["train"], autoencoder_trials(config)
    if len(train) > MOST_IMAGES:
        rng = generator(config.data.split_seed, "quantised")
        train = np.sort(rng.choice(train, MOST_IMAGES, replace=False))

    def fit(trials: list[Trial]) -> Arrays:
        variables = programs.place_rows([autoencoders[trial].variables for trial in trials])
        bottlenecks = programs.place(trials, config.autoencoder).bottleneck
        wait = context.dispatch(programs.encode, variables, bottlenecks, train, len(trials))
        codes = wait()["code"]
        return {"low": codes.min(axis=1), "high": codes.max(axis=1)}

    # As many at a time as the devices hold: all codes may not fit into memory.
    group = programs.layout.padded(1)
    for first in range(0, len(trials), group):
        context.complete(path, trials[first : first + group], fit)
    arrays = read_npz(path)
    columns = zip(*(arrays[name] for name in ("trial", "low", "high")), strict=True)
    return {Trial.from_key(key): CodeRange(low, high) for key, low, high in columns}


def _basis(context: Context) -> Basis:
    path = context.run.principal_components

    def fit() -> None:
        config, dataset = context.config, context.programs.dataset
        components, seed = config.autoencoder.max_bottleneck, config.data.split_seed
        assert components is not None
        train, rng = dataset.splits["train"], generator(seed, "pca")
        basis = principal_components(dataset.images, train, components, rng, seed)
        context.run.write_npz(path, **basis._asdict())

    processes.on_first(lambda: None if path.exists() else fit())
    return Basis(**read_npz(path))


def _write_quality(
    context: Context, views: FittedViews, names: Collection[str], splits: Collection[str]
) -> None:
    """Measures views on splits (of train, its monitored subset) where that is not done yet.

    Raises:
      UserError: the values of a view are not 8-bit ones.
    """
    for name, split in itertools.product(names, splits):
        measure = partial(_measure, context, views, name, split)
        context.complete(
            context.run.quality(name, split), quality_trials(context.config, name), measure
        )


def _measure(
    context: Context, views: FittedViews, view: str, split: str, trials: list[Trial]
) -> Arrays:
    programs = context.programs
    positions = (programs.monitored | {"test": programs.dataset.splits["test"]})[split]
    parameters = views.parameters(view, trials)
    wait = context.dispatch(programs.measure_view, None, parameters, positions, len(trials))
    measured = wait()
    failed = np.array([views.failed_step(view, trial) for trial in trials], np.int32)
    if not (measured.pop("off")[failed < 0] < 0.01).all():  # NaN is not
        raise UserError(
            f"The view {view} returns values that are not multiples of 1/255 from 0 to 1; let its function end with "
            "eight_bit (docs/extending.md)."
        )
    return measured | {"spectrum": measured["spectrum"].mean(axis=1), "failed_step": failed}
