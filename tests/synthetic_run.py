"""A made-up run directory in the form of docs/run_directory.md: plausible, seeded, fast."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy import ndimage

from blurjax.analysis import collect_results, flips
from blurjax.config import loading as configuration
from blurjax.config.settings import SPLITS, Config, ViewsConfig
from blurjax.config.trials import (
    LONGER,
    Point,
    Trial,
    all_autoencoder_trials,
    autoencoder_trials,
    checked,
    checked_views,
    classifier_trial,
    classifier_trials,
    measured_views,
    quality_trials,
    views_in_use,
)
from blurjax.config.view_table import CODECS, VIEWS, named
from blurjax.runtime.files import read_npz
from blurjax.runtime.run_directory import RunDirectory

OWN = {
    "original": 0.965,
    "reconstruction": 0.915,
    "crossfit": 0.914,
    "infold": 0.906,
    "mixed": 0.925,
    "blur": 0.935,
    "pca": 0.905,
    "downsample": 0.87,
    "spectrum": 0.925,
}
"""Accuracy of each view's classifiers on their own view (infold: on crossfit) at 8 floats."""
MISMATCH = 0.05
"""The cost of a test view that is not the train view, beyond the worse of the two."""
SIMPLE = 0.9
"""Accuracy of the classifiers of any other view, on that view."""
CHECK_VIEWS = named(check=True)


def skill(train_view: str, test_view: str) -> float:
    """Returns a plausible accuracy at 8 floats."""
    train = "original" if train_view in CHECK_VIEWS else train_view
    if test_view == VIEWS[train].own_test_view:
        return OWN.get(train, SIMPLE)
    if (train, test_view) == ("mixed", "original"):
        return 0.955
    alike = {train, test_view} <= {"reconstruction", "crossfit", "infold", "mixed"}
    return min(OWN.get(v, SIMPLE) for v in (train, test_view)) - (0 if alike else MISMATCH)


FIRST_VIEWS = ("original", "reconstruction", "mixed")
ALL_VIEWS, ALL_TESTS = ViewsConfig().train, ViewsConfig().test
DIGITS = tuple("0123456789")


@dataclasses.dataclass(frozen=True)
class Synthetic:
    """A run to make up."""

    seeds: int = 8
    bottlenecks: tuple[int, ...] = (8,)
    learning_rates: tuple[float, ...] = (1e-3,)
    train_examples: tuple[int | str, ...] = ()
    class_names: tuple[str, ...] = DIGITS
    shape: tuple[int, int, int] = (8, 8, 1)
    images: int = 200
    train_views: tuple[str, ...] = FIRST_VIEWS
    test_views: tuple[str, ...] = ("original", "reconstruction")
    epochs: int = 6
    jobs: int = 1
    """Jobs over which the seeds of a stage are spread, as if seeds had been added later."""
    failed_classifier: tuple[int, str] | None = None
    """(seed, train view) of a classifier frozen at step 17."""
    failed_autoencoder: int | None = None
    """Seed of an autoencoder frozen at step 9, at every bottleneck."""
    check: bool = False
    """Whether the first trials were trained again for twice the epochs."""
    skill: tuple[tuple[tuple[str, str], float], ...] = ()
    """Cells with another accuracy at 8 floats than that of `skill`."""

    @property
    def config(self) -> Config:
        """The settings of such a run, fitted to the data."""
        overrides: dict[str, Any] = {
            "sweep.num_seeds": self.seeds,
            "sweep.learning_rate": self.learning_rates if len(self.learning_rates) > 1 else (),
            "sweep.train_examples": self.train_examples,
            "sweep.bottleneck": self.bottlenecks if len(self.bottlenecks) > 1 else (),
            "autoencoder.bottleneck": self.bottlenecks[0],
            "classifier.learning_rate": self.learning_rates[0],
            "views.train": self.train_views,
            "views.test": self.test_views,
            "autoencoder.check": self.check,
            "classifier.check": self.check,
        }
        settings = configuration.load(None, overrides)
        return configuration.fit_to_data(settings, shape=self.shape, train_examples=1000)


def write_run(path: Path, made_up: Synthetic) -> tuple[RunDirectory, Config]:
    """Writes all files that results.json is computed from; equal arguments give equal bytes."""
    run, config = RunDirectory(path), made_up.config
    run.create()
    made = _Making(made_up, config, run)
    run.write_bytes(run.config, configuration.to_yaml(config).encode())
    environment = {"blurjax": "0.1.0", "jax": "0.10.0", "devices": ["cpu"], "git_commit": None}
    run.write_json(run.environment, environment)
    run.write_json(run.seconds, {"autoencoders": 20.5, "classifiers": 31.25})
    run.write_json(run.audit, _audit(made_up.class_names))
    run.write_json(run.dataset, made.dataset())
    made.write_cells()
    made.write_quality()
    made.write_probes()
    made.write_gallery()
    if any(VIEWS[view].needs_code for view in views_in_use(config)):
        made.write_fitted()
        made.write_codecs()
    if {"original", "reconstruction"} <= {*made_up.train_views} & {*made_up.test_views}:
        made.write_flips()
    made.write_metrics()
    return run, config


def collect(path: Path, made_up: Synthetic) -> tuple[RunDirectory, dict[str, Any]]:
    """Writes a run into path/run; returns it with the content of its results.json."""
    run, config = write_run(path / "run", made_up)
    return run, collect_results(run, config)


def _audit(class_names: tuple[str, ...]) -> dict[str, Any]:
    def image(split: str, i: int) -> dict[str, str]:
        name = class_names[i % len(class_names)]
        return {"split": split, "name": f"{name}/{i}.jpg", "label": name}

    shares = {name: 1 / len(class_names) for name in class_names}
    return {
        "duplicates": "keep",
        "dropped": 0,
        "exact": {
            "groups": 2,
            "images": 4,
            "across_splits": 1,
            "conflicting_labels": 1,
            "examples": [
                {"images": [image("train", 3), image("test", 3)]},
                {"images": [image("train", 4), image("train", 5)]},
            ],
        },
        "near": {
            "threshold": 0.4,
            "pairs": 1,
            "examples": [{"a": image("train", 8), "b": image("test", 8), "distance": 0.25}],
        },
        "class_balance": dict.fromkeys(SPLITS, shares),
    }


class _Making:
    """Writes the files of one run."""

    def __init__(self, made_up: Synthetic, config: Config, run: RunDirectory):
        self.made_up, self.config, self.run = made_up, config, run
        self.rng = np.random.default_rng(0)
        self.num_classes = len(made_up.class_names)
        self.label = np.arange(made_up.images, dtype=np.int32) % self.num_classes
        self.autoencoders = autoencoder_trials(config)
        self.radii = np.arange(min(made_up.shape[:2]) // 2 + 1)

    def dataset(self) -> dict[str, Any]:
        counts = np.bincount(self.label, minlength=self.num_classes)
        return {
            "name": "made-up",
            "fingerprint": "0123456789abcdef",
            "class_names": self.made_up.class_names,
            "image_shape": self.made_up.shape,
            "examples": {"train": 1000, "validation": 100, "test": self.made_up.images},
            "class_counts": {"train": counts * 5, "validation": counts, "test": counts},
            "notes": ["These images were made up."],
        }

    def write_cells(self) -> None:
        difficulty = self.rng.normal(size=self.label.size)
        special = dict(self.made_up.skill)
        best = special.get(("original", "original"), OWN["original"])
        shared = {
            "label": self.label,
            "index": np.arange(self.label.size, dtype=np.int32),
            "name": np.asarray([str(i) for i in range(self.label.size)]),
        }
        for cell in itertools.product(self.config.train_views, self.config.test_views):
            file = self.run.predictions(*cell)
            if cell[0] == "identity" and "original" in self.config.train_views:
                self.run.write_npz(file, **read_npz(self.run.predictions("original", cell[1])))
                continue
            trials = classifier_trials(self.config, *cell)
            level = special.get(cell, skill(*cell))
            levels = [
                (best - (best - level) * _kept(trial.bottleneck)) * _learned(trial.train_examples)
                for trial in trials
            ]
            answers = self.answers(levels, difficulty)
            if cell[0] == "shuffled":
                shape = answers["prediction"].shape
                answers["prediction"] = self.rng.integers(0, self.num_classes, shape, np.int32)
            failed = self.failed_step(trials, cell[0])
            keys = _keys(trials)
            self.run.write_npz(file, **answers, **shared, trial=keys, failed_step=failed)

    def answers(self, levels: list[float], difficulty: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the answers of classifiers of these accuracies to test images of this difficulty."""
        rows = [self._answers(level, difficulty) for level in levels]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def _answers(self, level: float, difficulty: np.ndarray) -> dict[str, np.ndarray]:
        rng, count = self.rng, difficulty.size
        score = difficulty + 0.5 * rng.normal(size=count) + 0.05 * rng.normal()
        correct = score < NormalDist(sigma=1.25**0.5).inv_cdf(level)
        confidence = np.clip(rng.beta(9, 1, count) - 0.2 * ~correct, 0.2, 0.999)
        wrong = (self.label + rng.integers(1, 4, count)) % self.num_classes
        return {
            "prediction": np.where(correct, self.label, wrong).astype(np.int32),
            "confidence": confidence.astype(np.float32),
            "loss": -np.log(np.where(correct, confidence, 1 - confidence)).astype(np.float32),
        }

    def failed_step(self, trials: list[Trial], train_view: str | None = None) -> np.ndarray:
        steps = np.full(len(trials), -1, np.int32)
        for t, trial in enumerate(trials):
            if trial.bottleneck and trial.seed == self.made_up.failed_autoencoder:
                steps[t] = 9
            if (trial.seed, train_view) == self.made_up.failed_classifier:
                steps[t] = 17
        return steps

    def write_quality(self) -> None:
        for view in measured_views(self.config):
            is_original = view == "original"
            trials = quality_trials(self.config, view)
            kept = np.asarray([_kept(trial.bottleneck) for trial in trials])[:, None]
            distortion = "reconstruction" if view == "blur" else view  # matched by design
            lost = 0 if is_original else (OWN["original"] - OWN.get(distortion, SIMPLE)) / 0.05
            cutoff = self.radii[-1] * (0.2 + 0.8 * (OWN.get(view, SIMPLE) - 0.86)) / kept
            fall = np.exp(-((self.radii / cutoff) ** 2) * bool(lost))
            for split, size in (("train", 50), ("validation", 50), ("test", self.made_up.images)):
                shape = (len(trials), size)
                mse = 0.008 * lost * kept * self.rng.gamma(4, 0.25, shape)
                ssim = 1 - 0.3 * lost * kept * self.rng.beta(4, 4, shape)
                laplacian = 0.05 / (1 + 3 * lost * kept) * self.rng.gamma(4, 0.25, shape)
                self.run.write_npz(
                    self.run.quality(view, split),
                    mse=mse.astype(np.float32),
                    ssim=ssim.astype(np.float32),
                    laplacian_variance=laplacian.astype(np.float32),
                    spectrum=((1 + self.radii) ** -2.5 * fall + 1e-6).astype(np.float32),
                    trial=_keys(trials),
                    failed_step=self.failed_step(trials),
                )

    def write_fitted(self) -> None:
        kept = np.asarray([_kept(trial.bottleneck) for trial in self.autoencoders])
        self.run.write_npz(
            self.run.fitted_views,
            sigma=(kept + self.rng.normal(0, 0.02, len(kept))).astype(np.float32),
            reachable=np.ones(len(kept), bool),
            gain=np.exp(-self.radii[None, :] * kept[:, None] / 4).astype(np.float32),
            trial=_keys(self.autoencoders),
        )

    def write_codecs(self) -> None:
        count = len(self.autoencoders)
        for codec in {*CODECS} & {*views_in_use(self.config)}:
            self.run.write_npz(
                self.run.codec(codec),
                quality=np.arange(10, 10 + count, dtype=np.int32),
                reachable=np.arange(count) > 0,
                bytes=np.linspace(300, 310, count, dtype=np.float32),
                trial=_keys(self.autoencoders),
            )

    def write_probes(self) -> None:
        difficulty = self.rng.normal(size=self.label.size)
        for kind, level in (("linear", 0.86), ("mlp", 0.9)):
            answers = self.answers([level] * len(self.autoencoders), difficulty)
            self.run.write_npz(
                self.run.probe(kind),
                prediction=answers["prediction"],
                label=self.label,
                trial=_keys(self.autoencoders),
                failed_step=self.failed_step(self.autoencoders),
            )

    def write_gallery(self) -> None:
        original = self.images(min(10, self.label.size))
        shown = {*self.config.test_views, "reconstruction"} - {"original"}
        views = [view for view in named(measured=True) if view in shown]
        images = [
            [_bytes(_in_view(view, original, b, self.rng)) for view in views]
            for b in self.config.bottlenecks
        ]
        self.run.write_npz(
            self.run.gallery,
            original=_bytes(original),
            views=np.stack(images),
            view_names=np.asarray(views),
            bottleneck=np.asarray(self.config.bottlenecks, np.int32),
            label=self.label[:10],
            name=np.asarray([str(i) for i in range(len(original))]),
        )

    def write_flips(self) -> None:
        """Writes the images whose answers differ most often, as the experiment does."""
        views = ("original", "reconstruction")
        cells = [read_npz(self.run.predictions(view, view)) for view in views]
        of = self.config
        recipe = of.learning_rates[0], of.weight_decays[0], of.label_counts[0]
        counts = []
        for bottleneck in self.config.bottlenecks:
            right = []
            for view, arrays in zip(views, cells, strict=True):
                point, keys = Point(bottleneck, *recipe), arrays["trial"].tolist()
                trials = [classifier_trial(point, seed, view) for seed in self.config.seeds]
                rows = [keys.index(trial.key) for trial in trials]
                right.append(arrays["prediction"][rows] == arrays["label"])
            counts.append(flips(*right))
        index = np.argsort(-np.stack(counts), axis=1, kind="stable")[:, :12].astype(np.int32)
        originals = [self.images(index.shape[1]) for _ in index]
        rebuilt = [
            _bytes(_in_view("reconstruction", images, bottleneck, self.rng))
            for images, bottleneck in zip(originals, self.config.bottlenecks, strict=True)
        ]
        self.run.write_npz(
            self.run.flips,
            bottleneck=np.asarray(self.config.bottlenecks, np.int32),
            index=index,
            count=np.take_along_axis(np.stack(counts), index, axis=1),
            original=_bytes(np.stack(originals)),
            reconstruction=np.stack(rebuilt),
            label=self.label[index],
            name=index.astype(str),
        )

    def images(self, count: int) -> np.ndarray:
        """Returns f64[count,H,W,C]: a bright blob on a darker slope, some noise."""
        height, width, channels = self.made_up.shape
        y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
        cy, cx = self.rng.uniform(0.3, 0.7, (2, count, 1, 1))
        blob = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 0.05)
        colour = self.rng.uniform(0.3, 1, (count, 1, 1, channels))
        noise = self.rng.normal(0, 0.05, (count, *self.made_up.shape))
        return np.clip((0.3 * y + 0.7 * blob)[..., None] * colour + noise, 0, 1)

    def write_metrics(self) -> None:
        self._append("autoencoder", None, all_autoencoder_trials(self.config))
        for view in self.config.train_views:
            self._append("classifier", view, classifier_trials(self.config, view))
        if self.made_up.check:
            self._append(f"{LONGER}autoencoder", None, checked(self.config, self.autoencoders), 2)
        for view in checked_views(self.config):
            trials = checked(self.config, classifier_trials(self.config, view))
            self._append(f"{LONGER}classifier", view, trials, 2)

    def _append(self, stage: str, view: str | None, trials: list[Trial], longer: int = 1) -> None:
        for j in range(self.made_up.jobs):
            mine = [trial for trial in trials if trial.seed % self.made_up.jobs == j]
            job = f"{stage}/{view}/job-{j}" if view else f"{stage}/job-{j}"
            trials_of_job = {"trials": [trial._asdict() for trial in mine]}
            self.run.write_json(self.run.job_file(job), trials_of_job)
            for epoch in range(1, longer * self.made_up.epochs + 1):
                position = {"stage": stage, "view": view, "job": job, "epoch": epoch}
                losses = {"step": 21 * epoch, "loss": [1.0] * len(mine)}
                self.run.append_metrics(position | losses | self.measured(view, epoch, len(mine)))

    def measured(self, view: str | None, epoch: int, trials: int) -> dict[str, Any]:
        if view is None:
            return {
                side: {"loss": level * np.exp(-epoch) + 0.01 * self.rng.uniform(0.98, 1.02, trials)}
                for side, level in (("train", 0.1), ("validation", 0.12))
            }
        end = 1 / self.num_classes if view == "shuffled" else OWN.get(view, OWN["original"])
        ends = {"train": min(0.995, end + 0.06), "validation": end}
        if VIEWS[view].needs_code:
            ends["validation_original"] = skill(view, "original")
        sides = {}
        for side, end in ends.items():
            accuracy = end * (1 - 0.8 * np.exp(-epoch / 2)) - self.rng.uniform(0, 0.01, trials)
            sides[side] = {"loss": 3 * (1 - accuracy), "accuracy": accuracy}
        return sides


def _keys(trials: list[Trial]) -> np.ndarray:
    """Returns the column that says which trial each row belongs to."""
    return np.array([trial.key for trial in trials])


def _kept(bottleneck: int | None) -> float:
    """Returns the share of the loss of skill that is left at this bottleneck; 1 at 8 floats and without a code."""
    return (8 / (bottleneck or 8)) ** 0.5


def _learned(train_examples: int | None) -> float:
    """Returns the share of skill that is learned from as many labelled images."""
    return 1 - 1 / (train_examples or np.inf) ** 0.5


def _in_view(
    view: str, images: np.ndarray, bottleneck: int, rng: np.random.Generator
) -> np.ndarray:
    if view == "downsample":
        block = max(2, images.shape[1] // 4)
        small = images[:, block // 2 :: block, block // 2 :: block]
        enlarged = np.repeat(np.repeat(small, block, 1), block, 2)
        return enlarged[:, : images.shape[1], : images.shape[2]]
    sigma = 0.15 * images.shape[1] * _kept(bottleneck)
    noise = 0.06 if view == "pca" else 0.02 if view in ("reconstruction", "crossfit") else 0
    smooth = ndimage.gaussian_filter(images, sigma, axes=(1, 2))
    return np.clip(smooth + rng.normal(0, 1, images.shape) * noise, 0, 1)


def _bytes(images: np.ndarray) -> np.ndarray:
    return np.round(images * 255).astype(np.uint8)
