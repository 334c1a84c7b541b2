"""Settings and data made ready for each other, before anything is trained."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from blurjax.config.loading import fit_to_data, override
from blurjax.config.paths import DIRECTORIES, rebase
from blurjax.config.settings import Config, fitted
from blurjax.config.trials import num_folds, views_in_use
from blurjax.config.view_table import CODECS
from blurjax.data import Dataset, load
from blurjax.experiment.blurry_images import leave_out_blurry
from blurjax.models import ModelContext, build
from blurjax.runtime import UserError, processes
from blurjax.views.codecs import is_available


def prepare(config: Config, dataset: Dataset | None = None) -> tuple[Config, Dataset]:
    """Loads the data where they are not given, and fits to them what the settings leave open.

    Raises:
      UserError: the data cannot be read, or do not make an experiment.
    """
    if not isinstance(config, Config):
        raise UserError(
            f"Settings are a Config and cannot be {config!r:.60}; make them with blurjax.load_config, which takes the "
            'name of a preset, such as "digits", or a YAML file.'
        )
    if not isinstance(dataset, Dataset | None):
        raise UserError(
            f"dataset cannot be a {type(dataset).__name__}; make it with blurjax.load_dataset, Dataset.from_arrays or "
            "Dataset.from_tf_data."
        )
    processes.start_devices()
    dataset = leave_out_blurry(load(config.data) if dataset is None else dataset, config.data)
    train_examples = len(dataset.splits["train"])
    found = {"source": dataset.source, **config.data.model_dump(include=set(DIRECTORIES))}
    found = rebase(found, Path.cwd())  # the directory may be continued from another one
    config = override(config, {f"data.{name}": value for name, value in found.items()})
    config = fit_to_data(config, shape=dataset.image_shape, train_examples=train_examples)
    check_bottlenecks(config, dataset.image_shape)
    check_views(config, dataset)
    check_label_counts(config, dataset)
    return config, dataset


def check_bottlenecks(config: Config, image_shape: tuple[int, int, int]) -> None:
    """Raises UserError where a code is to be a map, but its floats are not whole channels of it."""
    widest = fitted(config.autoencoder.max_bottleneck)
    context = ModelContext(image_shape, max_bottleneck=widest)
    side = getattr(build("autoencoder", config.autoencoder.model, context), "code_side", None)
    if side is None:
        return
    key = "sweep.bottleneck" if config.sweep.bottleneck else "autoencoder.bottleneck"
    asked = [(key, floats) for floats in config.bottlenecks]
    for setting, floats in [*asked, ("autoencoder.max_bottleneck", widest)]:
        fewer, over = floats - floats % side**2, floats % side**2
        if over:
            nearest = f"{fewer} or {fewer + side**2}" if fewer else str(side**2)
            raise UserError(
                f"{setting} is {floats}, but a spatial code of these images is a map of {side}x{side} pixels, which "
                f"has a multiple of {side**2} floats; choose {nearest}, or another autoencoder.model.code."
            )


def check_label_counts(config: Config, dataset: Dataset) -> None:
    """Raises UserError where the train split cannot give each seed the labelled images that the sweep asks for."""
    train = dataset.splits["train"]
    num_classes = len(np.unique(dataset.labels[train]))
    for count in filter(None, config.label_counts):
        if count > len(train):
            raise UserError(
                f"sweep.train_examples is {count:,}, but the train split has only {len(train):,} images; lower it, or "
                "name `all`."
            )
        if count < num_classes:
            raise UserError(
                f"sweep.train_examples is {count}, but each of the {num_classes} classes needs a labelled image; "
                "raise it."
            )
        if not dataset.fits(config.data.resident_limit):
            raise UserError(
                "sweep.train_examples gives each seed images of its own, but streamed images come in one order for all "
                f"trials; raise data.resident_limit, which is {config.data.resident_limit:g} GiB, or leave it out."
            )


def check_views(config: Config, dataset: Dataset) -> None:
    """Raises UserError where a view in use cannot be made of these images."""
    in_use = views_in_use(config)
    count, values = len(dataset.splits["train"]), math.prod(dataset.image_shape)
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
    codecs = [codec for codec in CODECS if codec in in_use]
    if codecs and not dataset.fits(config.data.resident_limit):
        raise UserError(
            f"The views {' and '.join(codecs)} keep images on the devices, but these are streamed since they are "
            f"larger than data.resident_limit ({config.data.resident_limit:g} GiB); raise it, or leave these views "
            "out of views.train and views.test."
        )
    for codec in codecs:
        if not is_available(codec):
            raise UserError(
                f"This Pillow was built without {codec}; install another, or leave the view {codec} out of "
                "views.train and views.test."
            )
    if num_folds(config) > count:
        raise UserError(
            f"autoencoder.folds is {num_folds(config)}, but the train split has only {count} images; lower it."
        )
