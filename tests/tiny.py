"""Experiments small enough for a test: stripes that lie or stand, in noise; two classes, 8x8, grey."""

from pathlib import Path
from typing import Any

import numpy as np

from blurjax.config import loading as settings
from blurjax.config.settings import Config

SETTINGS: dict[str, Any] = {
    "autoencoder.epochs": 3,
    "autoencoder.bottleneck": 4,
    "autoencoder.model.width": 4,
    "autoencoder.batch_size": 16,
    "classifier.epochs": 3,
    "classifier.model.width": 4,
    "classifier.model.dense": 8,
    "classifier.batch_size": 16,
    "views.train": ["original", "reconstruction", "mixed"],
    "views.test": ["original", "reconstruction"],
    "sweep.num_seeds": 3,
    "compute.checkpoint_seconds": 1000,
    "compute.chunk_steps": 3,
}
EVERY_CHUNK = {"compute__checkpoint_seconds": 0}
"""Saves after every chunk, which takes longer than to compute it; else only where a run stops and where a job ends."""


def write_stripes(path: Path, num_examples: int = 120, seed: int = 0) -> str:
    """Writes an npz file; returns the name of the data source."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_examples) % 2
    stripes = np.where(np.arange(8) % 4 < 2, 170, 85)[None, :].repeat(8, axis=0)
    images = np.where(labels[:, None, None] == 1, stripes, stripes.T) + rng.normal(
        0, 40, (num_examples, 8, 8)
    )
    np.savez(path, image=images.clip(0, 255).astype(np.uint8)[..., None], label=labels)
    return f"npz:{path}"


def config(source: str, **changes: Any) -> Config:
    """Tiny settings; `data__split_seed=1` changes data.split_seed."""
    overrides = {name.replace("__", "."): value for name, value in changes.items()}
    # Another kind of model has other settings.
    kept = {key: v for key, v in SETTINGS.items() if key.rpartition(".")[0] not in overrides}
    return settings.load(None, kept | {"data.source": source} | overrides)
