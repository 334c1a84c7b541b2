"""The stages of an experiment, in order, each resumable: autoencoders, classifiers, evaluation, report."""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from blurjax import report, results
from blurjax.config import Config, TrainingConfig, fit_to_data, to_yaml
from blurjax.data import sources
from blurjax.data.sources import Dataset
from blurjax.environment import describe_environment
from blurjax.evaluate import Evaluation, accuracy_and_loss, dispatch, merge_rows
from blurjax.feed import SPLITS
from blurjax.models import forward
from blurjax.programs import Programs
from blurjax.run_directory import (
    RunDirectory,
    read_json,
    read_npz,
    readable_os_errors,
    write_bytes,
    write_json,
    write_npz,
)
from blurjax.train import Interrupted, Job, Progress, Training, plan_jobs, train
from blurjax.train_state import TrainState
from blurjax.trials import autoencoder_trials, classifier_trials
from blurjax.types import ALL_DATA, Params, Trial
from blurjax.views import NEEDS_CODE, ViewParameters, eight_bit

LOGITS_LIMIT = 100e6
"""Bytes of logits in all prediction files together, above which they are left out."""

logger = logging.getLogger("blurjax")


def _ignore(progress: Progress) -> None:
    del progress


@dataclass(frozen=True)
class Trained:
    """A model of one trial, at its last step, on the host."""

    params: Params
    failed_step: int


def load(config: Config) -> tuple[Dataset, Config]:
    """Loads the data, and fits to them what the settings leave open.

    Raises:
      UserError: the data cannot be read, or do not make an experiment.
    """
    dataset = sources.load(config.data)
    train_examples = len(dataset.splits["train"].labels)
    return dataset, fit_to_data(config, shape=dataset.image_shape, train_examples=train_examples)


def run_experiment(
    config: Config,
    out: str | Path,
    *,
    dataset: Dataset | None = None,
    progress: Callable[[Progress], None] = _ignore,
    interrupted: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Runs an experiment, or whatever of it is missing in a run directory.

    Args:
      config: settings; those left unset are fitted to the data.
      out: the run directory; made where it does not exist, continued where it does.
      dataset: from `load`, where the caller has it already.
      progress: called after every epoch.
      interrupted: asked after every chunk of steps; True saves and raises Interrupted.

    Returns:
      The content of results.json (docs/run_directory.md).

    Raises:
      UserError: a mistake in the settings, the data or the run directory.
      Interrupted: after saving.
      AllTrialsFailed: every trial of a job has become non-finite.
    """
    if dataset is None:
        dataset, config = load(config)
    run = RunDirectory(out)
    with readable_os_errors(run.path):
        run.create()
        with run.lock():
            return Experiment(config, dataset, run, progress, interrupted).run()


class Experiment:
    """One experiment in one run directory.

    Args:
      config: settings fitted to the data.
      dataset: decoded images.
      run: the directory, made and locked.
      progress: called after every epoch.
      interrupted: asked after every chunk of steps.
    """

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        run: RunDirectory,
        progress: Callable[[Progress], None] = _ignore,
        interrupted: Callable[[], bool] = lambda: False,
    ):
        self.config, self.dataset, self.run_directory = config, dataset, run
        self.progress, self.interrupted = progress, interrupted
        self.programs = Programs(self.config, dataset)
        counts = [len(dataset.splits[name].labels) for name in SPLITS]
        offsets = np.cumsum([0, *counts])
        self.positions = {
            name: np.arange(start, stop, dtype=np.int32)
            for name, start, stop in zip(SPLITS, offsets, offsets[1:], strict=False)
        }
        self.labels = np.concatenate([dataset.splits[name].labels for name in SPLITS])
        rng = np.random.default_rng([self.config.data.split_seed, len(self.labels)])
        size = min(len(self.positions["train"]), len(self.positions["validation"]))
        subset = rng.choice(self.positions["train"], size, replace=False)
        self.measured = {"train": np.sort(subset), "validation": self.positions["validation"]}
        """Positions on which curves are measured: a fixed subset of train as large as validation, and validation."""

    def run(self) -> dict[str, Any]:
        """All stages; returns the content of results.json."""
        self._describe()
        with self._timed("autoencoders"):
            autoencoders = self._train_autoencoders()
        with self._timed("classifiers"):
            classifiers = {
                view: self._train_classifiers(view, autoencoders)
                for view in self.config.views.train
            }
        with self._timed("evaluation"):
            self._evaluate_reconstructions(autoencoders)
            self._evaluate_classifiers(classifiers, autoencoders)
            self._make_gallery(autoencoders)
        with self._timed("report"):
            collected = write_results(self.run_directory, self.config)
            report.write_report(self.run_directory, self.config)
        return collected

    # The directory

    def _describe(self) -> None:
        run, config = self.run_directory, self.config
        self._check_fingerprints()
        write_bytes(run / "config.yaml", to_yaml(config).encode())
        write_json(run / "environment.json", describe_environment())
        dataset = self.dataset
        write_json(
            run / "dataset.json",
            {
                "name": dataset.name,
                "fingerprint": dataset.fingerprint,
                "class_names": dataset.class_names,
                "image_shape": dataset.image_shape,
                "examples": {name: len(dataset.splits[name].labels) for name in SPLITS},
                "class_counts": dataset.class_counts,
                "notes": dataset.notes,
            },
        )

    def _check_fingerprints(self) -> None:
        """Refuses a directory whose stages were run with other settings, before anything is written."""
        config, streamed = self.config, self.programs.feed.streamed
        of_data = {
            "image_size",
            "channels",
            "train_examples",
            "validation_fraction",
            "test_fraction",
            "split_seed",
        }
        data = {
            f"data.{name}": value for name, value in config.data.model_dump(include=of_data).items()
        }
        data |= {"the images' sha256": self.dataset.fingerprint}
        data |= {"data.seed": config.data.seed if streamed else None, "streaming": streamed}
        autoencoder = _settings(
            "autoencoder",
            config.autoencoder,
            {"bottleneck", "folds", "learning_rate", "weight_decay"},
        )
        classifier = _settings("classifier", config.classifier, {"learning_rate", "weight_decay"})
        self.run_directory.check_fingerprint("autoencoders", data | autoencoder)
        self.run_directory.check_fingerprint("classifiers", data | autoencoder | classifier)

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            path = self.run_directory / "seconds.json"
            seconds = read_json(path) if path.exists() else {}
            seconds[stage] = round(seconds.get(stage, 0.0) + time.monotonic() - begun, 2)
            write_json(path, seconds)

    # Training

    def _train_autoencoders(self) -> dict[Trial, Trained]:
        programs, config = self.programs, self.config.autoencoder

        def training(job: Job, trials: Trial) -> Training:
            return self._training(
                config,
                init=programs.init_autoencoder,
                order=programs.order(config, "autoencoder order"),
                steps=programs.train_autoencoder,
                validate=partial(self._validate_autoencoder, job, trials),
                view_parameters=None,
            )

        return self._train_jobs("autoencoder", autoencoder_trials(self.config), training)

    def _train_classifiers(
        self, view: str, autoencoders: dict[Trial, Trained]
    ) -> dict[Trial, Trained]:
        programs, config = self.programs, self.config.classifier

        def training(job: Job, trials: Trial) -> Training:
            rows = [self._autoencoder_of(trial, autoencoders).params for trial in job.trials]
            parameters = programs.view_parameters(view, trials, programs.place_rows(rows))
            return self._training(
                config,
                init=programs.init_classifier,
                order=programs.order(config, "classifier order"),
                steps=programs.train_classifier,
                validate=partial(self._validate_classifier, job, parameters),
                view_parameters=parameters,
            )

        return self._train_jobs(
            f"classifier/{view}",
            classifier_trials(self.config, needs_code=view in NEEDS_CODE),
            training,
        )

    def _train_jobs(
        self, name: str, wanted: list[Trial], training: Callable[[Job, Trial], Training]
    ) -> dict[Trial, Trained]:
        """Trains what is missing of the wanted trials; returns all of them."""
        trained = {}
        for job in plan_jobs(self.run_directory, name, wanted):
            trials = self.programs.place(job.trials)
            states = train(job, self.run_directory, trials, training(job, trials))
            trained |= {trial: _row(states, i) for i, trial in enumerate(job.trials)}
        return {trial: trained[trial] for trial in wanted}

    def _training(self, config: TrainingConfig, **pieces: Any) -> Training:
        return Training(
            **pieces,
            feed=self.programs.feed,
            epochs=self.programs.num_steps(config) // self.programs.steps_per_epoch(config),
            steps_per_epoch=self.programs.steps_per_epoch(config),
            batch_size=config.batch_size,
            checkpoint_seconds=self.config.compute.checkpoint_seconds,
            interrupted=self.interrupted,
            progress=self.progress,
        )

    def _autoencoder_of(self, trial: Trial, autoencoders: dict[Trial, Trained]) -> Trained:
        """The autoencoder of a classifier's trial; any of its seed's where the code does not matter."""
        settings = self.config.autoencoder
        bottleneck = trial.bottleneck or self.config.bottlenecks[0]
        return autoencoders[
            Trial(trial.seed, settings.learning_rate, settings.weight_decay, bottleneck, ALL_DATA)
        ]

    # Evaluation

    def _validate_autoencoder(
        self, job: Job, trials: Trial, params: Params
    ) -> Callable[[], dict[str, Any]]:
        waits = {
            name: self._dispatch(
                self.programs.evaluate_autoencoder, params, trials.bottleneck, positions
            )
            for name, positions in self.measured.items()
        }
        count = len(job.trials)
        return lambda: {
            name: {"loss": wait()["loss"][:count].mean(axis=1)} for name, wait in waits.items()
        }

    def _validate_classifier(
        self, job: Job, parameters: ViewParameters, params: Params
    ) -> Callable[[], dict[str, Any]]:
        """Train and validation in the classifier's own view, and validation as it is."""
        cells = {name: (parameters, positions) for name, positions in self.measured.items()}
        if job.view != "original":
            as_it_is = parameters._replace(view=np.int32(0))
            cells["validation_original"] = (as_it_is, self.measured["validation"])
        program = self.programs.evaluate_classifier(keep_logits=False)
        waits = {
            name: (self._dispatch(program, params, view_parameters, positions), positions)
            for name, (view_parameters, positions) in cells.items()
        }

        def measured() -> dict[str, Any]:
            return {
                name: accuracy_and_loss(_first(wait(), len(job.trials)), self.labels[positions])
                for name, (wait, positions) in waits.items()
            }

        return measured

    def _dispatch(
        self,
        program: Callable[..., Any],
        params: Params,
        view_parameters: Any,
        positions: np.ndarray,
    ) -> Callable[[], Evaluation]:
        batch_size = self.config.classifier.batch_size
        return dispatch(program, params, view_parameters, self.programs.feed, positions, batch_size)

    def _evaluate_reconstructions(self, autoencoders: dict[Trial, Trained]) -> None:
        """predictions/reconstruction-<split>.npz."""
        for split, positions in (self.measured | {"test": self.positions["test"]}).items():

            def evaluate(
                rows: list[Trial], positions: np.ndarray = positions
            ) -> dict[str, np.ndarray]:
                trained = [autoencoders[trial] for trial in rows]
                params = self.programs.place_rows([model.params for model in trained])
                bottlenecks = self.programs.place(rows).bottleneck
                wait = self._dispatch(
                    self.programs.evaluate_autoencoder, params, bottlenecks, positions
                )
                measured = _first(wait(), len(rows))
                failed = np.array([model.failed_step for model in trained], np.int32)
                return {"mse": measured["mse"], "ssim": measured["ssim"], "failed_step": failed}

            self._add_missing_rows(f"reconstruction-{split}", list(autoencoders), evaluate, {})

    def _evaluate_classifiers(
        self, classifiers: dict[str, dict[Trial, Trained]], autoencoders: dict[Trial, Trained]
    ) -> None:
        """predictions/<train view>-on-<test view>.npz."""
        test = self.dataset.splits["test"]
        examples = {
            "label": test.labels,
            "index": np.arange(len(test.labels), dtype=np.int32),
            "name": np.array(test.names, dtype=np.str_),
        }
        for train_view, test_view in itertools.product(
            self.config.views.train, self.config.views.test
        ):
            rows = classifier_trials(
                self.config, needs_code=bool({train_view, test_view} & NEEDS_CODE)
            )
            evaluate = partial(
                self._predict,
                test_view,
                train_view in NEEDS_CODE,
                classifiers[train_view],
                autoencoders,
            )
            self._add_missing_rows(f"{train_view}-on-{test_view}", rows, evaluate, examples)

    def _predict(
        self,
        test_view: str,
        train_view_needs_code: bool,
        classifiers: dict[Trial, Trained],
        autoencoders: dict[Trial, Trained],
        rows: list[Trial],
    ) -> dict[str, np.ndarray]:
        """What the classifiers of one train view say of the test split in one view."""
        programs = self.programs
        models = [
            classifiers[row if train_view_needs_code else row._replace(bottleneck=0)]
            for row in rows
        ]
        painters = [self._autoencoder_of(row, autoencoders) for row in rows]
        parameters = programs.view_parameters(
            test_view,
            programs.place(rows),
            programs.place_rows([painter.params for painter in painters]),
        )
        program = programs.evaluate_classifier(keep_logits=self._keep_logits())
        params = programs.place_rows([model.params for model in models])
        predicted = _first(
            self._dispatch(program, params, parameters, self.positions["test"])(), len(rows)
        )
        failed = [
            max(model.failed_step, painter.failed_step if row.bottleneck else -1)
            for row, model, painter in zip(rows, models, painters, strict=True)
        ]
        return predicted | {"failed_step": np.array(failed, np.int32)}

    def _keep_logits(self) -> bool:
        config = self.config
        cells = len(config.views.train) * len(config.views.test)
        rows = len(classifier_trials(config, needs_code=True))
        floats = cells * rows * len(self.positions["test"]) * len(self.dataset.class_names)
        return 4 * floats < LOGITS_LIMIT

    def _add_missing_rows(
        self,
        name: str,
        wanted: Sequence[Trial],
        evaluate: Callable[[list[Trial]], dict[str, np.ndarray]],
        examples: dict[str, np.ndarray],
    ) -> None:
        """Evaluates the trials that a prediction file lacks and appends them to it.

        Args:
          name: of the file, without .npz.
          wanted: what each row should be.
          evaluate: trials -> arrays with a leading axis of trials.
          examples: arrays without one, the same in all rows.
        """
        path = self.run_directory / "predictions" / f"{name}.npz"
        old = read_npz(path) if path.exists() else None
        known = set() if old is None else {Trial(*row) for row in zip(*_columns(old), strict=True)}
        missing = [trial for trial in wanted if trial not in known]
        if not missing:
            return
        columns = Trial(*(np.array(column) for column in zip(*missing, strict=True)))
        new = evaluate(missing) | columns._asdict() | examples
        write_npz(path, **(new if old is None else merge_rows(old, new, frozenset(examples))))
        if self.interrupted():
            raise Interrupted

    def _make_gallery(self, autoencoders: dict[Trial, Trained]) -> None:
        """predictions/gallery.npz: test images of all classes in turn, and their reconstructions."""
        test, count = self.dataset.splits["test"], self.config.report.gallery
        first_of_each = np.argsort(_rank_within_class(test.labels), kind="stable")
        chosen = np.sort(first_of_each[:count])
        images = np.asarray(test.images[chosen])
        painters = [
            autoencoders[trial]
            for trial in autoencoder_trials(self.config)
            if trial.seed == self.config.seeds[0]
        ]
        paint = jax.jit(self._paint)
        bottlenecks = np.array(self.config.bottlenecks, np.int32)
        painted = [
            np.asarray(paint(painter.params, bottleneck, images))
            for painter, bottleneck in zip(painters, bottlenecks, strict=True)
        ]
        write_npz(
            self.run_directory / "predictions" / "gallery.npz",
            original=images,
            reconstruction=np.stack(painted),
            bottleneck=bottlenecks,
            label=test.labels[chosen],
            name=np.array(test.names, dtype=np.str_)[chosen],
        )

    def _paint(self, params: Params, bottleneck: Any, images: Any) -> Any:
        painted = forward(self.programs.autoencoder, params, images / np.float32(255), bottleneck)
        return jnp.round(eight_bit(painted) * 255).astype(jnp.uint8)


def write_results(run: RunDirectory, config: Config) -> dict[str, Any]:
    """Computes results.json from the run directory, writes and returns it."""
    collected = results.collect(run, config)
    write_json(run / "results.json", collected)
    return collected


def _settings(section: str, settings: TrainingConfig, without: set[str]) -> dict[str, Any]:
    return {
        f"{section}.{name}": value for name, value in settings.model_dump(exclude=without).items()
    }


def _row(states: TrainState, row: int) -> Trained:
    params = jax.tree.map(lambda leaf: leaf[row], states.params)
    return Trained(params, int(states.failed_step[row]))


def _first(evaluation: Evaluation, count: int) -> Evaluation:
    """Without the padding's rows."""
    return {name: values[:count] for name, values in evaluation.items()}


def _columns(arrays: dict[str, np.ndarray]) -> list[list[Any]]:
    """What a prediction file says of its rows, as Python numbers, in the order of Trial's fields."""
    return [arrays[name].tolist() for name in Trial._fields]


def _rank_within_class(labels: np.ndarray) -> np.ndarray:
    """How many examples of the same class come before each."""
    ranks = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ranks[members] = np.arange(len(members))
    return ranks
