"""The causes of a loss of accuracy by hand, and accuracy above chance."""

from types import SimpleNamespace

import numpy as np
import pytest
from synthetic_run import Synthetic, collect

from blurjax.analysis import statistics
from blurjax.analysis.chance import withhold_of_warm_starts
from blurjax.analysis.contrasts import above_chance, compare, decompose
from blurjax.config.settings import ReportConfig

ANSWERS = {
    ("original", "original"): [1, 1, 1, 1],
    ("reconstruction", "reconstruction"): [1, 1, 0, 0],
    ("reconstruction", "original"): [1, 0, 0, 0],
    ("crossfit", "crossfit"): [1, 1, 1, 0],
    ("infold", "crossfit"): [1, 1, 0, 0],
}
CORRECT = {cell: np.array([row, row], bool) for cell, row in ANSWERS.items()}


def means(correct):
    return {name: term["mean"] for name, term in decompose(correct, ReportConfig()).items()}


def test_the_causes_by_hand():
    assert means(CORRECT) == {
        "on_reconstructions": 0.5,
        "on_originals": 0.75,
        "information": 0.25,
        "leakage": 0.25,
        "test_view": 0.25,
    }


def test_only_terms_whose_cells_are_there():
    correct = dict(CORRECT)
    del correct["infold", "crossfit"]
    assert list(means(correct)) == ["on_reconstructions", "on_originals", "test_view"]
    del correct["original", "original"]
    assert list(means(correct)) == ["test_view"]
    assert means({}) == {}


def test_only_what_must_be_zero_exactly_has_no_floor():
    cells = [("original", "original"), ("identity", "original"), ("reseeded", "original")]
    correct = dict.fromkeys(cells, np.ones((3, 20), bool))
    compared = compare(correct, None, 2, ReportConfig(), on_code={})
    assert compared["identity"]["interval"] == (0, 0)
    # Four images of 20, at 95%.
    assert compared["reseeded"]["interval"] == pytest.approx((-0.1959964, 0.1959964))


def test_warm_starts_are_compared_with_scratch_as_a_family_of_their_own(rng):
    views = {"encoder": 0.9, "encoder_frozen": 0.85, "encoder_scratch": 0.8, "reseeded": 0.8}
    correct = {(v, "original"): rng.random((5, 200)) < share for v, share in views.items()}
    correct["original", "original"] = rng.random((5, 200)) < 0.8
    compared = compare(correct, None, 2, ReportConfig(), on_code={})
    scratch, own_p = correct.pop(("encoder_scratch", "original")), {}
    for view in ("encoder", "encoder_frozen"):
        paired = statistics.paired(correct[view, "original"], scratch)
        estimate = statistics.difference(paired)
        name = f"gain_of_{view}"
        assert compared[name]["mean"] == pytest.approx(np.mean(paired))
        assert (
            compared[name]["definition"] == f"acc({view}→original) - acc(encoder_scratch→original)"
        )
        own_p[name] = statistics.two_sided_p(estimate)
    assert compared["gain_of_encoder"]["verdict"] == "better"
    for name, p in statistics.holm(own_p).items():
        assert compared[name]["p"] == pytest.approx(p)
    alone = compare(correct, None, 2, ReportConfig(), on_code={})
    assert alone.keys() == {"reseeded"}
    assert alone["reseeded"] == compared["reseeded"]


@pytest.mark.parametrize(
    ("cells", "name", "expected"),
    [
        # Memorised: in-fold images are better than any that the classifier meets later.
        ({("infold", "crossfit"): 0.8}, "leakage", "worse"),
        # Denoised: the details that the autoencoder leaves out only misled the classifier.
        ({("original", "original"): 0.8}, "on_reconstructions", "better"),
        ({}, "on_reconstructions", "worse"),
        ({("reconstruction", "reconstruction"): 0.965}, "on_reconstructions", "equivalent"),
        ({("infold", "crossfit"): 0.908}, "leakage", "undecided"),
    ],
)
def test_every_verdict_can_be_reached(tmp_path, cells, name, expected):
    made_up = Synthetic(
        seeds=8,
        images=3000,
        epochs=1,
        train_views=("original", "reconstruction", "crossfit", "infold"),
        test_views=("original", "reconstruction", "crossfit"),
        skill=tuple(cells.items()),
    )
    _, collected = collect(tmp_path, made_up)
    term = collected["points"][0]["decomposition"][name]
    assert term["verdict"] == expected
    if expected == "worse":
        assert term["mean"] > 0
    if expected == "better":
        assert term["interval"][1] < 0


def test_above_chance_is_accuracy_minus_that_of_blind_answers(rng):
    labels, predictions = rng.integers(0, 3, 50), rng.integers(0, 3, (2, 50))
    above = above_chance(labels, predictions, 4)
    for row, values in zip(predictions, above, strict=True):
        chance = sum(np.mean(labels == k) * np.mean(row == k) for k in range(4))
        assert values.mean() == pytest.approx(np.mean(row == labels) - chance)


def test_a_constant_answer_is_at_chance_without_doubt(rng):
    labels = rng.integers(0, 3, 50)
    estimate = statistics.estimate(above_chance(labels, np.ones((3, 50), int), 3))
    assert (estimate.mean, *estimate.interval) == (0, 0, 0)


def test_blind_answers_are_at_chance_19_times_in_20(rng):
    draws = (rng.integers(0, 3, (5, 200)) for _ in range(1000))  # labels, and answers of 4 trials
    estimates = (statistics.estimate(above_chance(d[0], d[1:], 3)) for d in draws)
    assert 0.94 <= np.mean([e.interval[0] <= 0 <= e.interval[1] for e in estimates]) <= 0.985


@pytest.mark.parametrize(
    ("encoder", "scratch", "verdict"),
    [(0.9, 0.9, "equivalent"), (0.9, 0.5, "equivalent"), (0.5, 0.5, None)],
)
def test_warm_starts_are_judged_where_one_of_the_two_learned_something(encoder, scratch, verdict):
    rng = np.random.default_rng(0)
    shares = {"encoder": encoder, "encoder_scratch": scratch}
    correct = {(view, "original"): rng.random((4, 200)) < p for view, p in shares.items()}
    cells = {cell: {"label": np.arange(200) % 2} for cell in correct}
    point = SimpleNamespace(cells=cells, correct=lambda: correct)
    contrasts = {"gain_of_encoder": {"verdict": "equivalent", "sentence": "as it was"}}
    found = withhold_of_warm_starts(contrasts, point, 0.95)["gain_of_encoder"]  # pyright: ignore
    assert found["verdict"] == verdict
    assert (found["sentence"] == "as it was") == (verdict is not None)
