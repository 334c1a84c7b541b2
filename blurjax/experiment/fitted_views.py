"""The views with everything that they are made with, laid out on the devices for whichever trials are in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from blurjax.config.trials import (
    Trial,
    num_folds,
    views_in_use,
)
from blurjax.config.view_table import VIEWS
from blurjax.data import generator
from blurjax.engine import place, shared
from blurjax.runtime import UserError
from blurjax.views.fitting import averaging, gaussian
from blurjax.views.functions import (
    Autoencoders,
    Basis,
    CodeRange,
    ViewParameters,
    view_index,
)

if TYPE_CHECKING:
    from blurjax.experiment.codec_stage import CodecImages
    from blurjax.experiment.programs import Models, Programs

BATCH = 256
"""Images that are put into a view of one trial at a time."""


@dataclass(frozen=True)
class Fit:
    """Numbers fitted to one autoencoder."""

    sigma: float
    """Pixels, of the Gaussian blur whose distortion on validation is the autoencoder's."""
    reachable: bool
    """False where no blur has it, and sigma is the nearest."""
    gain: np.ndarray
    """f32[R], the root of the share of power that is left at each radius of frequency."""
    code_range: CodeRange | None = None
    """None where no view in use quantises codes."""


class FittedViews:
    """The parameters of all views, for any trials of the experiment.

    Args:
      programs: of the experiment.
      autoencoders: all of them.
      fits: by autoencoder trained on the whole train split.
      basis: principal components; None where no view in use needs them.
      codecs: images as codecs leave them; None where no view in use needs them.
    """

    def __init__(
        self,
        programs: Programs,
        autoencoders: Models,
        fits: dict[Trial, Fit],
        basis: Basis | None,
        codecs: CodecImages | None,
    ):
        self._programs, self._config = programs, programs.config
        self._in_use = views_in_use(programs.config)
        self._folds = num_folds(programs.config)
        self._autoencoders, self._fits, self._codecs = autoencoders, fits, codecs
        self._shared = {"fold_of": self._programs.fold_of, "basis": basis}
        self._of_trials: dict[Any, ViewParameters] = {}

    @cached_property
    def _placed(self) -> dict[str, Any]:
        """What all trials share, on the devices."""
        images = None if self._codecs is None else self._codecs.images
        everywhere = shared(self._programs.layout.mesh)
        return place(self._shared | {"codec_images": images}, everywhere)

    def parameters(self, view: str, trials: Sequence[Trial]) -> ViewParameters:
        """Returns a view's parameters for trials as `Programs.place` lays them out on the devices."""
        which = tuple(trials), view == "shuffled"
        if which not in self._of_trials:
            self._of_trials = dict([*self._of_trials.items()][-1:])  # the last two are kept
            rows = [self._row(trial, shuffled=which[1]) for trial in trials]
            self._of_trials[which] = self._programs.place_rows(rows)
        return self._of_trials[which]._replace(view=self._programs.view_index(view), **self._placed)

    def of_trial(self, view: str, trial: Trial) -> ViewParameters:
        """Returns a view's parameters for one trial, on the host."""
        row = self._row(trial, shuffled=view == "shuffled")
        if self._codecs is not None:  # the trial's own images alone, since all of them are large
            own = self._codecs.images[row.codec_rows]
            row = row._replace(codec_images=own, codec_rows=np.arange(len(own), dtype=np.int32))
        return row._replace(view=np.int32(view_index(view)), **self._shared)

    def images(self, view: str, trial: Trial, positions: np.ndarray) -> np.ndarray:
        """Returns images u8[N,H,W,C] at positions [N] in a view of one trial, as classifiers see them."""
        programs, viewed = self._programs, []
        parameters = jax.device_put(self.of_trial(view, trial))
        for first in range(0, len(positions), BATCH):
            own = positions[first : first + BATCH]
            images = np.asarray(programs.dataset.images[own])
            viewed.append(np.asarray(programs.apply_view(parameters, images, own)))
        return np.concatenate(viewed)

    def failed_step(self, view: str, trial: Trial) -> int:
        """Returns the step at which an autoencoder that the view needs was frozen, or -1."""
        folds = [*range(self._folds)] if VIEWS[view].needs_folds else []
        needed = folds + ([None] if VIEWS[view].needs_autoencoder else [])
        models = (self._autoencoders[self._autoencoder(trial, fold)] for fold in needed)
        return max((model.failed_step for model in models), default=-1)

    def _autoencoder(self, trial: Trial, fold: int | None = None) -> Trial:
        """Returns the autoencoder of a classifier; any of its seed's where it does not depend on the code."""
        return Trial(trial.seed, trial.bottleneck or self._config.bottlenecks[0], fold)

    def _row(self, trial: Trial, *, shuffled: bool) -> ViewParameters:
        """Returns what belongs to one trial, on the host."""
        autoencoder = self._autoencoder(trial)
        if autoencoder not in self._autoencoders:
            raise UserError(
                f"Classifiers of seed {trial.seed} and {autoencoder.bottleneck} floats were begun and not finished, "
                "and the settings no longer ask for them; finish them first with the settings that began them."
            )
        fit, shape = self._fits[autoencoder], self._programs.dataset.image_shape
        models = [
            self._autoencoders[autoencoder._replace(fold=fold)]
            for fold in (None, *range(self._folds))
        ]
        variables = jax.tree.map(lambda *leaves: np.stack(leaves), *(m.variables for m in models))
        bottleneck = autoencoder.bottleneck
        assert bottleneck is not None
        return ViewParameters(
            view=None,
            seed=np.uint32(trial.seed),
            bottleneck=np.int32(bottleneck),
            autoencoders=Autoencoders(variables, self._programs.networks.autoencoder),
            blur=gaussian(fit.sigma, shape) if "blur" in self._in_use else None,
            downsample=averaging(shape, bottleneck) if "downsample" in self._in_use else None,
            gain=fit.gain if "spectrum" in self._in_use else None,
            code_range=fit.code_range,
            codec_rows=None if self._codecs is None else self._codecs.rows[autoencoder],
            labels=self._labels(trial, shuffled),
        )

    def _labels(self, trial: Trial, shuffled: bool) -> np.ndarray | None:
        """Returns the labels that classifiers are trained on; None where no view in use shuffles them."""
        if "shuffled" not in self._in_use:
            return None
        labels, train = self._programs.dataset.labels, self._programs.dataset.splits["train"]
        if not shuffled:
            return labels
        permuted = labels.copy()
        permuted[train] = generator(trial.seed, "shuffled").permutation(labels[train])
        return permuted
