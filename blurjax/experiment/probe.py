"""Probes of the code: what a linear classifier and a small network read out of it directly.

They say whether what a classifier lacks has left the code, or is in it and was painted illegibly.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

KINDS = ("linear", "mlp")
MOST_IMAGES = 50_000
"""Of the train split, that probes are fitted to."""
BATCH_SIZE, STEPS = 200, 2000
"""Of the small network; as long a training at any number of images."""


def linear() -> Pipeline:
    """Logistic regression on the standardised code, not fitted yet."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def mlp(units: int, epochs: int, seed: int) -> Pipeline:
    """A network of one hidden layer on the standardised code, not fitted yet."""
    network = MLPClassifier((units,), max_iter=epochs, n_iter_no_change=epochs, random_state=seed)
    return make_pipeline(StandardScaler(), network)


def predict(
    kind: str,
    codes: np.ndarray,
    labels: np.ndarray,
    test_codes: np.ndarray,
    *,
    units: int,
    seed: int,
) -> np.ndarray:
    """Fits a probe and asks it.

    Args:
      kind: "linear" or "mlp".
      codes: f32[N,D] of the train split.
      labels: i32[N].
      test_codes: f32[M,D].
      units: of the hidden layer.
      seed: of its initial parameters and batches.

    Returns:
      i32[M], predicted classes.
    """
    epochs = round(min(200, max(5, STEPS * BATCH_SIZE / len(codes))))
    probe = {"linear": linear(), "mlp": mlp(units, epochs, seed)}[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is meant to end when its steps do
        warnings.filterwarnings("ignore", message="The number of unique classes")
        probe.fit(codes, labels)
    return probe.predict(test_codes).astype(np.int32)
