"""The numbers of results.json, against scikit-learn and by hand."""

import dataclasses
import itertools
import json
import math
import re

import numpy as np
import pytest
from sklearn import metrics
from synthetic_run import (
    ALL_TESTS,
    ALL_VIEWS,
    CHECK_VIEWS,
    FIRST_VIEWS,
    Synthetic,
    collect,
    write_run,
)

from blurjax.analysis import collect_results, scores, statistics
from blurjax.config import override
from blurjax.report import sentences
from blurjax.runtime.errors import UserError
from blurjax.runtime.files import read_json, read_npz, write_json, write_npz

SMALL = Synthetic(seeds=4, class_names=("cat", "dog", "owl"), images=60, epochs=3)
EVERYTHING = dataclasses.replace(
    SMALL,
    train_views=(*ALL_VIEWS, "spectrum", *CHECK_VIEWS),
    test_views=(*ALL_TESTS, "spectrum"),
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("small"), SMALL)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("everything"), EVERYTHING)


def correct(run, train, test):
    arrays = read_npz(run.predictions(train, test))
    return arrays["prediction"] == arrays["label"]


@pytest.mark.parametrize("cell", [("original", "original"), ("reconstruction", "original")])
def test_scores_are_those_of_scikit_learn(small, cell):
    run, collected = small
    (point,) = collected["points"]
    arrays = read_npz(run.predictions(*cell))
    label, predictions = arrays["label"], arrays["prediction"]
    at = {
        name: point[name][cell[0]][cell[1]]
        for name in ("accuracy", "loss", "ece", "per_class", "confusion")
    }
    accuracies = [metrics.accuracy_score(label, row) for row in predictions]
    assert at["accuracy"]["per_trial"] == pytest.approx(accuracies)
    assert at["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert at["loss"]["per_trial"] == pytest.approx(arrays["loss"].mean(axis=1), rel=1e-5)
    f1 = np.mean([metrics.f1_score(label, row, average=None) for row in predictions], axis=0)
    assert at["per_class"]["f1"] == pytest.approx(f1)
    assert (
        at["confusion"] == sum(metrics.confusion_matrix(label, row) for row in predictions).tolist()
    )
    expected = statistics.accuracy(predictions == label, 0.95)
    assert at["accuracy"]["interval"] == list(expected.interval)
    ece = scores.expected_calibration_error(arrays["confidence"][1], predictions[1] == label)
    assert at["ece"]["per_trial"][1] == ece


def test_psnr_is_of_the_pooled_error_and_ssim_a_mean(small):
    run, collected = small
    arrays = read_npz(run.quality("reconstruction", "test"))
    reconstruction = collected["points"][0]["reconstruction"]
    pooled = [10 * math.log10(1 / float(np.mean(row, dtype=np.float64))) for row in arrays["mse"]]
    assert reconstruction["psnr"]["test"]["per_trial"] == pytest.approx(pooled)
    assert reconstruction["psnr"]["test"]["mean"] == pytest.approx(np.mean(pooled))
    assert reconstruction["ssim"]["test"]["mean"] == pytest.approx(arrays["ssim"].mean(), rel=1e-5)


def test_totals_are_the_sums_of_their_causes_in_every_trial(everything):
    run, collected = everything
    terms = collected["points"][0]["decomposition"]
    trials = {name: np.array(term["per_trial"]) for name, term in terms.items()}
    parts = trials["information"] + trials["leakage"]
    np.testing.assert_allclose(trials["on_reconstructions"], parts, atol=1e-6)
    np.testing.assert_allclose(trials["on_originals"], parts + trials["test_view"], atol=1e-6)
    # And each is the difference of accuracies that its definition names.
    for name in ("on_reconstructions", "on_originals", "leakage", "test_view"):
        cells = re.findall(r"acc\((\w+)→(\w+)\)", terms[name]["definition"])
        first, second = (correct(run, *cell).mean(axis=1) for cell in cells)
        np.testing.assert_allclose(trials[name], first - second, atol=1e-6)


def test_the_causes_are_corrected_as_a_family_and_the_totals_not(everything):
    run, collected = everything
    (point,) = collected["points"]
    terms, others = point["decomposition"], point["comparisons"]

    def own_p(block, name):
        cells = re.findall(r"acc\((\w+)→(\w+)\)", block[name]["definition"])
        return statistics.two_sided_p(
            statistics.difference(statistics.paired(*(correct(run, *cell) for cell in cells)))
        )

    for total in ("on_reconstructions", "on_originals"):
        assert terms[total]["p"] == pytest.approx(own_p(terms, total))
    causes = {name: own_p(terms, name) for name in ("leakage", "test_view")}
    loss = correct(run, "original", "original").astype(float)
    loss -= correct(run, "reconstruction", "reconstruction")
    loss -= correct(run, "crossfit", "crossfit").astype(float)
    loss += correct(run, "infold", "crossfit")
    causes["information"] = statistics.two_sided_p(statistics.difference(loss))
    for name, p in statistics.holm(causes).items():
        assert terms[name]["p"] == pytest.approx(p)
    against_views = [
        f"reconstruction_against_{v}" for v in ("blur", "pca", "downsample", "spectrum")
    ]
    for name, p in statistics.holm({name: own_p(others, name) for name in against_views}).items():
        assert others[name]["p"] == pytest.approx(p)
    assert all("p" not in others[name] for name in ("crossfit_instead", "without_retraining"))


def test_comparisons_are_paired_differences_and_positive_is_a_cost(everything):
    run, collected = everything
    others = collected["points"][0]["comparisons"]
    for name, definition in {
        "reconstruction_against_blur": "acc(blur→blur) - acc(reconstruction→reconstruction)",
        "reseeded": "acc(original→original) - acc(reseeded→original)",
        "crossfit_instead": "acc(original→original) - acc(crossfit→crossfit)",
        "without_retraining": "acc(original→original) - acc(original→reconstruction)",
    }.items():
        cells = re.findall(r"acc\((\w+)→(\w+)\)", definition)
        expected = statistics.difference(
            statistics.paired(*(correct(run, *cell) for cell in cells))
        )
        assert others[name]["definition"] == definition
        assert others[name]["interval"] == list(expected.interval)


def test_checks_find_nothing_where_there_is_nothing(everything):
    run, collected = everything
    others = collected["points"][0]["comparisons"]
    assert others["identity"]["per_trial"] == [0, 0, 0, 0]
    assert others["identity"]["exact"]
    for kind in ("linear", "mlp"):
        probe = read_npz(run.probe(kind))
        expected = statistics.difference(
            statistics.paired(
                probe["prediction"] == probe["label"],
                correct(run, "reconstruction", "reconstruction"),
            )
        )
        term = others[f"{kind}_on_code"]
        assert term["definition"] == f"acc({kind} on code) - acc(reconstruction→reconstruction)"
        assert term["interval"] == list(expected.interval)
        assert "p" not in term
    arrays = read_npz(run.predictions("shuffled", "original"))
    labels = np.bincount(arrays["label"], minlength=3) / 60
    chance = [labels @ np.bincount(row, minlength=3) / 60 for row in arrays["prediction"]]
    accuracy = (arrays["prediction"] == arrays["label"]).mean(axis=1)
    assert others["shuffled"]["per_trial"] == pytest.approx(accuracy - chance)
    assert "verdict" not in others["shuffled"]


def test_how_blurry_each_view_is(everything):
    run, collected = everything
    (point,) = collected["points"]
    arrays = read_npz(run.quality("blur", "validation"))
    blur = point["quality"]["blur"]
    assert blur["laplacian_variance"]["validation"]["per_trial"] == pytest.approx(
        arrays["laplacian_variance"].mean(axis=1), rel=1e-5
    )
    assert point["quality"]["original"]["psnr"]["test"]["mean"] is None  # infinite
    assert point["quality"]["original"]["ssim"]["test"]["per_trial"] == [1]
    spectrum = read_npz(run.quality("pca", "test"))["spectrum"]
    assert point["spectra"]["pca"] == pytest.approx(spectrum.mean(axis=0), rel=1e-5)
    assert set(point["spectra"]) == set(point["quality"])
    assert set(point["quality"]) == {*ALL_VIEWS, "spectrum"} - {"mixed"}
    fitted = read_npz(run.fitted_views)
    assert point["blur"]["sigma"]["per_trial"] == pytest.approx(fitted["sigma"])
    assert point["blur"]["reachable"] == [True] * 4


def test_probes_read_the_code(everything):
    run, collected = everything
    arrays = read_npz(run.probe("mlp"))
    expected = statistics.accuracy(arrays["prediction"] == arrays["label"])
    assert collected["points"][0]["probe"]["mlp"]["interval"] == list(expected.interval)


def test_change_of_each_class_is_that_of_its_recall(everything):
    run, collected = everything
    change = collected["points"][0]["per_class_change"]
    recall = []
    for view in ("reconstruction", "original"):
        arrays = read_npz(run.predictions(view, view))
        recall.append(
            [
                metrics.recall_score(arrays["label"], row, average=None)
                for row in arrays["prediction"]
            ]
        )
    by_trial = np.subtract(*recall)
    np.testing.assert_allclose(change["mean"], by_trial.mean(axis=0))
    half = 3.182446305 * by_trial.std(axis=0, ddof=1) / 2
    low, high = np.transpose(change["interval_trials"])
    np.testing.assert_allclose(high - low, 2 * half)


def test_flips_are_those_of_the_point(tmp_path):
    run, collected = collect(tmp_path, dataclasses.replace(SMALL, bottlenecks=(4, 8)))
    for row, point in enumerate(collected["points"]):
        flips = point["flips"]
        arrays = read_npz(run.flips)
        assert flips["index"] == arrays["index"][row].tolist()
        arrays = read_npz(run.predictions("reconstruction", "reconstruction"))
        rows = [f"bottleneck={point['values']['bottleneck']} " in key for key in arrays["trial"]]
        rebuilt = correct(run, "reconstruction", "reconstruction")[rows]
        changed = (rebuilt != correct(run, "original", "original")).sum(axis=0)
        assert flips["count"] == sorted(changed, reverse=True)[: len(flips["count"])]


def test_flips_are_counted_over_the_trials_that_are_left(tmp_path):
    made_up = dataclasses.replace(SMALL, failed_classifier=(2, "reconstruction"))
    run, collected = collect(tmp_path, made_up)
    flips = collected["points"][0]["flips"]
    views = (correct(run, view, view)[[0, 1, 3]] for view in ("original", "reconstruction"))
    assert flips["count"] == statistics.flips(*views)[flips["index"]].tolist()


def test_flips_of_views_that_are_no_longer_in_the_run_are_not_shown(tmp_path):
    run, _ = write_run(tmp_path / "run", SMALL)
    fewer = dataclasses.replace(SMALL, test_views=("original",)).config
    assert collect_results(run, fewer)["points"][0]["flips"] == {}


def test_gap_is_train_minus_validation_after_the_last_epoch(small):
    _, collected = small
    (point,) = collected["points"]
    last = {
        side: np.array(point["history"]["classifier"]["mixed"][side]["accuracy"][-1])
        for side in ("train", "validation")
    }
    gap = point["generalisation_gap"]["mixed"]
    assert gap["per_trial"] == pytest.approx(last["train"] - last["validation"])
    half = 3.182446305 * np.std(gap["per_trial"], ddof=1) / 2  # t(3), sqrt(4)
    assert gap["interval_trials"] == pytest.approx([gap["mean"] - half, gap["mean"] + half])
    assert len(gap["by_epoch"]["mean"]) == 3
    assert gap["by_epoch"]["mean"][-1] == gap["mean"]
    assert gap["by_epoch"]["interval_trials"][-1] == gap["interval_trials"]


def test_without_the_code_there_are_no_reconstructions(tmp_path):
    made_up = Synthetic(seeds=3, images=40, train_views=("original",), test_views=("original",))
    _, collected = collect(tmp_path, made_up)
    (point,) = collected["points"]
    assert point["reconstruction"] == {"psnr": {}, "ssim": {}}
    empty = ("decomposition", "comparisons", "blur", "per_class_change", "flips")
    assert all(point[name] == {} for name in empty)
    assert list(point["quality"]) == ["original"]
    assert list(point["probe"]) == ["linear", "mlp"]  # autoencoders are trained all the same


def test_curves_follow_the_bottleneck_and_name_the_smallest_equivalent(tmp_path):
    made_up = Synthetic(
        seeds=5,
        images=2000,
        epochs=1,
        bottlenecks=(8, 4096, 2, 8192),
        learning_rates=(1e-2, 1e-3),
        train_views=(*FIRST_VIEWS, "infold"),
        test_views=("original", "reconstruction", "crossfit"),
    )
    _, collected = collect(tmp_path, made_up)
    slow, fast = collected["curves"]
    assert (slow["learning_rate"], fast["learning_rate"]) == (1e-3, 1e-2)
    assert slow["bottleneck"] == [2, 8, 4096, 8192]
    points = {
        point["values"]["bottleneck"]: point
        for point in collected["points"]
        if point["values"]["learning_rate"] == 1e-3
    }
    own = {"original": "original", "mixed": "reconstruction", "infold": "crossfit"}
    for view, test in own.items():
        curve = slow["accuracy"][view]
        assert curve["test_view"] == test
        cells = [points[floats]["accuracy"][view][test] for floats in slow["bottleneck"]]
        assert curve["mean"] == [cell["mean"] for cell in cells]
        assert curve["interval"] == [cell["interval"] for cell in cells]
    assert slow["psnr"]["reconstruction"] == sorted(slow["psnr"]["reconstruction"])
    assert slow["verdict"] == ["worse", "worse", "equivalent", "equivalent"]
    assert slow["smallest_equivalent"] == 4096


def test_identity_is_exact_only_where_wrong_answers_are_the_same_too(tmp_path):
    made_up = Synthetic(seeds=3, images=40, epochs=1, train_views=("original", "identity"))
    run, collected = collect(tmp_path, made_up)
    assert collected["points"][0]["comparisons"]["identity"]["exact"]
    path = run.predictions("identity", "original")
    arrays = read_npz(path)
    answers, labels = arrays["prediction"], arrays["label"]
    trial, image = np.argwhere(answers != labels)[0]
    answers[trial, image] = ({*range(10)} - {answers[trial, image], labels[image]}).pop()
    write_npz(path, **arrays)
    identity = collect_results(run, made_up.config)["points"][0]["comparisons"]["identity"]
    assert (identity["mean"], identity["exact"]) == (0, False)


def test_the_smallest_equivalent_is_not_sought_beyond_a_point_that_all_trials_left(tmp_path):
    made_up = Synthetic(seeds=8, images=4000, epochs=1, bottlenecks=(2048, 4096, 8192))
    run, _ = collect(tmp_path, made_up)
    for name in ("original", "reconstruction"):
        path = run.predictions("reconstruction", name)
        arrays = read_npz(path)
        frozen = ["bottleneck=4096 " in key for key in arrays["trial"]]
        frozen = np.where(frozen, 17, -1).astype(np.int32)
        write_npz(path, **arrays | {"failed_step": frozen})
    (curve,) = collect_results(run, made_up.config)["curves"]
    assert curve["bottleneck"] == [2048, 8192]
    assert curve["verdict"] == ["equivalent", "equivalent"]
    assert curve["smallest_equivalent"] == 8192


def test_tuned_takes_the_best_rate_of_each_view_by_validation(tmp_path):
    made_up = Synthetic(
        seeds=3,
        images=60,
        epochs=2,
        learning_rates=(1e-3, 1e-2),
        failed_classifier=(2, "mixed"),
    )
    run, _ = collect(tmp_path, made_up)
    for job, view in (("original", "original"), ("reconstruction", "reconstruction")):
        _favour(run, f"classifier/{job}/job-0", rate=1e-2 if view == "original" else 1e-3)
    collected = collect_results(run, made_up.config)
    (tuned,) = collected["tuned"]
    assert (tuned["bottleneck"], tuned["weight_decay"]) == (8, 0)
    chosen = tuned["learning_rate"]
    assert (chosen["original"], chosen["reconstruction"]) == (1e-2, 1e-3)
    assert tuned["trials"] == [0, 1]
    slow, fast = collected["points"]
    assert tuned["accuracy"]["original"] == fast["accuracy"]["original"]
    assert tuned["accuracy"]["reconstruction"] == slow["accuracy"]["reconstruction"]
    total = np.subtract(
        fast["accuracy"]["original"]["original"]["per_trial"],
        slow["accuracy"]["reconstruction"]["reconstruction"]["per_trial"],
    )
    assert tuned["decomposition"]["on_reconstructions"]["per_trial"] == pytest.approx(total)


def test_with_the_best_epoch_selected_tuned_goes_by_it(tmp_path):
    made_up = Synthetic(seeds=3, images=60, epochs=2, learning_rates=(1e-3, 1e-2))
    run, _ = collect(tmp_path, made_up)
    _favour(run, "classifier/original/job-0", rate=1e-2)
    _favour(run, "classifier/original/job-0", rate=1e-3, better=0.95, epoch=1)
    for select, rate in (("last", 1e-2), ("best", 1e-3)):
        config = override(made_up.config, {"classifier.select": select})
        collected = collect_results(run, config)
        assert collected["tuned"][0]["learning_rate"]["original"] == rate
        assert collected["evaluation"] == {"mirror_test": False, "select": select}


def _favour(run, job, rate, better=0.9, epoch=None):
    """Makes validation accuracy at this learning rate the better one, in one epoch or in all."""
    trials = read_json(run.job_file(job))["trials"]
    lines = run.metrics()
    for line in lines:
        if line["job"] == job and epoch in (None, line["epoch"]):
            line["validation"]["accuracy"] = [
                better if trial["learning_rate"] == rate else 0.8 for trial in trials
            ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    run.metrics_file.write_text(text, encoding="utf-8")


def test_without_swept_rates_nothing_is_tuned(small):
    assert small[1]["tuned"] is None


def test_every_analysis_is_recorded_once(tmp_path):
    run, config = write_run(tmp_path / "run", dataclasses.replace(SMALL, seeds=5))
    few, many = (dataclasses.replace(SMALL, seeds=seeds).config for seeds in (3, 5))
    for settings in (few, few, many, config):
        write_json(run.results, collect_results(run, settings))
    analyses = read_json(run.results)["analyses"]
    assert [analysis["points"][0]["trials"] for analysis in analyses] == [3, 5]
    total = read_json(run.results)["points"][0]["decomposition"]["on_reconstructions"]
    assert analyses[1]["points"][0] == {
        "values": {
            "bottleneck": 8,
            "learning_rate": 1e-3,
            "weight_decay": 0,
            "train_examples": None,
        },
        "trials": 5,
        **{name: total[name] for name in ("mean", "interval", "p")},
    }


def test_an_analysis_of_before_there_were_few_labels_is_not_recorded_again(tmp_path):
    run, config = write_run(tmp_path / "run", SMALL)
    older = collect_results(run, config)
    for point in older["points"]:
        del point["values"]["train_examples"]  # also of `analyses`: one object
    write_json(run.results, older)
    assert collect_results(run, config)["analyses"] == older["analyses"]


def test_curves_and_tuned_rates_are_of_points_with_as_many_labels(tmp_path):
    made_up = Synthetic(
        seeds=3, images=60, epochs=1, bottlenecks=(8, 2), learning_rates=(1e-3, 1e-2),
        train_examples=("all", 100),
    )  # fmt: skip
    _, collected = collect(tmp_path, made_up)
    recipes = [(c["learning_rate"], c["train_examples"]) for c in collected["curves"]]
    assert recipes == [(1e-3, 100), (1e-3, None), (1e-2, 100), (1e-2, None)]
    points = {tuple(point["values"].values()): point for point in collected["points"]}
    costs = [points[b, 1e-2, 0, 100]["accuracy"]["original"]["original"]["mean"] for b in (2, 8)]
    assert collected["curves"][2]["accuracy"]["original"]["mean"] == costs
    assert [bool(point["flips"]) for point in collected["points"]] == 2 * [True, *3 * [False]]
    tuned = {(t["bottleneck"], t["train_examples"]): t for t in collected["tuned"]}
    assert [*tuned] == [(8, None), (8, 100), (2, None), (2, 100)]
    few = tuned[2, 100]
    chosen = points[2, few["learning_rate"]["mixed"], 0, 100]
    assert few["accuracy"]["mixed"] == chosen["accuracy"]["mixed"]


def test_a_damaged_record_of_analyses_is_not_forgotten_silently(tmp_path):
    run, config = write_run(tmp_path / "run", SMALL)
    run.results.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"results.json is damaged: .* Remove it"):
        collect_results(run, config)


def test_the_audit_is_taken_over_as_it_is(small):
    run, collected = small
    assert collected["audit"] == read_json(run.audit)
    run.audit.unlink()
    assert collect_results(run, SMALL.config)["audit"] is None


def test_equal_runs_give_equal_files_that_read_back(small, tmp_path):
    run, collected = small
    again, same = collect(tmp_path, SMALL)
    for directory, content in ((run, collected), (again, same)):
        write_json(directory.results, content)
    assert run.results.read_bytes() == again.results.read_bytes()
    assert read_json(run.results) == json.loads(json.dumps(collected)) == collected
    assert collected["seconds"] == {"autoencoders": 20.5, "classifiers": 31.25}


def answered_with_the_first_class(tmp_path, share):
    """A run whose classifiers always name the first class, which has this share of the test images."""
    run, config = write_run(tmp_path / "run", dataclasses.replace(SMALL, images=300))
    label = (np.arange(300) >= 300 * share).astype(np.int32)
    for cell in itertools.product(SMALL.train_views, SMALL.test_views):
        arrays = read_npz(run.predictions(*cell))
        arrays |= {"label": label, "prediction": np.zeros_like(arrays["prediction"])}
        write_npz(run.predictions(*cell), **arrays)
    return collect_results(run, config)["points"][0]


@pytest.mark.parametrize(("share", "unbalanced"), [(0.98, True), (0.5, False)])
def test_no_verdict_where_nothing_was_learned(tmp_path, share, unbalanced):
    point = answered_with_the_first_class(tmp_path, share)
    accuracy = point["accuracy"]["original"]["original"]["mean"]
    assert accuracy == pytest.approx(share)
    assert point["balanced_accuracy"]["original"]["original"]["mean"] == 0.5
    chance = point["chance"]
    assert (chance["most_frequent"], chance["above"]["mean"]) == (pytest.approx(share), 0)
    assert (chance["learned"], chance["unbalanced"]) == (False, unbalanced)
    judged = [t for t in point["decomposition"].values() if "verdict" in t]
    assert judged
    for term in judged:
        assert term["verdict"] is None
        assert f"which is right for {100 * share:.1f}% of the test images" in term["sentence"]
    (headline,) = sentences.point_summary(point, 0.95)
    assert headline.startswith("No verdict: ")
    assert "not shown to be better than always naming the most frequent class" in headline
    assert "nothing can be lost" in headline
    assert "cost" not in headline
    assert ("as a mean over classes 50.0% and 50.0%" in headline) == unbalanced
