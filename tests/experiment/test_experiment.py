"""The whole experiment on tiny data: what it writes, what continuing it adds, what it refuses."""

import itertools
import json
import re
import shutil

import jax
import numpy as np
import pytest
from same import assert_same_run, final_states
from sklearn.metrics import accuracy_score
from tiny import config, write_stripes

from blurjax import load_dataset, make_plan, run_experiment
from blurjax.config.settings import PROBES
from blurjax.experiment import probes
from blurjax.runtime.errors import AllTrialsFailed, Interrupted, UserError
from blurjax.runtime.files import read_json, read_npz
from blurjax.train.loop import train
from blurjax.train.state import TrainedModel

ALL_TRAIN_VIEWS = [
    "original", "reconstruction", "crossfit", "infold", "mixed", "blur", "pca", "downsample",
]  # fmt: skip
ALL_TEST_VIEWS = ["original", "reconstruction", "crossfit", "blur", "pca", "downsample"]


@pytest.fixture(scope="module")
def finished(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    return out, run_experiment(config(source), out)


def without_history(results):
    """What two ways to the same trials must agree on: neither how long it took nor when one looked."""
    return {key: value for key, value in results.items() if key not in ("seconds", "analyses")}


def lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def tree(out):
    return {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_results_hold_what_is_documented(finished):
    out, results = finished
    assert results == read_json(out / "results.json")
    assert results["views"] == {
        "train": ["original", "reconstruction", "mixed"],
        "test": ["original", "reconstruction"],
    }
    (point,) = results["points"]
    values = {"bottleneck": 4, "learning_rate": 1e-3, "weight_decay": 0.0, "train_examples": None}
    assert point["values"] == values
    assert point["trials"] == [0, 1, 2]
    cell = point["accuracy"]["mixed"]["original"]
    assert np.mean(cell["per_trial"]) == pytest.approx(cell["mean"])
    assert (
        cell["interval"][0]
        <= cell["interval_trials"][0]
        <= cell["mean"]
        <= cell["interval_trials"][1]
    )
    assert set(point["reconstruction"]["psnr"]) == {"train", "validation", "test"}
    assert results["failures"] == []
    for name in ("config.yaml", "environment.json", "report.html", "figures/curves.png"):
        assert (out / name).stat().st_size > 0


def test_accuracies_are_those_of_the_predictions(finished):
    out, results = finished
    arrays = read_npz(out / "predictions" / "original-on-reconstruction.npz")
    expected = [accuracy_score(arrays["label"], row) for row in arrays["prediction"]]
    assert results["points"][0]["accuracy"]["original"]["reconstruction"][
        "per_trial"
    ] == pytest.approx(expected)
    logits = arrays["logits"].astype(np.float64)
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    np.testing.assert_allclose(arrays["confidence"], shares.max(-1), rtol=1e-5)
    np.testing.assert_array_equal(arrays["prediction"], logits.argmax(-1))
    own = np.take_along_axis(shares, arrays["label"][None, :, None].repeat(3, 0), -1)[..., 0]
    np.testing.assert_allclose(arrays["loss"], -np.log(own), rtol=1e-4, atol=1e-6)


def test_metrics_have_one_line_an_epoch_of_each_job(finished):
    keys = [(line["job"], line["epoch"], line["step"]) for line in lines(finished[0])]
    jobs = ["autoencoder/job-0"] + [
        f"classifier/{view}/job-0" for view in ("original", "reconstruction", "mixed")
    ]
    steps = 6  # 86 images, 16 a step
    assert keys == [(job, epoch, epoch * steps) for job in jobs for epoch in (1, 2, 3)]


def test_the_same_command_changes_nothing(finished, source):
    out, results = finished
    before = tree(out)
    again = run_experiment(config(source), out)
    assert without_history(again) == without_history(results)
    changed = {
        path.name
        for path, content in before.items()
        if not path.exists() or path.read_bytes() != content
    }
    assert changed <= {"seconds.json", "results.json", "report.html"}


def test_two_runs_are_equal_bit_by_bit(finished, source, tmp_path):
    run_experiment(config(source), tmp_path / "run")
    assert_same_run(finished[0], tmp_path / "run")


class StopAfter:
    """Asks to stop at the n-th question."""

    def __init__(self, questions):
        self.left = questions

    def __call__(self):
        self.left -= 1
        return self.left < 0


@pytest.mark.slow
def test_stopped_at_any_chunk_and_continued_equals_uninterrupted(finished, source, tmp_path):
    """After every chunk of 3 steps, so that stops fall into the middle of epochs, between jobs and into evaluation."""
    out, stops = tmp_path / "run", 0
    while True:
        try:
            run_experiment(config(source), out, interrupted=StopAfter(3))
            break
        except Interrupted:
            stops += 1
    assert stops >= 5
    assert_same_run(finished[0], out)


@pytest.mark.slow
def test_further_seeds_and_views_run_alone_and_equal_those_of_one_run(finished, source, tmp_path):
    out = tmp_path / "run"
    seen = []
    few = config(source, sweep__num_seeds=2, views__train=["original"], views__test=["original"])
    run_experiment(few, out, progress=lambda progress: seen.append(progress.job))
    assert {len(job.trials) for job in seen} == {2}
    seen.clear()
    results = run_experiment(
        config(source), out, progress=lambda progress: seen.append(progress.job)
    )
    names = {job.name: [trial.seed for trial in job.trials] for job in seen}
    assert names == {
        "autoencoder/job-1": [2],
        "classifier/original/job-1": [2],
        "classifier/reconstruction/job-0": [0, 1, 2],
        "classifier/mixed/job-0": [0, 1, 2],
    }
    whole = without_history(finished[1])
    assert without_history(results) == whole


@pytest.mark.slow
def test_trials_of_a_sweep_equal_trials_run_alone(finished, source, tmp_path):
    alone = run_experiment(
        config(source, sweep__first_seed=1, sweep__num_seeds=1), tmp_path / "run"
    )
    for train_view, cells in finished[1]["points"][0]["loss"].items():
        for test_view, cell in cells.items():
            own = alone["points"][0]["loss"][train_view][test_view]["per_trial"]
            assert own == [cell["per_trial"][1]]


@pytest.mark.slow
def test_points_are_crossed_and_views_without_code_train_once_per_seed(source, tmp_path):
    settings = config(
        source,
        sweep__num_seeds=2,
        sweep__bottleneck=[2, 4],
        sweep__learning_rate=[1e-3, 1e-2],
        views__train=["original", "reconstruction"],
    )
    seen = []
    results = run_experiment(
        settings, tmp_path / "run", progress=lambda progress: seen.append(progress.job)
    )
    assert {job.name.split("/job")[0]: len(job.trials) for job in seen} == {
        "autoencoder": 4,
        "classifier/original": 4,
        "classifier/reconstruction": 8,
    }
    values = [tuple(point["values"].values()) for point in results["points"]]
    assert values == [(b, rate, 0.0, None) for b in (2, 4) for rate in (1e-3, 1e-2)]
    on_original = [
        point["accuracy"]["original"]["original"]["per_trial"] for point in results["points"]
    ]
    assert on_original[:2] == on_original[2:]


COMPLETE = {
    "views__train": ALL_TRAIN_VIEWS,
    "views__test": ALL_TEST_VIEWS,
    "views__controls": True,
    "autoencoder__folds": 3,
}


@pytest.fixture(scope="module")
def complete(source, tmp_path_factory):
    """Every view, every control, three folds."""
    out = tmp_path_factory.mktemp("complete") / "run"
    return out, run_experiment(config(source, **COMPLETE), out)


def per_trial(point, train_view, test_view):
    return np.array(point["accuracy"][train_view][test_view]["per_trial"])


def test_views_that_are_added_change_nothing_of_the_others(finished, complete):
    """Further views are further branches of the programs, further folds further trials."""
    before, after = finished[1]["points"][0], complete[1]["points"][0]
    for block in ("accuracy", "loss", "history"):
        part = before[block]["classifier"] if block == "history" else before[block]
        other = after[block]["classifier"] if block == "history" else after[block]
        for train_view, cells in part.items():
            for name, cell in cells.items():
                assert other[train_view][name] == cell, (block, train_view, name)


def test_every_pair_of_views_is_there_with_its_controls(complete):
    out, results = complete
    (point,) = results["points"]
    controls = ["spectrum", "identity", "reseeded", "shuffled"]
    assert results["views"]["train"] == [*ALL_TRAIN_VIEWS, *controls]
    assert results["views"]["test"] == [*ALL_TEST_VIEWS, "spectrum"]
    found = {(train, test) for train, cells in point["accuracy"].items() for test in cells}
    assert found == set(itertools.product(results["views"]["train"], results["views"]["test"]))
    jobs = {line["job"] for line in lines(out)}
    assert {f"classifier/{view}/job-0" for view in results["views"]["train"]} <= jobs


def test_totals_are_the_sums_of_their_terms_in_every_trial(complete):
    (point,) = complete[1]["points"]
    terms = {name: np.array(term["per_trial"]) for name, term in point["decomposition"].items()}
    without_test_view = terms["information"] + terms["leakage"]
    np.testing.assert_allclose(terms["on_reconstructions"], without_test_view, atol=1e-6)
    np.testing.assert_allclose(
        terms["on_originals"], without_test_view + terms["test_view"], atol=1e-6
    )
    leakage = per_trial(point, "crossfit", "crossfit") - per_trial(point, "infold", "crossfit")
    np.testing.assert_allclose(terms["leakage"], leakage, atol=1e-12)


def test_identity_equals_original_bitwise_and_reseeded_does_not(complete):
    for test_view in ("original", "crossfit"):
        ours, same, other = (
            read_npz(complete[0] / "predictions" / f"{train_view}-on-{test_view}.npz")
            for train_view in ("original", "identity", "reseeded")
        )
        for name in ("logits", "loss", "prediction", "trial"):
            np.testing.assert_array_equal(ours[name], same[name])
        assert (ours["logits"] != other["logits"]).any()
        np.testing.assert_array_equal(ours["trial"], other["trial"])
    (point,) = complete[1]["points"]
    assert point["comparisons"]["identity"]["per_trial"] == [0.0, 0.0, 0.0]


def test_fold_autoencoders_leave_their_fold_out(complete):
    """Trained for as many steps, and worse on images that they have not seen only by what they lack."""
    out, _ = complete
    (job,) = (out / "checkpoints" / "autoencoder").iterdir()
    trials = read_json(job / "job.json")["trials"]
    assert [(trial["seed"], trial["fold"]) for trial in trials] == [
        (seed, fold) for fold in (None, 0, 1, 2) for seed in (0, 1, 2)
    ]
    quality = {
        view: read_npz(out / "predictions" / f"quality-{view}-train.npz")["mse"]
        for view in ("reconstruction", "crossfit", "infold")
    }
    assert (quality["crossfit"] != quality["infold"]).mean() > 0.9
    assert (quality["crossfit"] != quality["reconstruction"]).mean() > 0.9


def test_other_folds_are_refused(complete, source):
    with pytest.raises(UserError, match=r"autoencoder\.folds = 3, not 2"):
        run_experiment(config(source, **COMPLETE | {"autoencoder__folds": 2}), complete[0])


def test_blur_has_the_distortion_of_the_autoencoder(complete):
    fitted = read_npz(complete[0] / "views" / "fitted.npz")
    mse = {
        view: read_npz(complete[0] / "predictions" / f"quality-{view}-validation.npz")["mse"]
        for view in ("reconstruction", "blur")
    }
    for trial in range(3):
        if fitted["reachable"][trial]:
            ours, theirs = (mse[view][trial].mean() for view in ("blur", "reconstruction"))
            assert ours == pytest.approx(theirs, rel=0.03)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"classifier__epochs": 4}, "classifier.epochs = 3, not 4"),
        ({"autoencoder__model__width": 8}, "autoencoder.model.width = 4, not 8"),
        ({"autoencoder__learning_rate": 0.01}, "autoencoder.learning_rate = 0.003, not 0.01"),
        ({"autoencoder__weight_decay": 0.1}, "autoencoder.weight_decay = 0.0, not 0.1"),
        ({"autoencoder__loss": "l1"}, "autoencoder.loss = 'mse', not 'l1'"),
        ({"autoencoder__denoising": 0.1}, "autoencoder.denoising = 0.0, not 0.1"),
        ({"data__split_seed": 1}, "data.split_seed = 0, not 1"),
        ({"sweep__bottleneck": [4, 8]}, "autoencoder.max_bottleneck = 4, not 8"),
    ],
)
def test_a_directory_of_other_settings_is_refused_untouched(finished, source, changes, named):
    before = (finished[0] / "config.yaml").read_bytes()
    with pytest.raises(UserError, match=named.replace(".", r"\.")):
        run_experiment(config(source, **changes), finished[0])
    assert (finished[0] / "config.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sweep__num_seeds": 2}, "than is asked for: seeds 2."),
        ({"sweep__first_seed": 1}, "than is asked for: seeds 0."),
        (
            {"views__train": ["original", "blur"], "views__exclude": ["reconstruction"]},
            "asked for: train views mixed, reconstruction; test views reconstruction.",
        ),
        ({"sweep__learning_rate": [0.01, 0.1]}, "asked for: learning_rate 0.001."),
        ({"sweep__train_examples": [20]}, "asked for: train_examples all."),
    ],
)
def test_results_are_not_replaced_by_less(finished, source, changes, named):
    before = tree(finished[0])
    dataset = load_dataset(config(source).data)
    for function in (make_plan, lambda c, d, out: run_experiment(c, out, dataset=d)):
        with pytest.raises(UserError, match=re.escape(named)):
            function(config(source, **changes), dataset, finished[0])
    assert tree(finished[0]) == before


def test_all_settings_that_differ_are_named_also_by_the_plan(finished, source):
    settings = config(source, classifier__epochs=4, autoencoder__epochs=2, data__split_seed=1)
    named = (
        "autoencoder.epochs = 3, not 2; classifier.epochs = 3, not 4; data.split_seed = 0, not 1. "
    )
    dataset = load_dataset(config(source).data)
    for function in (make_plan, lambda c, d, out: run_experiment(c, out, dataset=d)):
        with pytest.raises(UserError, match=re.escape(named)):
            function(settings, dataset, finished[0])


def test_a_directory_of_other_images_is_refused(finished, tmp_path):
    other = write_stripes(tmp_path / "other.npz", seed=1)
    with pytest.raises(UserError, match="the images' sha256"):
        run_experiment(config(other), finished[0])


def test_moved_data_are_the_same_data(finished, tmp_path):
    moved = write_stripes(tmp_path / "moved.npz")
    assert run_experiment(config(moved), finished[0])["points"] == finished[1]["points"]


def test_how_to_compute_is_free_to_change(finished, source):
    changed = config(source, compute__chunk_steps=2, compute__devices=1, report__margin=5.0)
    results = run_experiment(changed, finished[0])
    assert results["points"][0]["accuracy"] == finished[1]["points"][0]["accuracy"]


@pytest.mark.slow
def test_a_diverging_trial_is_frozen_reported_and_leaves_the_others_alone(source, tmp_path):
    rates = {
        "sweep__learning_rate": [1e-3, 1e30],
        "views__train": ["original"],
        "sweep__num_seeds": 2,
    }
    results = run_experiment(config(source, **rates), tmp_path / "both")
    fine, bad = results["points"]
    assert fine["trials"] == [0, 1]
    assert bad["trials"] == []
    assert {failure["seed"] for failure in results["failures"]} == {0, 1}
    alone = run_experiment(
        config(source, **rates | {"sweep__learning_rate": []}), tmp_path / "alone"
    )
    assert alone["points"][0]["loss"] == fine["loss"]
    extended = run_experiment(
        config(source, **rates), tmp_path / "alone"
    )  # a job of bad ones alone
    assert [point["trials"] for point in extended["points"]] == [[0, 1], []]


def test_an_autoencoder_that_is_not_finite_is_left_out_with_its_views(
    source, tmp_path, monkeypatch
):
    def train_and_spoil(job, *arguments):
        models = train(job, *arguments)
        if job.section != "autoencoder":
            return models
        bad = np.array([trial.seed == 1 for trial in job.trials])
        spoil = lambda leaf: np.where(bad.reshape(-1, *[1] * (leaf.ndim - 1)), np.inf, leaf)  # noqa: E731
        return TrainedModel(jax.tree.map(spoil, models.variables), np.where(bad, 5, -1))

    monkeypatch.setattr("blurjax.experiment.training.train", train_and_spoil)
    views = {"views__train": ["original", "reconstruction", "blur"]}
    results = run_experiment(config(source, **views), tmp_path / "run")
    assert {failure["seed"] for failure in results["failures"]} == {1}
    (point,) = results["points"]
    assert point["trials"] == [0, 2]
    assert len(point["probe"]["mlp"]["per_trial"]) == 2


def test_all_trials_failed_is_a_clear_end(source, tmp_path):
    with pytest.raises(AllTrialsFailed, match=r"lower autoencoder\.learning_rate"):
        run_experiment(config(source, autoencoder__learning_rate=1e30), tmp_path / "run")


@pytest.mark.slow
def test_streamed_and_resident_see_the_same_images(source, tmp_path):
    """The orders differ by design; an experiment from a stream still learns the stripes, and is repeatable."""
    settings = {
        "data__resident_limit": 0,
        "views__train": ["original"],
        "views__test": ["original", "crossfit"],
        "classifier__epochs": 25,
    }
    results = run_experiment(config(source, **settings), tmp_path / "one")
    jobs = (tmp_path / "one" / "checkpoints" / "autoencoder").glob("*/job.json")
    folds = [{trial["fold"] for trial in read_json(path)["trials"]} for path in jobs]
    assert sorted(folds, key=str) == [{0}, {1}, {None}]
    assert min(results["points"][0]["accuracy"]["original"]["original"]["per_trial"]) > 0.9
    out = tmp_path / "two"
    for _ in range(100):
        try:
            run_experiment(config(source, **settings), out, interrupted=StopAfter(30))
            break
        except Interrupted:
            pass
    assert_same_run(tmp_path / "one", out)


@pytest.mark.slow
def test_bfloat16_learns_as_much_with_parameters_in_float32(source, tmp_path):
    point = {}
    for dtype in ("float32", "bfloat16"):
        changes = {"autoencoder__dtype": dtype, "classifier__dtype": dtype}
        changes["views__train"] = ["original", "reconstruction"]
        longer = config(source, autoencoder__epochs=12, classifier__epochs=12, **changes)
        (point[dtype],) = run_experiment(longer, tmp_path / dtype)["points"]
    for view in ("original", "reconstruction"):
        one, other = (point[dtype]["accuracy"][view][view]["mean"] for dtype in point)
        assert min(one, other) > 0.85
        assert one == pytest.approx(other, abs=0.06)
    one, other = (point[dtype]["reconstruction"]["psnr"]["test"]["mean"] for dtype in point)
    assert one == pytest.approx(other, abs=0.3)
    for job in ("autoencoder/job-0", "classifier/reconstruction/job-0"):
        states = final_states(tmp_path / "bfloat16" / "checkpoints" / job)
        assert {array.dtype for name, array in states.items() if "params" in name} == {
            np.dtype("float32")
        }


def test_probes_of_large_data_are_fitted_to_a_part_of_them(finished, source, tmp_path, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    before = read_npz(out / "predictions" / "code-linear.npz")
    for kind in PROBES:
        (out / "predictions" / f"code-{kind}.npz").unlink()
    fitted_to = []

    def predict(kind, codes, labels, test_codes, **options):
        fitted_to.append((kind, len(codes), len(labels)))
        return probe_itself(kind, codes, labels, test_codes, **options)

    probe_itself = probes.predict
    monkeypatch.setattr(probes, "predict", predict)
    monkeypatch.setattr(probes, "MOST_IMAGES", 50)
    run_experiment(config(source), out)
    assert fitted_to == [("linear", 50, 50)] * 3 + [("mlp", 50, 50)] * 3
    after = read_npz(out / "predictions" / "code-linear.npz")
    np.testing.assert_array_equal(after["trial"], before["trial"])
    agreement = (after["prediction"] == before["prediction"]).mean()
    assert 0.7 < agreement <= 1


def test_unfinished_trials_that_are_no_longer_asked_for_are_named(source, tmp_path):
    epochs = []

    def in_the_classifiers():
        return ("classifier/original/job-0", 1) in epochs

    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        run_experiment(
            config(source),
            out,
            progress=lambda seen: epochs.append((seen.job.name, seen.epoch)),
            interrupted=in_the_classifiers,
        )
    with pytest.raises(UserError, match="seed 2 and 4 floats were begun and not finished"):
        run_experiment(config(source, sweep__num_seeds=2), out)
    assert run_experiment(config(source), out)["points"][0]["trials"] == [0, 1, 2]
