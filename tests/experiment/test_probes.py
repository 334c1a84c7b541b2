"""Probes: what is in the code linearly, and what a small network needs to get out."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info

from blurjax.experiment import probes


@pytest.mark.parametrize(("kind", "least", "most"), [("linear", 0.0, 0.7), ("mlp", 0.9, 1.0)])
def test_exclusive_or_needs_a_hidden_layer(kind, least, most):
    codes = np.random.default_rng(0).normal(size=(800, 6)).astype(np.float32)
    codes[:, 4:] = 0.0  # masked
    labels = ((codes[:, 0] > 0) ^ (codes[:, 1] > 0)).astype(np.int32)
    halves = codes[:400], labels[:400], codes[400:]
    predicted = probes.predict(kind, *halves, units=32, seed=0)
    assert predicted.dtype == np.int32
    assert least <= (predicted == labels[400:]).mean() <= most
    np.testing.assert_array_equal(probes.predict(kind, *halves, units=32, seed=0), predicted)


def test_a_linear_class_is_found_by_the_linear_probe():
    codes = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
    labels = (codes @ [1.0, -1.0, 0.5, 0.0] > 0).astype(np.int32)
    predicted = probes.predict("linear", codes[:300], labels[:300], codes[300:], units=1, seed=0)
    assert (predicted == labels[300:]).mean() > 0.95


def test_a_probe_uses_one_thread(rng, monkeypatch):
    """Threads of BLAS that wait for each other take up to twenty times as long on cores that others use too."""
    threads = []

    class Probe(LogisticRegression):
        def fit(self, *arrays):
            threads.extend(x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas")
            return super().fit(*arrays)

    monkeypatch.setattr(probes, "LogisticRegression", Probe)
    codes, labels = rng.normal(size=(40, 4)).astype(np.float32), np.arange(40) % 2
    probes.predict("linear", codes, labels, codes, units=1, seed=0)
    assert set(threads) == {1}
