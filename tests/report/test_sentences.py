"""Sentences claim no more than the intervals show."""

import copy
import re

import numpy as np
import pytest
from PIL import Image
from synthetic_run import Synthetic, collect

from blurjax import load_config, load_dataset
from blurjax.report import sentences
from blurjax.report.facts import facts
from blurjax.report.point_names import point_name


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    made_up = Synthetic(seeds=3, class_names=("cat", "dog", "owl"), images=120, epochs=2)
    return collect(tmp_path_factory.mktemp("answer"), made_up)[1]


def test_no_direction_is_claimed_where_the_interval_contains_zero(results):
    point = copy.deepcopy(results["points"][0])
    cost = point["decomposition"]["on_reconstructions"]
    cost |= {"mean": 0.012, "interval": [-0.004, 0.028], "verdict": "undecided", "sentence": "So."}
    sentence = " ".join(sentences.point_summary(point, 0.95))
    assert re.search(
        r"\+1\.2 points \(positive = lost.*?\) and its 95% interval, −0\.4 to \+2\.8, contains 0",
        sentence,
    )
    assert not re.search(r"\b(costs|gains|worse|better|more|less)\b", sentence)
    cost |= {"mean": -0.012, "interval": [-0.02, -0.004], "verdict": "better", "p": 0.01}
    sentence = sentences.point_summary(point, 0.95)[0]
    assert sentence.startswith("Better: ")
    assert (
        "gains 1.2 points of accuracy (95% interval of the cost: −2.0 to −0.4, p = 0." in sentence
    )


def test_causes_are_claimed_only_as_surely_as_they_are_known(results):
    point = copy.deepcopy(results["points"][0])
    point["decomposition"] |= {
        "information": {"mean": 0.04, "interval": [0.03, 0.05], "p": 0.0001, "margin": 0.01},
        "leakage": {"mean": 0.01, "interval": [-0.01, 0.03], "p": 0.3, "margin": 0.01},
    }
    why = sentences.point_summary(point, 0.95)[1]
    assert (
        "information that the reconstructions lack costs 4.0 points (+3.0 to +5.0, p < 0.001)"
        in why
    )
    assert (
        "a difference of +1.0 points (−1.0 to +3.0, p = 0.300), which cannot be distinguished from 0"
        in why
    )
    # Corrected for its family, a p can be larger than its interval suggests.
    point["decomposition"]["information"]["p"] = 0.06
    assert "costs" not in sentences.point_summary(point, 0.95)[1]
    point["decomposition"]["leakage"] |= {"mean": -0.02, "interval": [-0.03, -0.01], "p": 0.01}
    assert "gains 2.0 points" in sentences.point_summary(point, 0.95)[1]


def test_the_gap_between_training_and_validation_is_judged_by_its_interval(results):
    point = copy.deepcopy(results["points"][0])
    history = point["history"]["classifier"]["reconstruction"]
    history["train"]["accuracy"] = [[0.5, 0.5, 0.5], [0.99, 0.99, 0.99]]
    history["validation"]["accuracy"] = [[0.48, 0.48, 0.48], [0.92, 0.91, 0.93]]
    history["validation_original"]["accuracy"] = [[0.47, 0.47, 0.47], [0.85, 0.86, 0.86]]
    sentence = sentences.gap_sentence(point, 0.95)
    assert "from +2.0 points after the first epoch to +7.0 after the last" in sentence
    assert "from +3.0 to +13.3 when validated on originals" in sentence
    assert "the gap is wider when validated on originals" in sentence
    history["validation_original"]["accuracy"][-1] = [0.93, 0.91, 0.92]
    assert "this run cannot tell whether it matters" in sentences.gap_sentence(point, 0.95)
    for side in ("train", "validation", "validation_original"):
        history[side]["accuracy"] = [row[:1] for row in history[side]["accuracy"]]
    assert "too few trials" in sentences.gap_sentence(point, 0.95)


def test_fewer_than_three_trials_are_a_caution(results):
    results = copy.deepcopy(results)
    results["points"][0]["trials"] = [0]
    results["audit"] = None
    assert sentences.answer(results, 0.95)[-1].startswith("Caution: with 1 trial nothing is known")
    results["points"][0]["trials"] = []
    assert sentences.answer(results, 0.95)[0].startswith("Every trial was frozen")


def test_smallest_equivalent_bottleneck_is_named(results):
    verdicts = {2: "worse", 4: "equivalent", 8: "undecided", 16: "equivalent"}
    points = []
    for bottleneck, verdict in verdicts.items():
        point = copy.deepcopy(results["points"][0])
        point["values"]["bottleneck"] = bottleneck
        point["decomposition"]["on_reconstructions"]["verdict"] = verdict
        points.append(point)
    curve = {"bottleneck": list(verdicts), "verdict": list(verdicts.values())}
    recipe = {"learning_rate": 1e-3, "weight_decay": 0, "train_examples": None}
    curves = [curve | recipe | {"smallest_equivalent": 16}]
    opening = sentences.answer(results | {"points": points, "curves": curves}, 0.95)
    assert re.search(r"equivalent at 4 floats \(\S+\), 16 floats", opening[0])
    assert "shown to be equivalent to the original is 16 floats" in opening[1]
    curves[0]["smallest_equivalent"] = None
    opening = sentences.answer(results | {"points": points, "curves": curves}, 0.95)
    assert opening[1] == "The largest code has no trial left, so no smaller one was tested."
    curves[0]["verdict"][-1] = "undecided"
    curves.append(curves[0] | {"train_examples": 100})
    opening = sentences.answer(results | {"points": points, "curves": curves}, 0.95)
    assert opening[1].startswith(
        "Learning rate 0.001, weight decay 0: the largest code (16 floats) was not"
    )
    assert opening[2].startswith("Learning rate 0.001, weight decay 0, 100 labelled images: the")


def test_numbers_of_labels_are_named(results):
    points = [copy.deepcopy(results["points"][0]) for _ in range(3)]
    for point, number in zip(points, (1, 100, None), strict=True):
        point["values"]["train_examples"] = number
    names = [point_name(point, points) for point in points]
    assert names == ["1 labelled image", "100 labelled images", "all labelled images"]
    said = [sentences.point_summary(point, 0.95)[0] for point in points[1:]]
    assert (
        ": with 100 labelled images, for autoencoders trained this long, classifiers trained and tested on"
        in said[0]
    )
    assert "labelled" not in said[1]


def test_the_gain_of_a_warm_start_is_answered_for_every_number_of_labels(results):
    def a_point(labels, mean, verdict):
        gain = {"mean": mean, "interval": [mean - 0.02, mean + 0.02], "p": 0.03, "verdict": verdict}
        without_cost = {"decomposition": {}, "comparisons": {"gain_of_encoder": gain}}
        return a | without_cost | {"values": a["values"] | {"train_examples": labels}}

    a = results["points"][0]
    points = [a_point(50, 0.03, "better"), a_point(None, -0.01, None)]
    opening, gain, *_ = sentences.answer(results | {"points": points, "curves": []}, 0.95)
    assert opening == "2 combinations of the swept values were compared."
    assert gain.endswith(
        "changes accuracy on originals by +3.0 points (+1.0 to +5.0, p = 0.030: better) with 50 labelled images; "
        "−1.0 points (−3.0 to +1.0, no verdict) with all labelled images. Positive = gained; in brackets: 95% "
        "intervals."
    )
    alone = sentences.answer(results | {"points": points[:1]}, 0.95)[0]
    assert "by +3.0 points (+1.0 to +5.0, p = 0.030: better). Positive = gained;" in alone
    many = [a_point(n, n / 100, "better" if n > 3 else "undecided") for n in range(1, 10)]
    _, gain, *_ = sentences.answer(results | {"points": many, "curves": []}, 0.95)
    assert "by +1.0 to +9.0 points (undecided at 3, better at 6). Positive" in gain


def test_many_points_are_counted_not_listed(results):
    points = [copy.deepcopy(results["points"][0]) for _ in range(6)]
    for number, point in enumerate(points):
        point["values"]["bottleneck"] = number + 1
        total = point["decomposition"]["on_reconstructions"]
        total |= {"mean": number / 100, "verdict": "worse" if number > 2 else "undecided"}
    opening = sentences.answer(results | {"points": points, "curves": []}, 0.95)[0]
    assert "undecided at 3; worse at 3; the cost goes from +0.0 to +5.0 points" in opening


def test_what_is_known_of_longer_training_is_a_fact(results):
    def fact(*lengths):
        points = []
        for length in lengths:
            points.append(results["points"][0] | {"training_length": {"autoencoder": length}})
        found = facts(results | {"points": points})
        return {fact.label: fact.text for fact in found if fact.anchor == "training-length"}

    fell = "loss −10.0% over the last fifth; not trained longer to compare"
    unchecked = [{"last_fifth_change": change} for change in (0.004, 0.1)]
    assert fact(*unchecked) == {"autoencoder": fell}
    checked = [block | {"twice_the_steps": {"gain": -0.04}} for block in unchecked]
    assert fact(*checked) == {"twice the steps": "−0.04 dB"}
    checked[1]["twice_the_steps"]["gain"] = 1.91
    assert fact(*checked) == {"twice the steps": "−0.04 to +1.91 dB"}
    assert fact({}) == {}


def test_the_headline_is_about_autoencoders_trained_this_long_unless_longer_ones_were_seen(results):
    point = copy.deepcopy(results["points"][0])
    autoencoder = point["training_length"]["autoencoder"]
    for gain, limited in ((None, True), (0.12, True), (0.09, False)):
        if gain is not None:
            ends = {"before": [20.0], "after": [20.0 + gain]}
            autoencoder["twice_the_steps"] = {"gain": gain} | ends
        said = sentences.point_summary(point, 0.95)[0]
        assert (": for autoencoders trained this long, classifiers" in said) == limited
        longer = ", but with longer training the autoencoder would keep more: for autoencoders"
        assert (longer in said) == (gain == 0.12)


def test_what_the_image_hides_and_the_code_has_is_said_where_the_interval_shows_it(results):
    point = copy.deepcopy(results["points"][0])
    term = point["comparisons"]["mlp_on_code"]
    point["probe"]["mlp"]["mean"] = 0.95
    for interval, shown in (((-0.001, 0.02), False), ((0.004, 0.02), True)):
        term |= {"mean": 0.012, "interval": interval}
        said = " ".join(sentences.point_summary(point, 0.95))
        expected = (
            "reads the code itself is right for 95.0%, 1.2 points more than classifiers of reconstructions "
            "(+0.4 to +2.0): the image hides what the code still has"
        )
        assert (expected in said) == shown


def test_an_autoencoder_behind_principal_components_is_cautioned_against(results):
    def opening(*of_points):
        points = []
        for bottleneck, rebuilt, linear in of_points:
            point = copy.deepcopy(results["points"][0])
            point["values"]["bottleneck"] = bottleneck
            for view, psnr in (("reconstruction", rebuilt), ("pca", linear)):
                quality = point["quality"].setdefault(view, {"psnr": {"validation": {}}})
                quality["psnr"]["validation"]["mean"] = psnr
            points.append(point)
        return " ".join(sentences.answer(results | {"points": points, "curves": []}, 0.95))

    assert "principal components" not in opening((8, 16.5, 16.3))
    assert "principal components" not in opening((8, 16.5, 16.59))  # a gap that is none
    assert "principal components" in opening((8, 16.5, 16.61))
    assert "principal components" not in opening(
        (64, 30.0, None)
    )  # infinite: every pixel is restored
    said = opening((8, 16.5, 16.3), (16, 19.0, 20.0), (32, 22.0, 26.5))
    assert (
        "points of accuracy (positive = lost), but the autoencoder was not trained well enough to say why."
        in said
    )
    (point,) = copy.deepcopy(results["points"])
    for view, psnr in (("reconstruction", 19.0), ("pca", 20.0)):
        quality = point["quality"].setdefault(view, {"psnr": {"validation": {}}})
        quality["psnr"]["validation"]["mean"] = psnr
    alone = sentences.answer(results | {"points": [point]}, 0.95)
    assert re.match(r"\w+, but the autoencoder was not trained well enough to say why: ", alone[0])
    assert not any(said.startswith("Why (") for said in alone)
    # How little the loss still fell would say the contrary.
    texts = {fact.label: fact.text for fact in facts(results | {"points": [point]})}
    assert texts["autoencoder"] == "keeps less than principal components do"
    assert "with 32 floats the autoencoder's reconstructions are less faithful than" in said
    assert "(PSNR 22.00 against 26.50 dB on validation)" in said


def test_what_is_not_known_of_the_autoencoder_is_said(results):
    found = {fact.label: fact.text for fact in facts(results)}
    assert "not known" in found["against principal components"]
    point = copy.deepcopy(results["points"][0])
    point["quality"]["pca"] = point["quality"]["reconstruction"]
    found = {fact.label for fact in facts(results | {"points": [point]})}
    assert "against principal components" not in found


def test_images_that_were_skipped_or_lie_in_several_splits_are_cautions(results):
    results = copy.deepcopy(results)
    results["dataset"]["notes"] = [
        "2 unusable images were skipped: a.png, b.png.",
        "Something else.",
    ]
    results["audit"]["exact"]["across_splits"] = 1
    headline, *_, repeated, skipped = sentences.answer(results, 0.95)
    assert "but some" not in headline  # one of 120
    assert repeated.startswith(
        "Caution: 1 group of identical images has copies in more than one of"
    )
    assert skipped == "Caution: 2 unusable images were skipped: a.png, b.png."
    results["audit"]["exact"]["across_splits"] = 2
    assert (
        ", but some of the test images may have been trained on: "
        in sentences.answer(results, 0.95)[0]
    )


def test_a_cost_that_rounded_accuracies_do_not_give_says_so(results):
    point = copy.deepcopy(results["points"][0])
    accuracy, cost = point["accuracy"], point["decomposition"]["on_reconstructions"]
    accuracy["original"]["original"]["mean"] = 0.99164
    accuracy["reconstruction"]["reconstruction"]["mean"] = 0.93245
    cost |= {"mean": 0.05919, "interval": [0.03, 0.08], "verdict": "worse"}
    said = sentences.point_summary(point, 0.95)[0]
    assert "right for 93.2% of the test images, classifiers of originals for 99.2%" in said
    assert "costs 5.9 points" in said
    assert "; computed before rounding)" in said
    accuracy["original"]["original"]["mean"] = 0.99
    accuracy["reconstruction"]["reconstruction"]["mean"] = 0.931
    assert "rounding" not in sentences.point_summary(point, 0.95)[0]


def test_images_that_the_data_room_skips_become_a_caution(results, tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(8):
            pixels = np.full((8, 8), 20 * number + ord(label), np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{number}.png")
    (tmp_path / "a" / "broken.png").write_bytes(b"no image")
    settings = {"data.source": f"folder:{tmp_path}", "data.on_bad_image": "skip"}
    notes = load_dataset(load_config(None, settings).data).notes
    results = results | {"dataset": results["dataset"] | {"notes": list(notes)}, "audit": None}
    assert "broken.png" in sentences.answer(results, 0.95)[-1]
