"""A view that a user registers gets its place in results, figures and page from its row in the table alone."""

import pytest
from synthetic_run import Synthetic, write_run

from blurjax.config.view_table import VIEWS, ViewSpec, register_view
from blurjax.report import make_report
from blurjax.report.figures import FIGURES, FigureData, style
from blurjax.report.view_display import line_style
from blurjax.runtime.files import read_json

EXPLANATION = "The image in four shades of grey."


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setattr(VIEWS, "_entries", dict(VIEWS._entries))
    monkeypatch.setattr(style, "png", lambda figure: b"a figure")
    for name in ("posterised", "solarised"):
        register_view(
            ViewSpec(name, lambda parameters, images, i: images, EXPLANATION, compared=True)
        )
    views = ("original", "reconstruction", "posterised")
    run, _ = write_run(
        tmp_path / "run",
        Synthetic(
            seeds=3,
            class_names=("a", "b"),
            images=40,
            epochs=2,
            train_views=views,
            test_views=views,
        ),
    )
    make_report(run.path)
    return read_json(run.results), run.report.read_text(encoding="utf-8")


def test_a_registered_view_is_analysed_and_shown_without_an_edit(made):
    results, html = made
    (point,) = results["points"]
    comparison = point["comparisons"]["reconstruction_against_posterised"]
    definition = "acc(posterised→posterised) - acc(reconstruction→reconstruction)"
    assert comparison["definition"] == definition
    assert comparison["verdict"] is not None
    assert len(point["quality"]["posterised"]["psnr"]["test"]["per_trial"]) == 1  # no code: one row
    assert "posterised" in point["history"]["classifier"]
    assert results["curves"][0]["accuracy"]["posterised"]["test_view"] == "posterised"
    assert f"<dt>posterised</dt><dd>{EXPLANATION}" in html
    assert EXPLANATION in html[html.index("reconstruction against posterised") :]
    for name in ("other_curves", "spectra"):
        drawing = FIGURES[name].draw(FigureData(results, point, 0.95))
        labels = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
        assert "posterised" in labels


def test_views_without_a_colour_get_lines_of_their_own(made):
    styles = [tuple(line_style(view).values()) for view in VIEWS]
    assert len(set(styles)) == len(VIEWS)
