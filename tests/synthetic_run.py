"""A made-up run directory in the form of docs/run_directory.md: plausible, seeded, fast."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from blurjax import config as configuration
from blurjax.config import Config
from blurjax.run_directory import RunDirectory, jsonable, write_bytes, write_json, write_npz

SKILL = {
    ("original", "original"): 0.97,
    ("original", "reconstruction"): 0.8,
    ("reconstruction", "original"): 0.86,
    ("reconstruction", "reconstruction"): 0.92,
    ("mixed", "original"): 0.96,
    ("mixed", "reconstruction"): 0.91,
}
DIGITS = tuple("0123456789")


@dataclasses.dataclass(frozen=True)
class Synthetic:
    """What to make up."""

    seeds: int = 8
    bottlenecks: tuple[int, ...] = (8,)
    learning_rates: tuple[float, ...] = (1e-3,)
    class_names: tuple[str, ...] = DIGITS
    shape: tuple[int, int, int] = (8, 8, 1)
    images: int = 200
    train_views: tuple[str, ...] = ("original", "reconstruction", "mixed")
    test_views: tuple[str, ...] = ("original", "reconstruction")
    epochs: int = 6
    jobs: int = 1
    """Jobs that the seeds of a stage are spread over, as where seeds were added later."""
    failed_classifier: tuple[int, str] | None = None
    """(seed, train view) of a classifier frozen at step 17."""
    failed_autoencoder: int | None = None
    """Seed of an autoencoder frozen at step 9, at every bottleneck."""
    skill: tuple[tuple[tuple[str, str], float], ...] = tuple(SKILL.items())

    @property
    def config(self) -> Config:
        """The settings of such a run, fitted to the data."""
        overrides: dict[str, Any] = {
            "sweep.num_seeds": self.seeds,
            "sweep.learning_rate": self.learning_rates if len(self.learning_rates) > 1 else (),
            "sweep.bottleneck": self.bottlenecks if len(self.bottlenecks) > 1 else (),
            "autoencoder.bottleneck": self.bottlenecks[0],
            "classifier.learning_rate": self.learning_rates[0],
            "views.train": self.train_views,
            "views.test": self.test_views,
        }
        settings = configuration.load(None, overrides)
        return configuration.fit_to_data(settings, shape=self.shape, train_examples=1000)


def write_run(path: Path, made_up: Synthetic) -> tuple[RunDirectory, Config]:
    """Writes everything that comes before results.json; equal arguments give equal bytes."""
    run = RunDirectory(path)
    run.create()
    rng = np.random.default_rng(0)
    write_bytes(run / "config.yaml", configuration.to_yaml(made_up.config).encode())
    write_json(
        run / "environment.json",
        {"blurjax": "0.1.0", "jax": "0.10.0", "devices": ["cpu"], "git_commit": None},
    )
    write_json(run / "seconds.json", {"autoencoders": 20.5, "classifiers": 31.25})
    label = np.arange(made_up.images, dtype=np.int32) % len(made_up.class_names)
    write_json(run / "dataset.json", _dataset(made_up, label))
    _write_cells(run, made_up, label, rng)
    if _painted(made_up):
        _write_quality(run, made_up, rng)
        _write_gallery(run, made_up, label, rng)
    _write_metrics(run, made_up, rng)
    return run, made_up.config


def _painted(made_up: Synthetic) -> bool:
    return {*made_up.train_views, *made_up.test_views} != {"original"}


def _dataset(made_up: Synthetic, label: np.ndarray) -> dict[str, Any]:
    counts = np.bincount(label, minlength=len(made_up.class_names))
    return {
        "name": "made-up",
        "fingerprint": "0123456789abcdef",
        "class_names": made_up.class_names,
        "image_shape": made_up.shape,
        "examples": {"train": 1000, "validation": 100, "test": made_up.images},
        "class_counts": {"train": counts * 5, "validation": counts, "test": counts},
        "notes": ["These images were made up."],
    }


def _trials(made_up: Synthetic, *, of_code: bool) -> list[dict[str, Any]]:
    bottlenecks = made_up.bottlenecks if of_code else (0,)
    return [
        {
            "seed": s,
            "learning_rate": rate,
            "weight_decay": made_up.config.classifier.weight_decay,
            "bottleneck": b,
            "fold": -1,
        }
        for b, rate, s in itertools.product(
            bottlenecks, made_up.learning_rates, range(made_up.seeds)
        )
    ]


def _autoencoders(made_up: Synthetic, folds: tuple[int, ...]) -> list[dict[str, Any]]:
    return [
        {"seed": s, "learning_rate": None, "weight_decay": None, "bottleneck": b, "fold": fold}
        for b, fold, s in itertools.product(made_up.bottlenecks, folds, range(made_up.seeds))
    ]


def _kept(bottleneck: int) -> float:
    """The share of the loss of skill that is left at this bottleneck; 1 at 8 floats."""
    return (8 / max(bottleneck, 1)) ** 0.5


def _write_cells(
    run: RunDirectory, made_up: Synthetic, label: np.ndarray, rng: np.random.Generator
) -> None:
    difficulty = rng.normal(size=label.size)
    best = dict(made_up.skill)["original", "original"]
    for cell, skill in made_up.skill:
        if cell[0] not in made_up.train_views or cell[1] not in made_up.test_views:
            continue
        trials = _trials(made_up, of_code=cell != ("original", "original"))
        rows = [
            _predictions(best - (best - skill) * _kept(trial["bottleneck"] or 8), difficulty, rng)
            for trial in trials
        ]
        arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        wrong = (label + arrays.pop("miss")) % len(made_up.class_names)
        write_npz(
            run / "predictions" / f"{cell[0]}-on-{cell[1]}.npz",
            prediction=np.where(arrays.pop("correct"), label, wrong).astype(np.int32),
            **arrays,
            label=label,
            index=np.arange(label.size, dtype=np.int32),
            name=np.asarray([str(i) for i in range(label.size)]),
            seed=np.asarray([trial["seed"] for trial in trials], np.uint32),
            bottleneck=np.asarray([trial["bottleneck"] for trial in trials], np.int32),
            learning_rate=np.asarray([trial["learning_rate"] for trial in trials], np.float32),
            weight_decay=np.asarray([trial["weight_decay"] for trial in trials], np.float32),
            failed_step=_failed(made_up, trials, cell),
        )


def _predictions(
    skill: float, difficulty: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    score = difficulty + rng.normal(size=difficulty.size) + rng.normal() * 0.1
    correct = score < NormalDist(sigma=2**0.5).inv_cdf(skill)
    confidence = np.clip(rng.beta(9, 1, difficulty.size) - 0.2 * ~correct, 0.2, 0.999)
    return {
        "correct": correct,
        "miss": rng.integers(1, 4, difficulty.size),
        "confidence": confidence.astype(np.float32),
        "loss": -np.log(np.where(correct, confidence, 1 - confidence)).astype(np.float32),
    }


def _failed(made_up: Synthetic, trials: list[dict[str, Any]], cell: tuple[str, ...]) -> np.ndarray:
    steps = np.full(len(trials), -1, np.int32)
    for t, trial in enumerate(trials):
        if trial["bottleneck"] and trial["seed"] == made_up.failed_autoencoder:
            steps[t] = 9
        if (trial["seed"], cell[0]) == made_up.failed_classifier:
            steps[t] = 17
    return steps


def _write_quality(run: RunDirectory, made_up: Synthetic, rng: np.random.Generator) -> None:
    trials = _autoencoders(made_up, folds=(-1,))
    seeds = np.asarray([trial["seed"] for trial in trials], np.uint32)
    kept = np.asarray([_kept(trial["bottleneck"]) for trial in trials])[:, None]
    failed = np.where(seeds == made_up.failed_autoencoder, 9, -1).astype(np.int32)
    for split, size in (("train", 50), ("validation", 50), ("test", made_up.images)):
        write_npz(
            run / "predictions" / f"reconstruction-{split}.npz",
            mse=(0.01 * kept * rng.gamma(4, 0.25, (len(trials), size))).astype(np.float32),
            ssim=(1 - 0.3 * kept * rng.beta(4, 4, (len(trials), size))).astype(np.float32),
            seed=seeds,
            bottleneck=np.asarray([trial["bottleneck"] for trial in trials], np.int32),
            failed_step=failed,
        )


def _write_gallery(
    run: RunDirectory, made_up: Synthetic, label: np.ndarray, rng: np.random.Generator
) -> None:
    original = np.stack([_image(made_up.shape, rng) for _ in range(10)])
    blurred = [_smooth(original, 1 + _kept(b)) for b in made_up.bottlenecks]
    write_npz(
        run / "predictions" / "gallery.npz",
        original=_bytes(original),
        reconstruction=np.stack([_bytes(image) for image in blurred]),
        bottleneck=np.asarray(made_up.bottlenecks, np.int32),
        label=label[:10],
        name=np.asarray([str(i) for i in range(10)]),
    )


def _image(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """A bright blob on a darker slope, some noise."""
    height, width, _ = shape
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    centre, colour = rng.uniform(0.3, 0.7, 2), rng.uniform(0.3, 1, shape[2])
    blob = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 0.05)
    image = (0.3 * y + 0.7 * blob)[..., None] * colour
    return np.clip(image + rng.normal(0, 0.05, shape), 0, 1)


def _smooth(images: np.ndarray, sigma: float) -> np.ndarray:
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(n) for n in images.shape[2:0:-1]]))
    keep = np.exp(-2 * (np.pi * sigma * frequency / 2) ** 2)[None, :, :, None]
    return np.clip(np.fft.ifft2(np.fft.fft2(images, axes=(1, 2)) * keep, axes=(1, 2)).real, 0, 1)


def _bytes(images: np.ndarray) -> np.ndarray:
    return np.round(images * 255).astype(np.uint8)


def _write_metrics(run: RunDirectory, made_up: Synthetic, rng: np.random.Generator) -> None:
    lines = []
    if _painted(made_up):
        trials = _autoencoders(made_up, folds=(-1, 0, 1))
        lines += list(_job_lines(run, made_up, "autoencoder", None, trials, rng))
    for view in made_up.train_views:
        trials = _trials(made_up, of_code=view != "original")
        lines += list(_job_lines(run, made_up, "classifier", view, trials, rng))
    text = "".join(json.dumps(jsonable(line)) + "\n" for line in lines)
    write_bytes(run / "metrics.jsonl", text.encode())


def _job_lines(
    run: RunDirectory,
    made_up: Synthetic,
    stage: str,
    view: str | None,
    trials: list[dict[str, Any]],
    rng: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    for j in range(made_up.jobs):
        mine = [trial for trial in trials if trial["seed"] % made_up.jobs == j]
        job = f"{stage}/{view}/job-{j}" if view else f"{stage}/job-{j}"
        write_json(run / "checkpoints" / job / "job.json", {"trials": mine})
        for epoch in range(1, made_up.epochs + 1):
            yield {
                "stage": stage,
                "view": view,
                "job": job,
                "epoch": epoch,
                "step": 21 * epoch,
                "loss": [1.0] * len(mine),
                **_measured(view, epoch, len(mine), rng),
                "seconds": 2.0,
            }


def _measured(view: str | None, epoch: int, trials: int, rng: np.random.Generator) -> dict:
    if view is None:
        return {
            side: {"loss": level * np.exp(-epoch) + 0.01 * rng.uniform(0.9, 1.1, trials)}
            for side, level in (("train", 0.1), ("validation", 0.12))
        }
    test = "original" if view == "original" else "reconstruction"
    ends = {"train": 0.995, "validation": SKILL[view, test]}
    if view != "original":
        ends["validation_original"] = SKILL[view, "original"]
    measured = {}
    for side, end in ends.items():
        accuracy = end * (1 - 0.8 * np.exp(-epoch)) - rng.uniform(0, 0.01, trials)
        measured[side] = {"loss": 3 * (1 - accuracy), "accuracy": accuracy}
    return measured
