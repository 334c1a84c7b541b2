"""Experiments whose answer is known beforehand, because the autoencoder is replaced by something simple."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import config

from blurjax import run_experiment
from blurjax.config.registry import resolve
from blurjax.config.view_table import VIEWS
from blurjax.views.functions import eight_bit, reconstruction, view_index
from blurjax.views.image_quality import gaussian_blur_matrix

pytestmark = pytest.mark.slow

SETTINGS = {
    "views__train": ["original", "reconstruction", "crossfit", "infold"],
    "views__test": ["original", "reconstruction", "crossfit"],
    "autoencoder__epochs": 1,
    "autoencoder__model__width": 1,
    "classifier__epochs": 30,
    "classifier__learning_rate": 3e-3,
    "compute__chunk_steps": 100,
}

STANDING = np.where(np.arange(8) % 4 < 2, 1.0, -1.0)[None, :].repeat(8, axis=0)
PATTERNS = np.stack([STANDING, STANDING.T]).astype(np.float32)
NUM_TRAIN = 324


def replace_autoencoder(monkeypatch, view):
    for name, spec in list(VIEWS.items()):
        if resolve(spec.function) is reconstruction:
            monkeypatch.setitem(VIEWS._entries, name, replace(spec, function=view))


def write_images(path, contrast_of_class, num_examples=450):
    """8x8 grey images of stripes that stand, in noise: (columns' contrast, rows' contrast) for each class."""
    rng = np.random.default_rng(0)
    labels = np.arange(num_examples) % len(contrast_of_class)
    contrast = np.asarray(contrast_of_class, float)[labels]
    clean = np.einsum("nk,khw->nhw", contrast, PATTERNS)
    images = (128 + clean + rng.normal(0, 40, clean.shape)).clip(0, 255).astype(np.uint8)
    np.savez(path, image=images[..., None], label=labels)
    return f"npz:{path}"


def test_a_memoriser_leaks(tmp_path, monkeypatch):
    """It shows stripes as they are where it has seen them, else so blurred that they look like none."""
    matrix = gaussian_blur_matrix(1.6, 8)

    def memoriser(parameters, images, indices):
        seen = (indices < NUM_TRAIN) & (parameters.view != view_index("crossfit"))
        blurred = jnp.einsum("ih,bhwc,jw->bijc", matrix, images, matrix)
        return eight_bit(jnp.where(seen[:, None, None, None], images, blurred))

    replace_autoencoder(monkeypatch, memoriser)
    source = write_images(tmp_path / "stripes.npz", [(60, 0), (0, 0)])
    results = run_experiment(config(source, **SETTINGS), tmp_path / "run")
    assert results["dataset"]["examples"]["train"] == NUM_TRAIN
    (point,) = results["points"]
    terms = point["decomposition"]
    assert terms["leakage"]["verdict"] == "worse"
    assert terms["leakage"]["interval"][0] > 0.1
    assert abs(terms["information"]["mean"]) < terms["leakage"]["mean"] / 2


def test_a_denoiser_is_better(tmp_path, monkeypatch):
    """It keeps of an image what lies along the two patterns, and so all that tells the classes apart."""

    def denoiser(parameters, images, indices):
        del parameters, indices
        along = jnp.einsum("bhwc,khw->bk", images - 0.5, PATTERNS) / 64
        return eight_bit(0.5 + 4 * jnp.einsum("bk,khw->bhw", along, PATTERNS))[..., None]

    replace_autoencoder(monkeypatch, denoiser)
    source = write_images(tmp_path / "noisy.npz", [(8, 0), (0, 8)])
    changes = {"views__train": ["original", "reconstruction"], "sweep__num_seeds": 5}
    results = run_experiment(config(source, **SETTINGS | changes), tmp_path / "run")
    total = results["points"][0]["decomposition"]["on_reconstructions"]
    assert total["verdict"] == "better"
    assert total["interval"][1] < 0
