"""The page of a run that is not finished: what it says, and what it does not."""

import dataclasses
import json
import re

import pytest
from synthetic_run import Synthetic, write_run

from blurjax.config.loading import flat
from blurjax.report import make_report
from blurjax.runtime.errors import UserError
from blurjax.runtime.run_directory import RunDirectory

VIEWS = ("original", "reconstruction", "mixed")


@pytest.fixture
def run(tmp_path):
    """Originals are trained; so are reconstructions but for the last two epochs; the others have not begun."""
    made_up = Synthetic(seeds=3, class_names=("a<b", "c"), images=40, train_views=VIEWS)
    settings = flat(made_up.config)
    epochs, of_autoencoders = (settings[f"{s}.epochs"] for s in ("classifier", "autoencoder"))
    longest = dataclasses.replace(made_up, epochs=max(epochs, of_autoencoders))
    run, _ = write_run(tmp_path / "run", longest)
    last = {"original": epochs, "reconstruction": epochs - 2, "mixed": 0, None: 10**6}
    run.keep_metrics(lambda line: line["epoch"] <= last[line["view"]])
    return run


def text_of(html):
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_it_says_that_it_is_none_and_what_is_missing(run):
    page = make_report(run.path)
    assert page == run.interim
    html, text = page.read_text(encoding="utf-8"), text_of(page.read_text(encoding="utf-8"))
    assert "<title>INTERIM, not finished: made-up</title>" in html
    assert "Interim report, the run is not finished" in text
    assert "No answer yet. All numbers on this page will change or go." in text
    assert (
        "Missing: classifiers on reconstruction (0 of 3 trials trained); classifiers on mixed (0 of 3 trials trained); "
        "and all results on test images." in text
    )
    assert not run.results.exists()
    assert not run.report.exists()
    assert re.search(r'href="http|src="(?!data:)', html) is None


def test_only_views_whose_trials_are_all_trained_have_a_number(run):
    text = text_of(make_report(run.path).read_text(encoding="utf-8"))
    last = [line for line in run.metrics() if line["view"] == "original"][-1]
    accuracy = [100 * value for value in last["validation"]["accuracy"]]
    mean = f"{sum(accuracy) / 3:.1f}% {min(accuracy):.1f}% to {max(accuracy):.1f}%"
    rows = text[text.index("validation accuracy so far") : text.index("Learning curves so far")]
    assert f"original The image as it is. 3 of 3 {mean} reconstruction" in rows
    assert rows.count("%") == 3
    assert "0 of 3 – mixed" in rows


def test_a_trial_that_was_frozen_is_counted_and_left_out(run):
    lines = run.metrics()
    for line in lines:
        if line["view"] == "original" and line["epoch"] > 1:
            line["loss"][1], line["validation"]["accuracy"][1] = None, 0.0
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = text_of(make_report(run.path).read_text(encoding="utf-8"))
    assert "3 of 3 1 frozen: not finite" in text
    assert " 0.0% to" not in text


def test_the_final_report_removes_it(run, tmp_path):
    lines = run.metrics_file.read_bytes()
    assert make_report(run.path) == run.interim
    _, _ = write_run(tmp_path / "whole", Synthetic(seeds=3, images=40, train_views=VIEWS))
    run.metrics_file.write_bytes((tmp_path / "whole" / "metrics.jsonl").read_bytes())
    assert make_report(run.path) == run.report
    assert not run.interim.exists()
    # Continued with more: the earlier report stays, and the interim one says what it is.
    run.metrics_file.write_bytes(lines)
    report = run.report.read_bytes()
    assert "report.html beside it" in make_report(run.path).read_text(encoding="utf-8")
    assert run.report.read_bytes() == report


def test_before_the_first_epoch_there_is_nothing_to_report(run, tmp_path):
    run.metrics_file.unlink()
    with pytest.raises(UserError, match="has only begun"):
        make_report(run.path)
    new = RunDirectory(tmp_path / "new")
    new.create()
    with pytest.raises(UserError, match="has only begun"):
        make_report(new.path)
    assert not new.interim.exists()
