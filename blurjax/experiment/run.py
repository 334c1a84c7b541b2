"""The stages of an experiment, in order, each resumable: autoencoders, classifiers, evaluation, report."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from blurjax.analysis import results
from blurjax.config.sections import SPLITS, TrainingConfig
from blurjax.config.settings import Config, fit_to_data, to_yaml
from blurjax.config.view_names import measured_views, num_folds
from blurjax.data import sources
from blurjax.data.audit import audit_dataset
from blurjax.data.dataset import Dataset
from blurjax.experiment.context import Context
from blurjax.experiment.fitted_views import FittedViews, check_views
from blurjax.experiment.fitting import fit_views
from blurjax.experiment.predictions import (
    write_flips,
    write_gallery,
    write_predictions,
    write_probes,
)
from blurjax.experiment.programs import Programs
from blurjax.experiment.training import train_autoencoders, train_classifiers
from blurjax.experiment.view_quality import write_view_quality
from blurjax.report import page as report
from blurjax.runtime import processes
from blurjax.runtime.environment import describe_environment
from blurjax.runtime.errors import readable_memory_errors
from blurjax.runtime.run_directory import RunDirectory, read_json, readable_os_errors
from blurjax.train.feed import fits
from blurjax.train.loop import Progress


def _ignore(progress: Progress) -> None:
    del progress


def load(config: Config) -> tuple[Dataset, Config]:
    """Loads the data, and fits to them what the settings leave open.

    Raises:
      UserError: the data cannot be read, or do not make an experiment.
    """
    dataset = sources.load(config.data)
    return dataset, fit(config, dataset)


def fit(config: Config, dataset: Dataset) -> Config:
    """Fits to a data set what the settings leave open; raises UserError where a view cannot be made of it."""
    train_examples = len(dataset.splits["train"])
    config = fit_to_data(config, shape=dataset.image_shape, train_examples=train_examples)
    check_views(config, dataset)
    return config


def run_experiment(
    config: Config,
    out: str | Path,
    *,
    dataset: Dataset | None = None,
    progress: Callable[[Progress], None] = _ignore,
    interrupted: Callable[[], bool] = lambda: False,
    take_over: bool = False,
    accept_changed_code: bool = False,
) -> dict[str, Any]:
    """Runs an experiment, or whatever of it is missing in a run directory.

    Args:
      config: settings; those left unset are fitted to the data.
      out: the run directory; made where it does not exist, continued where it does.
      dataset: to use instead of data.source, such as from `load` or `Dataset.from_arrays`.
      progress: called after every epoch.
      interrupted: asked after every chunk of steps; True saves and raises Interrupted.
      take_over: continue a directory even if another machine wrote to it a moment ago.

    Returns:
      The content of results.json (docs/run_directory.md).

    Raises:
      UserError: a mistake in the settings, the data or the run directory, or not enough memory.
      Interrupted: after saving.
      AllTrialsFailed: every trial of a job has become non-finite.
    """
    if dataset is None:
        dataset = sources.load(config.data)
    config = fit(config, dataset)
    run = RunDirectory(out, writes=processes.is_first())
    with readable_os_errors(run.path), readable_memory_errors(), processes.end_with_the_others():
        processes.wait("loaded")
        _check_processes(config, dataset)
        processes.on_first(run.create)
        run.check_format()
        with contextlib.ExitStack() as held:
            processes.on_first(lambda: held.enter_context(run.lock(take_over=take_over)))
            processes.on_first(partial(_begin, run, config, dataset))
            programs = Programs(config, dataset)
            return _run_stages(Context(config, run, programs, progress, interrupted))


def _check_processes(config: Config, dataset: Dataset) -> None:
    """Raises UserError in all processes where one has other settings, data or versions."""
    settings = config.model_dump(mode="json")
    facts = {
        f"{section}.{name}": v for section in settings for name, v in settings[section].items()
    }
    del facts["data.cache_dir"], facts["data.data_dir"], facts["data.source"]  # may lie elsewhere
    versions = describe_environment()["packages"]
    processes.check_same(facts | {"the images' sha256": dataset.fingerprint} | versions)


def _begin(run: RunDirectory, config: Config, dataset: Dataset) -> None:
    _check_fingerprints(run, config, dataset)
    _describe(run, config, dataset)


def _run_stages(context: Context) -> dict[str, Any]:
    run, config = context.run, context.config
    with _timed(run, "autoencoders"):
        autoencoders = train_autoencoders(context)
    with _timed(run, "views"):
        views = fit_views(context, autoencoders)
        write_view_quality(context, views, measured_views(config), SPLITS)
    with _timed(run, "classifiers"):
        classifiers = {view: train_classifiers(context, view, views) for view in config.train_views}
    with _timed(run, "evaluation"):
        write_predictions(context, classifiers, views)
        write_probes(context, autoencoders)
        processes.on_first(partial(_write_pictures, context, views))
    processes.on_first(partial(_write_results, run, config))
    return read_json(run / "results.json")


def _write_pictures(context: Context, views: FittedViews) -> None:
    write_gallery(context, views)
    write_flips(context, views)


def _write_results(run: RunDirectory, config: Config) -> None:
    run.write_json("results.json", results.collect(run, config))
    report.write_report(run, config)


def _check_fingerprints(run: RunDirectory, config: Config, dataset: Dataset) -> None:
    """Refuses a directory whose stages were run with other settings, before anything in it is changed.

    What a classifier's trial carries (its learning rate, its weight decay, the bottleneck) is not in it: another value
    is another trial. An autoencoder's recipe is: its classifiers do not carry it.
    """
    content = {
        "image_size",
        "channels",
        "train_examples",
        "validation_fraction",
        "test_fraction",
        "split_seed",
        "duplicates",
    }
    data = {
        f"data.{name}": value for name, value in config.data.model_dump(include=content).items()
    }
    streamed = not fits(dataset, config.data.resident_limit)
    data |= {"data.seed": config.data.seed if streamed else None, "streaming": streamed}
    data |= {"the images' sha256": dataset.fingerprint}
    autoencoder = _settings("autoencoder", config.autoencoder, {"bottleneck", "folds"})
    swept = {"learning_rate", "weight_decay"}
    classifier = _settings("classifier", config.classifier, swept)
    run.check_fingerprint("autoencoders", data | autoencoder)
    run.check_fingerprint("classifiers", data | autoencoder | classifier)
    if num_folds(config):
        run.check_fingerprint("folds", {"autoencoder.folds": config.autoencoder.folds})


def _settings(section: str, settings: TrainingConfig, without: set[str]) -> dict[str, Any]:
    return {
        f"{section}.{name}": value for name, value in settings.model_dump(exclude=without).items()
    }


def _describe(run: RunDirectory, config: Config, dataset: Dataset) -> None:
    """Writes what the run is made from and with."""
    run.write_bytes("config.yaml", to_yaml(config).encode())
    run.write_json("environment.json", describe_environment())
    run.write_json(
        "dataset.json",
        {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "class_names": dataset.class_names,
            "image_shape": dataset.image_shape,
            "examples": {name: len(dataset.splits[name]) for name in SPLITS},
            "class_counts": dataset.class_counts,
            "notes": dataset.notes,
        },
    )
    audited = run / "audit.json"
    if not audited.exists() or read_json(audited).get("fingerprint") != dataset.fingerprint:
        run.write_json("audit.json", audit_dataset(dataset, config.data.duplicates))


@contextlib.contextmanager
def _timed(run: RunDirectory, stage: str) -> Iterator[None]:
    """Adds the seconds spent on a stage to seconds.json, also where it is interrupted."""
    begun = time.monotonic()
    try:
        yield
    finally:
        run.check_owner()
        path = run / "seconds.json"
        seconds = read_json(path) if path.exists() else {}
        seconds[stage] = round(seconds.get(stage, 0.0) + time.monotonic() - begun, 2)
        run.write_json("seconds.json", seconds)
