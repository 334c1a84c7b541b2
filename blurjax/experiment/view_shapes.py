"""The shapes of what views are made with, before anything is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from blurjax.config.trials import Trial, all_autoencoder_trials, autoencoder_trials, views_in_use
from blurjax.config.view_table import CODECS
from blurjax.engine import per_trial, shared
from blurjax.experiment.fitted_views import Fit, FittedViews
from blurjax.experiment.hyperparameters import hyperparameters_of
from blurjax.train.state import TrainedModel
from blurjax.views.functions import AXES, Basis, CodeRange, ViewParameters

if TYPE_CHECKING:
    from blurjax.experiment.programs import Programs


class ViewShapes:
    """The shapes of the parameters of all views in use."""

    def __init__(self, programs: Programs):
        self.programs = programs
        networks, dataset = programs.networks, programs.dataset
        in_use = views_in_use(programs.config)
        row = hyperparameters_of(Trial(0, 1), programs.config.autoencoder)
        state = jax.eval_shape(networks.autoencoder_init, row)
        zeros = partial(jax.tree.map, lambda leaf: np.zeros(leaf.shape, leaf.dtype))
        model = TrainedModel(zeros(state.variables), np.int32(-1))
        floats = programs.config.autoencoder.max_bottleneck or 1
        code = np.zeros(floats, np.float32)
        ranges = CodeRange(code, code) if "quantised" in in_use else None
        height, width, channels = dataset.image_shape
        fit = Fit(0.0, True, np.ones(min(height, width) // 2 + 1, np.float32), ranges)
        basis = None
        if "pca" in in_use:
            values = height * width * channels
            mean = np.zeros(values, np.float32)
            basis = Basis(mean, np.zeros((floats, values), np.float32))
        trials = all_autoencoder_trials(programs.config)
        self.fitted = FittedViews(
            programs,
            dict.fromkeys(trials, model),
            dict.fromkeys(trials, fit),
            basis,
            None,
        )

    def of(self, trials: Sequence[Trial]) -> ViewParameters:
        """Returns the shapes of `FittedViews.parameters`."""
        programs = self.programs
        one = self.fitted.of_trial("original", trials[0])
        if {*CODECS} & {*views_in_use(programs.config)}:
            images = programs.dataset.images
            most = len(CODECS) * len(autoencoder_trials(programs.config))
            limit = programs.config.data.resident_limit * 2**30 / images.nbytes
            qualities = max(1, min(most, int(limit)))
            one = one._replace(
                codec_images=jax.ShapeDtypeStruct((qualities, *images.shape), np.uint8),
                codec_rows=np.zeros(len(CODECS), np.int32),
            )
        padded = programs.layout.padded(len(trials))
        mesh = programs.layout.mesh

        def shape(axis: Any, part: Any) -> Any:
            if axis is None:
                return on_devices(part, shared(mesh))
            stacked = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct((padded, *leaf.shape), leaf.dtype), part
            )
            return on_devices(stacked, per_trial(mesh))

        return ViewParameters(*map(shape, tuple(AXES), tuple(one)))


def on_devices(shapes: Any, sharding: Any) -> Any:
    """Returns shapes and dtypes of arrays with a sharding."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=sharding), shapes
    )
