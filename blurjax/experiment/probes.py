"""Probes: a linear classifier and a small network trained on the code itself.

They show whether what a classifier lacks is missing in the code, or is in it and not visible in the reconstruction.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

MOST_IMAGES = 50_000
"""Of the train split, used to fit probes."""
BATCH_SIZE, STEPS = 200, 2000
"""Of the small network, which is trained equally long on any number of images."""


def predict(
    kind: str,
    codes: np.ndarray,
    labels: np.ndarray,
    test_codes: np.ndarray,
    *,
    units: int,
    seed: int,
) -> np.ndarray:
    """Fits a probe to codes of the train split and predicts classes from those of the test split.

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
    if kind == "linear":
        classifier = LogisticRegression(max_iter=1000)
    else:
        epochs = round(min(200, max(5, STEPS * BATCH_SIZE / len(codes))))
        classifier = MLPClassifier(
            (units,), max_iter=epochs, n_iter_no_change=epochs, random_state=seed
        )
    probe = make_pipeline(StandardScaler(), classifier)
    # One thread: products of such small matrices take several times as long where threads wait for each other.
    with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is meant to end when its steps do
        warnings.filterwarnings("ignore", message="The number of unique classes")
        probe.fit(codes, labels)
        return probe.predict(test_codes).astype(np.int32)
