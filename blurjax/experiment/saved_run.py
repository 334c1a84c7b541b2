"""A finished run, read back: its results, its predictions, and its models for images that they have never seen."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from blurjax.config import Config, Point, Trial, load
from blurjax.config.settings import fitted
from blurjax.config.trials import classifier_trial
from blurjax.data.given_images import GivenImages
from blurjax.engine import silence_libtpu, this_machine
from blurjax.experiment.fingerprints import check_code
from blurjax.experiment.networks import Networks, TrainingData, hyperparameters_of
from blurjax.experiment.trained_models import ImageForm, TrainedAutoencoder, TrainedClassifier
from blurjax.runtime import RunDirectory, UserError, read_json, read_npz
from blurjax.train.jobs import Job, find_jobs
from blurjax.train.loop import read_trained
from blurjax.train.metric_writers import metric_rows
from blurjax.train.state import TrainedModel


def load_run(directory: str | os.PathLike[str]) -> SavedRun:
    """Opens the directory of a finished run, which is only read.

    Raises:
      UserError: it is no run directory, or the run is not finished.
    """
    silence_libtpu()
    return SavedRun(directory)


class SavedRun:
    """A finished run.

    Where a run has several points, methods take the values that tell them apart (`bottleneck`, `learning_rate`,
    `weight_decay`, `train_examples`: a number or "all"), and raise UserError where these leave more or fewer than one.

    Attributes:
      config: its settings, fitted to the data.
      results: content of results.json (docs/run_directory.md).
    """

    def __init__(self, directory: str | os.PathLike[str]):
        self._run = run = RunDirectory(directory, writes=False)
        run.check_format()
        if not run.results.exists():
            raise UserError(
                f"The run in {run.path} is not finished: it has no results.json; continue it with the command that "
                "began it."
            )
        self.config: Config = load(run.config)
        self.results: dict[str, Any] = read_json(run.results)
        self._trained: dict[str, TrainedModel] = {}

    @property
    def path(self) -> Path:
        """Its directory."""
        return self._run.path

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the images of the data set, and of all that models are given."""
        height, width, channels = self.results["dataset"]["image_shape"]
        return height, width, channels

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of labels and probabilities."""
        return tuple(self.results["dataset"]["class_names"])

    def __repr__(self) -> str:
        name, seeds = self.results["dataset"]["name"], len(self.config.seeds)
        points = len(self.results["points"])
        return f"<SavedRun {str(self._run.path)!r} of {name!r}: {seeds} seeds, {points} points>"

    def accuracy(
        self, train_view: str, test_view: str, **values: float | str | None
    ) -> dict[str, Any]:
        """Returns the accuracy of classifiers of a train view on a test view, a share in [0, 1].

        Returns:
          "mean", "interval", "interval_trials" and "per_trial", as in results.json.
        """
        self._check_views(train_view, test_view)
        return self._block(self._only(self._points(values)))["accuracy"][train_view][test_view]

    def trials(self, **values: float | str | None) -> list[int]:
        """Returns the seeds of a point that results are of: those of which nothing was frozen."""
        return self._block(self._only(self._points(values)))["trials"]

    def predictions(self, train_view: str, test_view: str) -> dict[str, np.ndarray]:
        """Returns what classifiers of a train view predict of the test split in a test view.

        Returns:
          "prediction" i32[T,N], "confidence" f32[T,N], "trial" str[T], "label" i32[N], "name" str[N] and others
          (docs/run_directory.md).
        """
        self._check_views(train_view, test_view)
        return read_npz(self._run.predictions(train_view, test_view))

    def metrics(self) -> list[dict[str, Any]]:
        """Returns a row for every trial and epoch, flat, as `pandas.DataFrame` takes them.

        Each has "stage", "view", "epoch", "step", the fields of `Trial`, "loss", and "train.loss",
        "validation.accuracy" and the like (docs/run_directory.md).
        """
        return [*metric_rows(self._run)]

    def autoencoder(
        self, seed: int | None = None, bottleneck: int | None = None
    ) -> TrainedAutoencoder:
        """Returns the autoencoder of a seed (None: the first) that was trained on the whole train split.

        Raises:
          UserError: there is none such or several, it was frozen, or the code of models has changed since.
        """
        trial = self.autoencoder_trial(seed, bottleneck)
        model = self._finite_model("autoencoder", trial)
        return TrainedAutoencoder(trial, self._networks.autoencoder, model.variables, self._form)

    def autoencoder_trial(self, seed: int | None = None, bottleneck: int | None = None) -> Trial:
        """Returns the trial of an autoencoder; arguments and errors as of `autoencoder`."""
        found = self._points({} if bottleneck is None else {"bottleneck": bottleneck})
        return self._only(Trial(self._seed(seed), point.bottleneck) for point in found)

    def models(self, stage: str) -> dict[Trial, TrainedModel]:
        """Returns all models of a stage ("autoencoder", "classifier/VIEW"), also those of folds and frozen ones."""
        trials = [trial for job in find_jobs(self._run, stage) for trial in job.trials]
        return {trial: self._model(stage, trial) for trial in trials}

    def classifier(
        self, view: str, seed: int | None = None, **values: float | str | None
    ) -> TrainedClassifier:
        """Returns the classifier of a train view and a seed (None: the first); errors as of `autoencoder`."""
        self._check_views(view)
        seed = self._seed(seed)
        trial = self._only(classifier_trial(point, seed, view) for point in self._points(values))
        model, training = self._finite_model(f"classifier/{view}", trial), self.config.classifier
        return TrainedClassifier(
            view,
            trial,
            self.class_names,
            self._networks.for_view(view).classifier,
            model.variables,
            self._form,
            training.mirror_test,
        )

    def predict(
        self,
        images: GivenImages,
        train_view: str = "original",
        test_view: Literal["original", "reconstruction"] = "original",
        **values: float | str | None,
    ) -> np.ndarray:
        """Returns the probabilities f32[T,N,K] that all classifiers of a train view, one per trial, give to images.

        Args:
          images: as for `TrainedAutoencoder.reconstruct`.
          train_view: what the classifiers were trained on.
          test_view: "original", for images as they are, or "reconstruction", by each trial's autoencoder.
          **values: of the point, where the run has several.

        Raises:
          UserError: an image cannot be read, or the run has no such classifiers.
        """
        if test_view not in ("original", "reconstruction"):
            raise UserError(
                f"Images can be classified as original or as reconstruction, and not as {test_view!r}."
            )
        self._check_views(train_view)
        point, *_ = found = self._points(values)
        self._only(classifier_trial(point, 0, train_view, test_view) for point in found)
        viewed = read = self._form.read(images)
        outputs = []
        for seed in self.trials(**point._asdict()):
            if test_view == "reconstruction":
                viewed = self.autoencoder(seed, point.bottleneck).reconstruct(read)
            outputs.append(self.classifier(train_view, seed, **point._asdict()).predict(viewed))
        return np.stack(outputs)

    # What the models are made of.

    @cached_property
    def _networks(self) -> Networks:
        counts = self.results["dataset"]["class_counts"]["train"]
        data = TrainingData(self.image_shape, tuple(counts))
        check_code(self._run, self.config, data)
        return Networks(self.config, data, this_machine().platform)

    @property
    def _form(self) -> ImageForm:
        return ImageForm(
            self.image_shape, self.config.data.max_pixels, fitted(self.config.classifier.batch_size)
        )

    def _model(self, stage: str, trial: Trial) -> TrainedModel:
        """Reads the job of a trial where that was not done yet, and returns the trial's model."""
        job = next((job for job in find_jobs(self._run, stage) if trial in job.trials), None)
        if job is None:
            raise UserError(f"{self._run.path} holds no {stage} of {trial.key}.")
        if job.name not in self._trained:
            self._trained[job.name] = self._read(job)
        row, trained = job.trials.index(trial), self._trained[job.name]
        return jax.tree.map(lambda leaf: leaf[row], trained)

    def _finite_model(self, stage: str, trial: Trial) -> TrainedModel:
        """Returns the trial's model, or raises UserError where it was frozen."""
        model = self._model(stage, trial)
        if model.failed_step >= 0:
            raise UserError(
                f"The {stage} of {trial.key} was frozen at step {model.failed_step}, when something was not finite; "
                "choose another."
            )
        return model

    def _read(self, job: Job) -> TrainedModel:
        networks, config = self._networks, self.config
        is_classifier = job.stage == "classifier"
        if is_classifier:
            assert job.view is not None
            networks = networks.for_view(job.view)
        training = config.classifier if is_classifier else config.autoencoder
        init = networks.classifier_init if is_classifier else networks.autoencoder_init
        rows = [hyperparameters_of(trial, training) for trial in job.trials]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
        states = jax.eval_shape(jax.vmap(init), stacked)
        return read_trained(
            job,
            self._run,
            states,
            select_best=is_classifier and config.classifier.select == "best",
            total_steps=networks.num_steps(training),
        )

    # What the arguments name.

    def _seed(self, seed: int | None) -> int:
        seed = self.config.seeds[0] if seed is None else seed
        _check_known(self._run, "seed", seed, self.config.seeds)
        return seed

    def _check_views(self, train_view: str, test_view: str | None = None) -> None:
        _check_known(self._run, "train view", train_view, self.results["views"]["train"])
        if test_view is not None:
            _check_known(self._run, "test view", test_view, self.results["views"]["test"])

    def _points(self, values: Mapping[str, Any]) -> list[Point]:
        """Returns the points that have these values: at least one, of those that the results are of."""
        found = [Point(**block["values"]) for block in self.results["points"]]
        for name, value in values.items():
            if name not in Point._fields:
                raise UserError(
                    f"Points are not told apart by {name!r}; name {_either(Point._fields)}."
                )
            known = dict.fromkeys(_named(name, getattr(point, name)) for point in found)
            _check_known(self._run, name, _named(name, value), known)
            found = [p for p in found if _named(name, getattr(p, name)) == _named(name, value)]
        return found

    def _block(self, point: Point) -> dict[str, Any]:
        """Returns the entry of a point in the results."""
        block = next(b for b in self.results["points"] if b["values"] == point._asdict())
        if not block["trials"]:
            raise UserError(f"{self._run.path} has no trials left at {point}: all were frozen.")
        return block

    def _only(self, found: Iterable[Any]) -> Any:
        """Returns the only one of some points or trials."""
        first, *others = dict.fromkeys(found)
        for name in Point._fields if others else ():
            known = dict.fromkeys(_named(name, getattr(one, name)) for one in (first, *others))
            if len(known) > 1:
                raise UserError(
                    f"{self._run.path} has several values of {name}; name {_either(known)}."
                )
        return first


def _named(name: str, value: Any) -> Any:
    """Returns a value of a point as settings have it: all labelled images are "all"."""
    return "all" if name == "train_examples" and value is None else value


def _check_known(run: RunDirectory, name: str, value: object, known: Iterable[object]) -> None:
    known = [*known]
    if value not in known:
        raise UserError(f"{run.path} has no {name} {value}; name {_either(known)}.")


def _either(names: Iterable[object]) -> str:
    *others, last = map(str, names)
    return f"{', '.join(others)} or {last}" if others else last
