"""Fits what views are made with: blurs of equal distortion, spectra, principal components."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA

from blurjax.config.view_names import NEEDS_CODE, views_in_use
from blurjax.data.splits import generator
from blurjax.engine.types import Trial
from blurjax.experiment.context import Context, Models
from blurjax.experiment.fitted_views import Fit, FittedViews, gaussian
from blurjax.experiment.trial_table import Arrays, trials_of
from blurjax.experiment.trials import autoencoder_trials
from blurjax.experiment.view_quality import write_view_quality
from blurjax.runtime import processes
from blurjax.runtime.run_directory import read_npz
from blurjax.views.functions import Basis

FITTED, COMPONENTS = "views/fitted.npz", "views/pca.npz"
MOST_PCA_IMAGES = 20_000
SMALLEST_SIGMA, SIGMAS = 0.2, 24
"""Of the curve that blurs are read from: pixels, and how many between it and the size of the image."""


def fit_views(context: Context, autoencoders: Models) -> FittedViews:
    """Fits what the views in use need, or reads it where the run directory holds it (docs/run_directory.md)."""
    basis = _basis(context) if "pca" in views_in_use(context.config) else None
    trials = autoencoder_trials(context.config)
    height, width, _ = context.programs.dataset.image_shape
    unfitted = Fit(0.0, True, np.ones(min(height, width) // 2 + 1, np.float32))
    views = FittedViews(context, autoencoders, dict.fromkeys(trials, unfitted), basis)
    if not NEEDS_CODE & {*views_in_use(context.config)}:
        return views
    write_view_quality(context, views, ("original", "reconstruction"), ("validation",))
    context.complete(FITTED, trials, lambda missing: _fit(context, views, missing))
    arrays = read_npz(context.run / FITTED)
    columns = zip(*(arrays[name] for name in ("sigma", "reachable", "gain")), strict=True)
    rows = zip(trials_of(arrays), columns, strict=True)
    fits = {trial: Fit(float(sigma), bool(there), gain) for trial, (sigma, there, gain) in rows}
    return FittedViews(context, autoencoders, fits, basis)


def _fit(context: Context, views: FittedViews, trials: list[Trial]) -> Arrays:
    """The columns of fitted.npz, for autoencoders, from what validation looks like in their reconstructions."""
    plain, painted = (
        read_npz(context.run / f"predictions/quality-{view}-validation.npz")
        for view in ("original", "reconstruction")
    )
    known = trials_of(painted)
    rows = [known.index(trial) for trial in trials]
    before, after = plain["spectrum"], painted["spectrum"][rows]
    gain = np.sqrt(np.divide(after, before, out=np.ones_like(after), where=before > 0))
    gain[:, 0] = 1.0  # the mean, which a spectrum leaves out
    sigma, reachable = np.zeros(len(trials), np.float32), np.ones(len(trials), bool)
    if "blur" in views_in_use(context.config):
        sigmas, distortion = _distortion_of_blur(context, views, trials[0])
        target = painted["mse"][rows].mean(axis=1, dtype=np.float64)
        sigma, reachable = read_curve(sigmas, distortion, target)
    return {"sigma": sigma, "reachable": reachable, "gain": gain}


def _distortion_of_blur(
    context: Context, views: FittedViews, some: Trial
) -> tuple[np.ndarray, np.ndarray]:
    """Sigmas f64[S], and the mean squared error f64[S] on validation of the blurs that they make."""
    shape = context.programs.dataset.image_shape
    sigmas = np.geomspace(SMALLEST_SIGMA, max(shape[:2]), SIGMAS)
    blurs = context.programs.place_rows([gaussian(sigma, shape) for sigma in sigmas])
    parameters = views.parameters("blur", [some] * SIGMAS)._replace(blur=blurs)
    program, positions = (
        context.programs.measure_view,
        context.programs.dataset.splits["validation"],
    )
    measured = context.dispatch(program, None, parameters, positions, SIGMAS)()
    return sigmas, measured["mse"].mean(axis=1, dtype=np.float64)


def read_curve(
    sigmas: np.ndarray, distortion: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The sigmas at which a curve of distortions reaches its targets.

    Interpolated between logarithms, where distortions are close to straight.

    Args:
      sigmas: f64[S], ascending.
      distortion: f64[S], mean squared errors, 0 where a blur is so weak that 8 bits do not show it.
      target: f64[T], mean squared errors.

    Returns:
      f32[T], clamped to the range of sigmas, and bool[T]: whether the curve reaches the target.
    """
    rising = np.maximum.accumulate(distortion)
    first = int(np.argmax(rising > 0))
    with np.errstate(divide="ignore"):
        wanted, known = np.log(target), np.log(rising[first:])
    found = np.exp(np.interp(wanted, known, np.log(sigmas[first:])))
    return found.astype(np.float32), (wanted >= known[0]) & (wanted <= known[-1])


def _basis(context: Context) -> Basis:
    path = context.run / COMPONENTS

    def fit() -> None:
        config = context.config
        components = config.autoencoder.max_bottleneck
        assert components is not None
        dataset, seed = context.programs.dataset, config.data.split_seed
        train = dataset.splits["train"]
        basis = principal_components(dataset.images, train, components, seed)
        context.run.write_npz(COMPONENTS, **basis._asdict())

    processes.on_first(lambda: None if path.exists() else fit())
    return Basis(**read_npz(path))


def principal_components(images: np.ndarray, positions: np.ndarray, count: int, seed: int) -> Basis:
    """The first principal components of some of images u8[N,H,W,C], of at most 20,000 drawn by the seed.

    Randomised (Halko, Martinsson and Tropp 2011), in float32.
    """
    if len(positions) > MOST_PCA_IMAGES:
        chosen = generator(seed, "pca").choice(len(positions), MOST_PCA_IMAGES, replace=False)
        positions = positions[np.sort(chosen)]
    values = images[positions].reshape(len(positions), -1).astype(np.float32) / np.float32(255)
    count = min(count, *values.shape)
    fitted = PCA(count, svd_solver="randomized", random_state=seed).fit(values)
    return Basis(np.float32(fitted.mean_), np.float32(fitted.components_))
