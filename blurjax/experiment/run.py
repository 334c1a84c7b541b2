"""An experiment from its settings to its report: stages in order, each resumable."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from blurjax.analysis import collect_results
from blurjax.config.loading import flat, to_yaml
from blurjax.config.settings import SPLITS, Config
from blurjax.config.trials import all_autoencoder_trials, classifier_trials
from blurjax.data import Dataset, audit_dataset
from blurjax.data.examples import blocks
from blurjax.engine import silence_libtpu
from blurjax.experiment.calls import make_programs
from blurjax.experiment.context import Context
from blurjax.experiment.estimate import plan_of
from blurjax.experiment.fingerprints import check_fingerprints
from blurjax.experiment.galleries import write_flips, write_gallery
from blurjax.experiment.plan import Plan
from blurjax.experiment.predictions import write_predictions, write_probes
from blurjax.experiment.preparation import prepare
from blurjax.experiment.progress import progress_bar
from blurjax.experiment.training import train_autoencoders, train_classifiers, train_longer
from blurjax.experiment.view_stage import make_views
from blurjax.report import write_report
from blurjax.runtime import RunDirectory, processes, read_json, readable_os_errors
from blurjax.runtime.environment import describe_environment
from blurjax.runtime.errors import readable_memory_errors
from blurjax.train.metric_logs import make_log
from blurjax.train.metric_writers import MetricsFile, MetricWriter, MetricWriters, Progress


def run_experiment(
    config: Config,
    out: str | Path,
    *,
    dataset: Dataset | None = None,
    plan: Plan | None = None,
    progress: Callable[[Progress], None] | None = None,
    log: Sequence[str | MetricWriter] = (),
    interrupted: Callable[[], bool] = lambda: False,
    take_over: bool = False,
    accept_changed_code: bool = False,
) -> dict[str, Any]:
    """Runs an experiment, or whatever of it is missing in a run directory.

    Args:
      config: settings; those left unset are fitted to the data.
      out: the run directory; made where it does not exist, continued where it does.
      dataset: used instead of data.source, such as from `load_dataset` or `Dataset.from_arrays`.
      plan: from `make_plan` for these settings and data, whose programs are then not compiled again.
      progress: called after every epoch. None: a bar on a terminal or in a notebook.
      log: where metrics go besides metrics.jsonl: "csv", "tensorboard", "wandb", or a writer of one's own.
      interrupted: asked after every chunk of steps; True saves and raises Interrupted.
      take_over: continue a directory even if another machine wrote to it a moment ago.
      accept_changed_code: continue a directory although the code of models or views was changed since.

    Returns:
      The content of results.json (docs/run_directory.md).

    Raises:
      UserError: a mistake in the settings, the data or the run directory, or not enough memory.
      ValueError: the plan was made for other settings or data.
      Interrupted: after saving.
      AllTrialsFailed: every trial of a stage has become non-finite.
    """
    silence_libtpu()
    config, dataset = prepare(config, dataset)
    if plan and not plan.is_for(config, dataset):
        raise ValueError("the plan was made for other settings or data")
    run = RunDirectory(out, writes=processes.is_first())
    with readable_os_errors(run.path), readable_memory_errors(), processes.exit_on_peer_failure():
        processes.barrier("loaded")
        _check_processes(config, dataset)
        processes.on_first(run.create)
        run.check_format()

        def begin() -> None:
            check_fingerprints(run, config, dataset, accept_changed_code=accept_changed_code)
            _describe(run, config, dataset)

        with contextlib.ExitStack() as held:
            processes.on_first(lambda: held.enter_context(run.lock(take_over=take_over)))
            processes.on_first(begin)
            programs = plan.programs if plan else make_programs(config, dataset)
            if progress is None:
                progress = held.enter_context(progress_bar(partial(plan_of, programs, run)))
            writers = MetricWriters([MetricsFile(run), *_logs(log, run, config, held)], progress)
            return _run_stages(Context(config, run, programs, writers, interrupted))


def _logs(
    log: Sequence[str | MetricWriter],
    run: RunDirectory,
    config: Config,
    held: contextlib.ExitStack,
) -> list[MetricWriter]:
    """Returns the logs that are asked for, in process 0; they are closed with what is held."""

    def begin() -> list[MetricWriter]:
        logs = []
        for name in log:
            logs.append(make_log(name, run, config) if isinstance(name, str) else name)
            held.callback(logs[-1].close)
        return logs

    return processes.on_first(begin) or []


def _check_processes(config: Config, dataset: Dataset) -> None:
    """Raises UserError in all processes where one has other settings, data or versions."""
    facts = flat(config)
    for place in ("data.cache_dir", "data.data_dir", "data.source"):  # may lie elsewhere
        del facts[place]
    environment = describe_environment()
    versions = environment["packages"] | environment["codecs"]
    processes.check_equal(facts | {"the images' sha256": dataset.fingerprint} | versions)


def _run_stages(context: Context) -> dict[str, Any]:
    run, config = context.run, context.config
    with _timed(run, "autoencoders"):
        autoencoders = train_autoencoders(context, all_autoencoder_trials(config))
    with _timed(run, "views"):
        views = make_views(context, autoencoders)
    with _timed(run, "classifiers"):
        classifiers = {
            view: train_classifiers(context, view, views, classifier_trials(config, view))
            for view in config.train_views
        }
    with _timed(run, "evaluation"):
        write_predictions(context, classifiers, views)
        write_probes(context, autoencoders)

        def write_images() -> None:
            write_gallery(context, views)
            write_flips(context, views)

        processes.on_first(write_images)
    with _timed(run, "longer training"):
        train_longer(context, views)

    def write_results() -> None:
        run.write_json(run.results, collect_results(run, config))
        write_report(run, config)

    processes.on_first(write_results)
    return read_json(run.results)


def _describe(run: RunDirectory, config: Config, dataset: Dataset) -> None:
    """Writes settings, versions, and what the data set is."""
    run.write_bytes(run.config, to_yaml(config).encode())
    run.write_json(run.environment, describe_environment())
    run.write_json(
        run.dataset,
        {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "class_names": dataset.class_names,
            "image_shape": dataset.image_shape,
            "examples": {name: len(dataset.splits[name]) for name in SPLITS},
            "class_counts": dataset.class_counts,
            "notes": dataset.notes,
            "test_images": _sha256_of_test(dataset),
        },
    )
    if not run.audit.exists() or read_json(run.audit).get("fingerprint") != dataset.fingerprint:
        run.write_json(run.audit, audit_dataset(dataset, config.data.duplicates))


def _sha256_of_test(dataset: Dataset) -> str:
    """Returns a digest of the test images and their labels, in order: equal where two runs are tested on the same."""
    test = dataset.splits["test"]
    digest = hashlib.sha256(repr(dataset.image_shape).encode())
    for block in blocks(dataset.images, test):
        digest.update(block.data)
    digest.update(dataset.labels[test].astype("<i4").tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _timed(run: RunDirectory, stage: str) -> Iterator[None]:
    """Adds the seconds spent on a stage to seconds.json, also where it is interrupted."""
    begun = time.monotonic()
    try:
        yield
    finally:
        run.check_owner()
        seconds = read_json(run.seconds) if run.seconds.exists() else {}
        seconds[stage] = round(seconds.get(stage, 0.0) + time.monotonic() - begun, 2)
        run.write_json(run.seconds, seconds)
