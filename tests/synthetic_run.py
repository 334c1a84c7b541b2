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
from blurjax import statistics
from blurjax.config import Config
from blurjax.run_directory import (
    RunDirectory,
    jsonable,
    read_npz,
    write_bytes,
    write_json,
    write_npz,
)

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
"""What a test view that is not the train view costs beyond the worse of the two."""
CONTROLS = ("identity", "reseeded", "shuffled")


def skill(train_view: str, test_view: str) -> float:
    """A plausible accuracy at 8 floats."""
    train = "original" if train_view in CONTROLS else train_view
    if (train, test_view) in (("infold", "crossfit"), ("mixed", "reconstruction")):
        return OWN[train]
    painted = {"reconstruction", "crossfit", "infold", "mixed"}
    alike = train == test_view or {train, test_view} <= painted
    better = {"mixed": 0.955}.get(train, 0) if test_view == "original" else 0
    return better or min(OWN[train], OWN[test_view]) - (0 if alike else MISMATCH)


FIRST_VIEWS = ("original", "reconstruction", "mixed")
ALL_VIEWS = (
    "original",
    "reconstruction",
    "crossfit",
    "infold",
    "mixed",
    "blur",
    "pca",
    "downsample",
)
ALL_TESTS = ("original", "reconstruction", "crossfit", "blur", "pca", "downsample")
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
    train_views: tuple[str, ...] = FIRST_VIEWS
    test_views: tuple[str, ...] = ("original", "reconstruction")
    epochs: int = 6
    jobs: int = 1
    """Jobs that the seeds of a stage are spread over, as where seeds were added later."""
    failed_classifier: tuple[int, str] | None = None
    """(seed, train view) of a classifier frozen at step 17."""
    failed_autoencoder: int | None = None
    """Seed of an autoencoder frozen at step 9, at every bottleneck."""
    first_seed: int = 0
    skill: tuple[tuple[tuple[str, str], float], ...] = ()
    """Cells whose accuracy at 8 floats is not that of `skill`."""

    @property
    def config(self) -> Config:
        """The settings of such a run, fitted to the data."""
        overrides: dict[str, Any] = {
            "sweep.num_seeds": self.seeds,
            "sweep.first_seed": self.first_seed,
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
    write_json(run / "audit.json", _audit(made_up))
    label = np.arange(made_up.images, dtype=np.int32) % len(made_up.class_names)
    write_json(run / "dataset.json", _dataset(made_up, label))
    _write_cells(run, made_up, label, rng)
    _write_quality(run, made_up, rng)
    if _painted(made_up):
        _write_fitted(run, made_up, rng)
        _write_probes(run, made_up, label, rng)
        _write_gallery(run, made_up, label, rng)
    if {"original", "reconstruction"} <= {*made_up.train_views} & {*made_up.test_views}:
        _write_flips(run, made_up, label, rng)
    _write_metrics(run, made_up, rng)
    return run, made_up.config


def _painted(made_up: Synthetic) -> bool:
    return any(_of_code(view) for view in (*made_up.train_views, *made_up.test_views))


def _of_code(*views: str) -> bool:
    return not {*views} <= {"original", *CONTROLS}


def _shown(made_up: Synthetic) -> list[str]:
    """The views whose images differ from each other, original left out."""
    views = [*made_up.train_views, *made_up.test_views]
    return [
        view
        for view in OWN
        if view not in ("original", "mixed") and (view in views or view == "reconstruction")
    ]


def _audit(made_up: Synthetic) -> dict[str, Any]:
    def image(split: str, i: int) -> dict[str, str]:
        name = made_up.class_names[i % len(made_up.class_names)]
        return {"split": split, "name": f"{name}/{i}.jpg", "label": name}

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
            "threshold": 4,
            "pairs": 1,
            "examples": [{"a": image("train", 8), "b": image("test", 8), "distance": 2}],
        },
        "class_balance": {
            split: {name: 1 / len(made_up.class_names) for name in made_up.class_names}
            for split in ("train", "validation", "test")
        },
    }


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
            bottlenecks, made_up.learning_rates, made_up.config.seeds
        )
    ]


def _autoencoders(made_up: Synthetic, folds: tuple[int, ...]) -> list[dict[str, Any]]:
    return [
        {"seed": s, "learning_rate": None, "weight_decay": None, "bottleneck": b, "fold": fold}
        for b, fold, s in itertools.product(made_up.bottlenecks, folds, made_up.config.seeds)
    ]


def _kept(bottleneck: int) -> float:
    """The share of the loss of skill that is left at this bottleneck; 1 at 8 floats."""
    return (8 / max(bottleneck, 1)) ** 0.5


def _write_cells(
    run: RunDirectory, made_up: Synthetic, label: np.ndarray, rng: np.random.Generator
) -> None:
    difficulty = rng.normal(size=label.size)
    special = dict(made_up.skill)
    best = special.get(("original", "original"), OWN["original"])
    for cell in itertools.product(made_up.train_views, made_up.test_views):
        trials = _trials(made_up, of_code=_of_code(*cell))
        known_as = ("original", cell[1]) if cell[0] == "identity" else cell
        if cell[0] == "identity" and "original" in made_up.train_views:
            arrays = dict(read_npz(run / "predictions" / f"original-on-{cell[1]}.npz"))
            write_npz(run / "predictions" / f"identity-on-{cell[1]}.npz", **arrays)
            continue
        level = special.get(known_as, skill(*known_as))
        rows = [
            _predictions(best - (best - level) * _kept(trial["bottleneck"] or 8), difficulty, rng)
            for trial in trials
        ]
        arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        wrong = (label + arrays.pop("miss")) % len(made_up.class_names)
        prediction = np.where(arrays.pop("correct"), label, wrong)
        if cell[0] == "shuffled":
            prediction = rng.integers(0, len(made_up.class_names), prediction.shape)
        write_npz(
            run / "predictions" / f"{cell[0]}-on-{cell[1]}.npz",
            prediction=prediction.astype(np.int32),
            **arrays,
            **_test_images(label),
            **_columns(trials),
            failed_step=_failed(made_up, trials, cell),
        )


def _test_images(label: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "label": label,
        "index": np.arange(label.size, dtype=np.int32),
        "name": np.asarray([str(i) for i in range(label.size)]),
    }


def _columns(trials: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """What each row is; the autoencoder's recipe is the settings' and not written out here."""
    kinds = {"seed": np.uint32, "bottleneck": np.int32, "fold": np.int32}
    kinds |= {"learning_rate": np.float32, "weight_decay": np.float32}
    return {
        name: np.asarray([trial[name] or 0 for trial in trials], kind)
        for name, kind in kinds.items()
    }


def _predictions(
    level: float, difficulty: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    score = difficulty + 0.5 * rng.normal(size=difficulty.size) + 0.05 * rng.normal()
    correct = score < NormalDist(sigma=1.25**0.5).inv_cdf(level)
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
    autoencoders = _autoencoders(made_up, folds=(-1,))
    height, width, _ = made_up.shape
    radii = np.arange(min(height, width) // 2 + 1)
    for view in ["original", *(_shown(made_up) if _painted(made_up) else ())]:
        is_original = view == "original"
        trials = _trials(made_up, of_code=False)[:1] if is_original else autoencoders
        kept = np.asarray([_kept(trial["bottleneck"] or 8) for trial in trials])[:, None]
        distortion = "reconstruction" if view == "blur" else view  # matched by design
        lost = 0 if is_original else (OWN["original"] - OWN[distortion]) / 0.05
        cutoff = radii[-1] * (0.2 + 0.8 * (OWN[view] - 0.86)) / kept
        power = (1 + radii) ** -2.5 * np.exp(-((radii / cutoff) ** 2) * bool(lost)) + 1e-6
        failed = [trial["seed"] == made_up.failed_autoencoder for trial in trials]
        for split, size in (("train", 50), ("validation", 50), ("test", made_up.images)):
            shape = (len(trials), size)
            write_npz(
                run / "predictions" / f"quality-{view}-{split}.npz",
                mse=(0.008 * lost * kept * rng.gamma(4, 0.25, shape)).astype(np.float32),
                ssim=(1 - 0.3 * lost * kept * rng.beta(4, 4, shape)).astype(np.float32),
                laplacian_variance=(
                    0.05 / (1 + 3 * lost * kept) * rng.gamma(4, 0.25, shape)
                ).astype(np.float32),
                spectrum=power.astype(np.float32),
                **_columns(trials),
                failed_step=np.where(np.asarray(failed) & (not is_original), 9, -1).astype(
                    np.int32
                ),
            )


def _write_fitted(run: RunDirectory, made_up: Synthetic, rng: np.random.Generator) -> None:
    trials = _autoencoders(made_up, folds=(-1,))
    kept = np.asarray([_kept(trial["bottleneck"]) for trial in trials])
    radii = np.arange(min(made_up.shape[:2]) // 2 + 1)
    write_npz(
        run / "views" / "fitted.npz",
        sigma=(kept + rng.normal(0, 0.02, len(trials))).astype(np.float32),
        reachable=np.ones(len(trials), bool),
        gain=np.exp(-radii[None, :] * kept[:, None] / 4).astype(np.float32),
        **_columns(trials),
    )


def _write_probes(
    run: RunDirectory, made_up: Synthetic, label: np.ndarray, rng: np.random.Generator
) -> None:
    trials = _autoencoders(made_up, folds=(-1,))
    difficulty = rng.normal(size=label.size)
    for name, level in (("linear", 0.86), ("mlp", 0.9)):
        rows = [_predictions(level, difficulty, rng) for _ in trials]
        correct, miss = (np.stack([row[key] for row in rows]) for key in ("correct", "miss"))
        wrong = (label + miss) % len(made_up.class_names)
        failed = [trial["seed"] == made_up.failed_autoencoder for trial in trials]
        write_npz(
            run / "predictions" / f"code-{name}.npz",
            prediction=np.where(correct, label, wrong).astype(np.int32),
            label=label,
            **_columns(trials),
            failed_step=np.where(failed, 9, -1).astype(np.int32),
        )


def _write_gallery(
    run: RunDirectory, made_up: Synthetic, label: np.ndarray, rng: np.random.Generator
) -> None:
    original = np.stack([_image(made_up.shape, rng) for _ in range(10)])
    views = [view for view in _shown(made_up) if view != "infold"]
    write_npz(
        run / "predictions" / "gallery.npz",
        original=_bytes(original),
        views=np.stack(
            [[_bytes(_seen(view, original, b, rng)) for view in views] for b in made_up.bottlenecks]
        ),
        view_names=np.asarray(views),
        bottleneck=np.asarray(made_up.bottlenecks, np.int32),
        label=label[:10],
        name=np.asarray([str(i) for i in range(10)]),
    )


def _write_flips(
    run: RunDirectory, made_up: Synthetic, label: np.ndarray, rng: np.random.Generator
) -> None:
    """As the experiment does: those images whose answers differ most often, and how they look."""
    files = [f"{view}-on-{view}.npz" for view in ("original", "reconstruction")]
    cells = [read_npz(run / "predictions" / name) for name in files]
    correct = [arrays["prediction"] == arrays["label"] for arrays in cells]
    rate, shown = np.float32(made_up.learning_rates[0]), min(12, label.size)
    rows: dict[str, list[np.ndarray]] = {}
    for bottleneck in made_up.bottlenecks:
        original, painted = (
            answers[(a["learning_rate"] == rate) & np.isin(a["bottleneck"], (0, bottleneck))]
            for answers, a in zip(correct, cells, strict=True)
        )
        counts = statistics.flips(original, painted)
        index = np.argsort(-counts, kind="stable")[:shown].astype(np.int32)
        images = np.stack([_image(made_up.shape, rng) for _ in index])
        row = {
            "index": index,
            "count": counts[index],
            "original": _bytes(images),
            "reconstruction": _bytes(_seen("reconstruction", images, bottleneck, rng)),
            "label": label[index],
            "name": np.asarray([str(i) for i in index]),
        }
        for name, values in row.items():
            rows.setdefault(name, []).append(values)
    write_npz(
        run / "predictions" / "flips.npz",
        bottleneck=np.asarray(made_up.bottlenecks, np.int32),
        **{name: np.stack(values) for name, values in rows.items()},
    )


def _seen(view: str, images: np.ndarray, bottleneck: int, rng: np.random.Generator) -> np.ndarray:
    sigma = 0.15 * images.shape[1] * _kept(bottleneck)
    if view == "downsample":
        block = max(2, images.shape[1] // 4)
        small = images[:, block // 2 :: block, block // 2 :: block]
        return np.repeat(np.repeat(small, block, 1), block, 2)[
            :, : images.shape[1], : images.shape[2]
        ]
    noise = 0.06 if view == "pca" else 0.02 if view in ("reconstruction", "crossfit") else 0
    return np.clip(_smooth(images, sigma) + rng.normal(0, 1, images.shape) * noise, 0, 1)


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
        trials = _trials(made_up, of_code=_of_code(view))
        if view == "reseeded":
            trials = [trial | {"seed": trial["seed"] + 2**31} for trial in trials]
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
            side: {"loss": level * np.exp(-epoch) + 0.01 * rng.uniform(0.98, 1.02, trials)}
            for side, level in (("train", 0.1), ("validation", 0.12))
        }
    of_code = _of_code(view)
    end = 1 / len(DIGITS) if view == "shuffled" else OWN.get(view, OWN["original"])
    ends = {"train": min(0.995, end + 0.06), "validation": end}
    if of_code:
        ends["validation_original"] = skill(view, "original")
    measured = {}
    for side, end in ends.items():
        accuracy = end * (1 - 0.8 * np.exp(-epoch / 2)) - rng.uniform(0, 0.01, trials)
        measured[side] = {"loss": 3 * (1 - accuracy), "accuracy": accuracy}
    return measured
