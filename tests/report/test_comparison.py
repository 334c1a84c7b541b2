"""Runs side by side: what is subtracted from what, what is not and why, and how that is shown."""

import json
import re

import numpy as np
import pytest
from synthetic_run import Synthetic, write_run

from blurjax.analysis import statistics
from blurjax.analysis.formatting import signed, signed_span, span
from blurjax.report import compare_runs, comparison_text, make_report
from blurjax.report.comparison import headlines
from blurjax.report.figures import style
from blurjax.report.figures.style import run_labels
from blurjax.runtime.errors import UserError
from blurjax.runtime.files import read_json, read_npz, write_json, write_npz

BASE: dict = {"seeds": 4, "images": 120, "epochs": 2}
WORSE = ((("reconstruction", "reconstruction"), 0.6),)


@pytest.fixture(autouse=True)
def no_images(monkeypatch):
    monkeypatch.setattr(style, "png", lambda figure: b"a figure")


def finished(path, dataset=None, **changes):
    run, _ = write_run(path, Synthetic(**BASE | changes))
    if dataset:
        write_json(run.dataset, read_json(run.dataset) | dataset)
    make_report(run.path)
    return run.path


def text_of(html):
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def correct(path, cell, seeds):
    arrays = read_npz(path / "predictions" / f"{cell}-on-{cell}.npz")
    keys = [dict(p.split("=") for p in key.split())["seed"] for key in arrays["trial"].tolist()]
    return (arrays["prediction"] == arrays["label"])[[keys.index(str(seed)) for seed in seeds]]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "png", lambda figure: b"a figure")
        return finished(folder / "one"), finished(folder / "two", skill=WORSE, seeds=5)


def test_differences_are_paired_by_seed_and_image(two):
    found = compare_runs(two)
    (pair,) = found["pairs"]
    assert pair["trials"] == [0, 1, 2, 3]
    right = {
        (run, view): correct(run, view, pair["trials"]).astype(float)
        for run in two
        for view in ("original", "reconstruction")
    }
    first, second = two
    lost = right[first, "reconstruction"] - right[second, "reconstruction"]
    expected = statistics.difference(lost)
    assert pair["accuracy"]["reconstruction"]["mean"] == expected.mean > 0
    assert pair["accuracy"]["reconstruction"]["interval"] == list(expected.interval)
    more = lost - (right[first, "original"] - right[second, "original"])
    expected = statistics.difference(more)
    cost = pair["cost"]["on_reconstructions"]
    assert cost["mean"] == pytest.approx(expected.mean)
    assert cost["interval"] == pytest.approx(list(expected.interval))
    assert cost["p"] == pytest.approx(statistics.two_sided_p(expected))
    assert (cost["verdict"], pair["learned"]) == ("worse", True)
    assert "p" not in pair["cost"]["on_originals"]


def test_causes_are_compared_where_both_have_them_and_add_up(tmp_path):
    views = {
        "train_views": ("original", "reconstruction", "crossfit", "infold"),
        "test_views": ("original", "reconstruction", "crossfit"),
    }
    runs = [finished(tmp_path / n, skill=s, **views) for n, s in (("a", ()), ("b", WORSE))]
    cost = {n: e["mean"] for n, e in compare_runs(runs)["pairs"][0]["cost"].items()}
    total = cost["information"] + cost["leakage"]
    assert total == pytest.approx(cost["on_reconstructions"])
    assert total + cost["test_view"] == pytest.approx(cost["on_originals"])


def test_the_other_way_round_signs_are_turned(two):
    forth, back = compare_runs(two)["pairs"][0], compare_runs(two[::-1])["pairs"][0]
    for kind in ("cost", "accuracy"):
        for name, entry in forth[kind].items():
            assert back[kind][name]["mean"] == pytest.approx(-entry["mean"])
    assert back["cost"]["on_reconstructions"]["verdict"] == "better"


def test_p_is_corrected_for_the_number_of_pairs(two, tmp_path):
    alone = compare_runs(two)["pairs"][0]["cost"]["on_reconstructions"]["p"]
    third = finished(tmp_path / "three", skill=((("original", "original"), 0.95),))
    pairs = compare_runs([*two, third])["pairs"]
    p = [pair["cost"]["on_reconstructions"]["p"] for pair in pairs]
    assert p[0] == pytest.approx(2 * alone)
    assert [pair["second"] for pair in pairs] == [str(two[1]), str(third)]


def test_equal_runs_differ_in_nothing(two, tmp_path):
    same = finished(tmp_path / "same")
    found = compare_runs([two[0], same])
    assert (found["settings"], found["limits"]) == ([], [])
    (pair,) = found["pairs"]
    assert all(
        e["exact"] and e["mean"] == 0 for k in ("cost", "accuracy") for e in pair[k].values()
    )
    text = comparison_text(found, 1000)
    assert "the same for each seed and image in both" in text
    assert "Settings, data, versions and devices are the same." in text


@pytest.mark.parametrize(
    ("dataset", "changes", "reason"),
    [
        ({"fingerprint": "other"}, {}, "whether their test images are the same is not on record"),
        ({"fingerprint": "other", "test_images": "x"}, {}, "is not on record"),
        (None, {"images": 110}, "they were not tested on the same images"),
        (None, {"shape": (16, 16, 1)}, "images are 8 × 8 × 1 and 16 × 16 × 1"),
        (None, {"class_names": ("a", "b", "c")}, "their classes are not the same (10 and 3)"),
    ],
)
def test_what_is_not_subtracted_and_why(two, tmp_path, dataset, changes, reason):
    if changes:
        dataset = {"fingerprint": "other"}
    other = finished(tmp_path / "other", dataset, **changes)
    page = tmp_path / "page.html"
    found = compare_runs([two[0], other], page)
    assert found["pairs"] == []
    (limit,) = found["limits"]
    assert reason in limit
    text = comparison_text(found, 10_000)
    assert limit in text
    assert "No costs of these runs can be subtracted" in text
    html = text_of(page.read_text(encoding="utf-8"))
    assert "What limits this comparison" in html
    assert "Paired differences" not in html.split("How it was computed")[0]


def test_runs_without_reconstructions_have_no_costs(tmp_path):
    alone = {"train_views": ("original",), "test_views": ("original",)}
    runs = [finished(tmp_path / name, **alone) for name in ("one", "two")]
    found = compare_runs(runs)
    assert comparison_text(found, 10_000).startswith("None of these runs has a cost of reconstruct")
    assert [*found["pairs"][0]["accuracy"]] == ["original"]


def test_test_images_are_compared_by_content(tmp_path):
    digests = {"one": "a", "same": "a", "other": "b"}
    one, same, other = (
        finished(tmp_path / name, {"fingerprint": name, "test_images": digest})
        for name, digest in digests.items()
    )
    assert len(compare_runs([one, same])["pairs"]) == 1
    (limit,) = compare_runs([one, same])["limits"]
    assert "test images are the same, but not those of training" in limit
    found = compare_runs([one, other])
    assert found["pairs"] == []
    assert "not tested on the same images (by content)" in found["limits"][0]


def test_too_few_common_seeds_have_no_verdict(two, tmp_path):
    few = finished(tmp_path / "few", seeds=2)
    found = compare_runs([two[0], few])
    (pair,) = found["pairs"]
    cost = pair["cost"]["on_reconstructions"]
    assert (pair["trials"], cost["p"], cost["verdict"]) == ([0, 1], None, None)
    assert "over the 2 seeds that both have" in found["limits"][0]
    assert "with 2 common trials" in found["limits"][1]


def test_the_headline_is_of_the_seeds_that_both_have(two):
    found = compare_runs(two)
    (pair,), (sentence,) = found["pairs"], headlines(found)
    own, cost = (pair[kind]["on_reconstructions"] for kind in ("own_costs", "cost"))
    right = [
        [correct(run, view, pair["trials"]).mean() for view in ("original", "reconstruction")]
        for run in two
    ]
    assert own == pytest.approx([original - rebuilt for original, rebuilt in right])
    assert own[1] - own[0] == pytest.approx(cost["mean"])
    assert own[1] != found["points"][1]["cost"]["mean"]  # over five seeds
    assert f"{100 * own[1]:+.2f} in {two[1]}" in sentence
    assert "(positive = lost, over the 4 seeds that both have)" in sentence


def test_points_without_a_common_trial_are_named_as_such(tmp_path):
    runs = [
        finished(tmp_path / name, seeds=2, failed_autoencoder=seed)
        for name, seed in (("a", 0), ("b", 1))
    ]
    found = compare_runs(runs)
    assert found["pairs"] == []
    (limit,) = found["limits"]
    assert limit.endswith("at 1 point no trial is left in both, so nothing is subtracted there.")


def test_what_was_accepted_in_the_first_run_is_said_once(two, tmp_path):
    first, *others = [finished(tmp_path / name) for name in ("a", "b", "c")]
    results = read_json(first / "results.json") | {"accepted_changes": ["classifiers"]}
    write_json(first / "results.json", results)
    (limit,) = compare_runs([first, *others])["limits"]
    assert limit.startswith(f"{first}: the code of the classifiers was changed")


def test_runs_whose_names_cannot_be_drawn_are_numbered_as_runs(two, tmp_path):
    odd = finished(tmp_path / "\u732b")
    found = compare_runs([two[0], odd], tmp_path / "page.html")
    names = run_labels(found["points"])
    assert names[0] != "run 0"
    assert names[1] == "run 1"
    page = text_of((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert f"{odd} in figures: run 1 " in page
    assert "run 0" not in page


def test_no_verdict_where_nothing_was_learned(two, tmp_path):
    other = finished(tmp_path / "other")
    results = read_json(other / "results.json")
    results["points"][0]["chance"]["learned"] = False
    write_json(other / "results.json", results)
    found = compare_runs([two[0], other])
    assert found["pairs"][0]["cost"]["on_reconstructions"]["verdict"] is None
    assert "were not shown to be better than always naming" in found["limits"][0]
    assert headlines(found) == [found["limits"][0]]


def test_points_are_paired_by_their_values_and_a_single_one_with_all(two, tmp_path):
    several = finished(tmp_path / "several", bottlenecks=(4, 8))
    others = finished(tmp_path / "others", bottlenecks=(8, 16))
    found = compare_runs([several, others])
    (pair,) = found["pairs"]
    assert [values["bottleneck"] for values in pair["values"]] == [8, 8]
    assert pair["labels"] == [f"{several}, 8 floats", f"{others}, 8 floats"]
    assert any(
        "1 of up to 2 points have the same swept values" in limit for limit in found["limits"]
    )
    pairs = compare_runs([two[0], several])["pairs"]
    assert [pair["values"][1]["bottleneck"] for pair in pairs] == [4, 8]
    assert pairs[0]["labels"] == [str(two[0]), f"{several}, 4 floats"]


def test_the_page_has_the_numbers_and_loads_nothing(two, tmp_path):
    page = tmp_path / "new" / "page.html"
    found = compare_runs(two, page)
    html = page.read_text(encoding="utf-8")
    text = text_of(html)
    assert re.search(r"https?://|url\(|@import|<script", html) is None
    assert all(s.startswith("data:image/png") for s in re.findall(r'\bsrc="([^"]*)"', html))
    anchors = {*re.findall(r'\bid="([^"]*)"', html)}
    assert {link[1:] for link in re.findall(r'\bhref="([^"]*)"', html)} <= anchors
    assert "sweep.num_seeds 4 5" in text
    for point in found["points"]:
        cell = point["accuracy"]["reconstruction"]
        assert f"{100 * cell['mean']:.1f}% {span(cell['interval'])}" in text
    cost = found["pairs"][0]["cost"]["on_reconstructions"]
    shown = f"{signed(cost['mean'])} {signed_span(cost['interval'])}"
    assert f"cost: on reconstructions {shown}" in text
    assert f"points more in {two[1]}" in text
    terminal = comparison_text(found, 100)
    assert re.search(rf"cost on reconstructions +{re.escape(signed(cost['mean']))} ", terminal)
    assert max(len(line) for line in terminal.split("\n\n")[0].splitlines()) <= 100
    json.dumps(found, allow_nan=False)
    assert "history" not in found["points"][0]


def test_the_home_directory_may_be_written_with_a_tilde(two, monkeypatch):
    home = two[0].parent
    monkeypatch.setenv("HOME", str(home))
    found = compare_runs(["~/one", "~/two"], "~/page.html")
    assert (home / "page.html").is_file()
    assert found["runs"] == compare_runs(two)["runs"]


def test_names_of_directories_are_no_html(two, tmp_path):
    odd = finished(tmp_path / "<b>&")
    page = tmp_path / "page.html"
    compare_runs([two[0], odd], page)
    assert "<b>&" not in page.read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;" in page.read_text(encoding="utf-8")


def test_what_cannot_be_compared_at_all_is_refused(two, tmp_path):
    with pytest.raises(UserError, match="two or more different"):
        compare_runs([two[0]])
    with pytest.raises(UserError, match="two or more different"):
        compare_runs([two[0], two[0] / ".." / two[0].name])
    with pytest.raises(UserError, match="is not a run of blurjax"):
        compare_runs([two[0], tmp_path])
    run, _ = write_run(tmp_path / "unfinished", Synthetic(**BASE))
    with pytest.raises(UserError, match="is not finished"):
        compare_runs([two[0], run.path])


def test_results_of_other_trials_than_the_settings_are_refused(two, tmp_path):
    run = finished(tmp_path / "run")
    path = run / "predictions" / "original-on-original.npz"
    arrays = read_npz(path)
    arrays["failed_step"] = np.where(np.arange(4) == 1, 7, arrays["failed_step"]).astype(np.int32)
    write_npz(path, **arrays)
    with pytest.raises(UserError, match="blurjax report"):
        compare_runs([two[0], run])
