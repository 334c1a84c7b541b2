"""The views with everything fitted that they are made with: blurs of equal distortion, principal components, ..."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from blurjax.config.settings import Config
from blurjax.config.view_names import (
    NEEDS_AUTOENCODER,
    NEEDS_FOLDS,
    num_folds,
    views_in_use,
)
from blurjax.data.dataset import Dataset
from blurjax.data.splits import generator
from blurjax.engine.mesh import place, shared
from blurjax.engine.types import ALL_DATA, Params, Trial
from blurjax.experiment.context import Context, Models
from blurjax.experiment.trials import autoencoder_of
from blurjax.runtime.errors import UserError
from blurjax.views.functions import Basis, Matrices, ViewParameters, view_index
from blurjax.views.image_quality import gaussian_blur_matrix


@dataclass(frozen=True)
class Fit:
    """What belongs to one autoencoder."""

    sigma: float
    """Pixels, of the Gaussian blur whose distortion on validation is the autoencoder's."""
    reachable: bool
    """False where no blur has it, and sigma is the nearest."""
    gain: np.ndarray
    """f32[R], the root of the share of power that is left at each radius of frequency."""


class FittedViews:
    """Everything that views are made with, laid out for whichever trials ask."""

    def __init__(
        self, context: Context, autoencoders: Models, fits: dict[Trial, Fit], basis: Basis | None
    ):
        self._programs, self._config = context.programs, context.config
        self._autoencoders, self._fits = autoencoders, fits
        self._shared = {"fold_of": context.examples.fold_of, "basis": basis}
        self._placed = place(self._shared, shared(self._programs.layout.mesh))
        self._of_trials: dict[Any, ViewParameters] = {}

    def parameters(self, view: str, trials: Sequence[Trial]) -> ViewParameters:
        """What a view is made with, for trials as `Programs.place` lays them on the devices."""
        which = tuple(trials), view == "shuffled"
        if which not in self._of_trials:
            self._of_trials = dict([*self._of_trials.items()][-1:])  # the last two are kept
            self._of_trials[which] = self._place(*which)
        return self._of_trials[which]._replace(view=self._programs.view_index(view), **self._placed)

    def of_trial(self, view: str, trial: Trial) -> ViewParameters:
        """What a view of one trial is made with, on the host."""
        row = self._row(trial, view == "shuffled")
        return row._replace(view=np.int32(view_index(view)), **self._shared)

    def failed_step(self, view: str, trial: Trial) -> int:
        """The step at which an autoencoder that the view needs was frozen, or -1."""
        folds = list(range(num_folds(self._config))) if view in NEEDS_FOLDS else []
        folds += [ALL_DATA] if view in NEEDS_AUTOENCODER else []
        painters = [autoencoder_of(trial, self._config, fold=fold) for fold in folds]
        return max((self._autoencoders[painter].failed_step for painter in painters), default=-1)

    def _place(self, trials: tuple[Trial, ...], is_shuffled: bool) -> ViewParameters:
        return self._programs.place_rows([self._row(trial, is_shuffled) for trial in trials])

    def _row(self, trial: Trial, is_shuffled: bool) -> ViewParameters:
        """What belongs to one trial, on the host."""
        painter = autoencoder_of(trial, self._config)
        if painter not in self._autoencoders:
            raise UserError(
                f"Classifiers of seed {painter.seed} and {painter.bottleneck} floats were begun and not finished, and "
                "the settings no longer ask for them; finish them first with the settings that began them."
            )
        fit, in_use = self._fits[painter], views_in_use(self._config)
        shape = self._programs.dataset.image_shape
        return ViewParameters(
            view=None,
            seed=np.uint32(trial.seed),
            bottleneck=np.int32(painter.bottleneck),
            autoencoders=self._painters(painter),
            blur=gaussian(fit.sigma, shape) if "blur" in in_use else None,
            downsample=_averaging(shape, painter.bottleneck) if "downsample" in in_use else None,
            gain=fit.gain if "spectrum" in in_use else None,
            labels=self._labels(trial, is_shuffled),
        )

    def _labels(self, trial: Trial, is_shuffled: bool) -> np.ndarray | None:
        """What the trial's classifiers are told; None where no view in use shuffles labels."""
        if "shuffled" not in views_in_use(self._config):
            return None
        labels = self._programs.examples.labels
        train = self._programs.examples.splits["train"]
        if not is_shuffled:
            return labels
        told = labels.copy()
        told[train] = generator(trial.seed, "shuffled").permutation(labels[train])
        return told

    def _painters(self, painter: Trial) -> Params:
        folds = (ALL_DATA, *range(num_folds(self._config)))
        params = [self._autoencoders[painter._replace(fold=fold)].params for fold in folds]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *params)


def check_views(config: Config, dataset: Dataset) -> None:
    """Raises UserError where a view in use cannot be made of these images."""
    in_use = views_in_use(config)
    count, values = len(dataset.splits["train"].labels), math.prod(dataset.image_shape)
    widest, narrowest = max(config.bottlenecks), min(config.bottlenecks)
    if "pca" in in_use and widest > min(count, values):
        raise UserError(
            f"The view pca has at most {min(count, values)} components here ({count} training images of {values} "
            f"values), fewer than the bottleneck {widest}; lower autoencoder.bottleneck, or leave pca out of "
            "views.train and views.test."
        )
    channels = dataset.image_shape[2]
    if "downsample" in in_use and narrowest < channels:
        raise UserError(
            f"The view downsample needs a float for each of the {channels} channels, but the bottleneck is "
            f"{narrowest}; raise autoencoder.bottleneck, or leave downsample out of views.train and views.test."
        )
    if num_folds(config) > count:
        raise UserError(
            f"autoencoder.folds is {num_folds(config)}, but the train split has only {count} images; lower it."
        )


def gaussian(sigma: float, shape: tuple[int, int, int]) -> Matrices:
    """The Gaussian blur of a standard deviation in pixels, of images of a shape (H, W, C)."""
    height, width, _ = shape
    return Matrices(_blur_matrix(sigma, height), _blur_matrix(sigma, width))


@lru_cache(maxsize=256)
def _blur_matrix(sigma: float, size: int) -> np.ndarray:
    return np.asarray(gaussian_blur_matrix(sigma, size))


def _averaging(shape: tuple[int, int, int], values: int) -> Matrices:
    height, width = reduced_size(shape, values)
    return Matrices(averaging_matrix(shape[0], height), averaging_matrix(shape[1], width))


def reduced_size(shape: tuple[int, int, int], values: int) -> tuple[int, int]:
    """The largest h * w with h * w * C <= values, as square as can be.

    Args:
      shape: (H, W, C) of the images.
      values: at least C.
    """
    height, width, channels = shape
    pixels = values // channels
    heights = range(1, min(height, pixels) + 1)
    sizes = [(h, min(width, pixels // h)) for h in heights]
    return max(sizes, key=lambda size: (size[0] * size[1], -abs(size[0] - size[1]), size[1]))


def averaging_matrix(size: int, fewer: int) -> np.ndarray:
    """f32[size,size]: averages `size` pixels to `fewer` by area, and interpolates linearly between their centres."""
    edges = np.arange(fewer + 1) * size / fewer
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    averaged = np.maximum(overlap, 0) * fewer / size
    centres = np.clip((pixels + 0.5) * fewer / size - 0.5, 0, fewer - 1)
    weights = np.maximum(1 - np.abs(centres[:, None] - np.arange(fewer)), 0)
    return (weights @ averaged).astype(np.float32)
