"""The page: the answer in words, everything inside one file, nothing from data taken for HTML."""

import copy
import re

import pytest
from synthetic_run import SKILL, Synthetic, write_run

from blurjax import answer, plots, report
from blurjax.errors import UserError
from blurjax.plots import style
from blurjax.run_directory import RunDirectory, read_json

HOSTILE = ('<b>"bold"</b>', "it's & <script>alert(1)</script>", "森林\u200fשלום")
SMALL = Synthetic(
    seeds=4, class_names=HOSTILE, images=120, epochs=2, failed_classifier=(3, "mixed")
)


def made(path, made_up):
    run, _ = write_run(path, made_up)
    report.make_report(run.path)
    return run, read_json(run / "results.json"), (run / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def coarse_figures():
    """Small files: what is tested here is the page around them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "DPI", 30)
        yield


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return made(tmp_path_factory.mktemp("report") / "run", SMALL)


@pytest.fixture
def no_figures(monkeypatch):
    """Draws without making files of it, which takes the most time."""
    monkeypatch.setattr(plots, "png", lambda figure: b"a figure")


def text_of(html):
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_page_opens_with_the_computed_answer(small):
    _, results, html = small
    point = results["points"][0]
    accuracy, cost = point["accuracy"], point["comparisons"]["on_reconstructions"]
    opening = html[html.index('<section class="answer">') : html.index("</section>")]
    for number in (
        f"{100 * accuracy['original']['original']['mean']:.1f}%",
        f"{100 * accuracy['reconstruction']['reconstruction']['mean']:.1f}%",
        f"PSNR {point['reconstruction']['psnr']['test']['mean']:.1f} dB",
        f"{100 * cost['interval'][0]:+.1f} to {100 * cost['interval'][1]:+.1f}".replace("-", "−"),
        "margin of ±1 point: ",
        "one point is 1.2 images",
        "would reach 33.3%",
    ):
        assert number in opening
    assert "Caution" not in opening
    assert "1 model was frozen" in text_of(html)


def test_tables_hold_the_numbers(small):
    _, results, html = small
    point, page = results["points"][0], text_of(html)
    for row in point["accuracy"].values():
        for cell in row.values():
            assert f"{100 * cell['mean']:.1f}% {answer.span(cell['interval'])}" in page
    assert f"{point['ece']['mixed']['original']['mean']:.3f}" in page
    assert f"{point['reconstruction']['ssim']['validation']['mean']:.3f}" in page
    assert f"{100 * point['per_class']['mixed']['original']['recall'][1]:.1f}" in page
    assert "classifier mixed 3 17" in page  # the failure


def test_nothing_from_data_is_taken_for_html(small):
    _, _, html = small
    assert "&lt;b&gt;&#34;bold&#34;&lt;/b&gt;" in html
    assert "it&#39;s &amp; &lt;script&gt;" in html
    assert "<bdi>森林\u200fשלום</bdi>" in html
    assert "<b>" not in html
    assert "<script" not in html


def test_page_needs_and_may_load_nothing(small):
    _, _, html = small
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in html
    assert not re.search(r"https?://|url\(|@import", html)
    sources = re.findall(r'\bsrc="([^"]*)"', html)
    assert len(sources) == 6
    assert all(s.startswith("data:image/png;base64,") for s in sources)
    assert set(re.findall(r'\bhref="([^"]*)"', html)) == {"#failures"}
    assert all(re.findall(r'<img[^>]* alt="([^"]*)"', html))


def test_equal_runs_give_equal_bytes(small, tmp_path):
    run, _, html = small
    again, _, same = made(tmp_path / "elsewhere", SMALL)
    assert same == html
    figures = sorted(path.name for path in (run / "figures").iterdir())
    assert figures == [
        "autoencoder.png",
        "confusion.png",
        "curves.png",
        "first_experiment.png",
        "reconstructions.png",
        "transfer_matrix.png",
    ]
    for name in figures:
        assert (run / "figures" / name).read_bytes() == (again / "figures" / name).read_bytes()


def test_several_points_get_an_overview_and_a_section_each(tmp_path, no_figures):
    # Trained on reconstructions alone the page has less to draw.
    run, _ = write_run(
        tmp_path / "run",
        Synthetic(
            seeds=3,
            class_names=("a", "b"),
            images=40,
            epochs=1,
            bottlenecks=(2, 8),
            train_views=("reconstruction",),
        ),
    )
    (run / "figures").mkdir()
    (run / "figures" / "curves.png").touch()
    (run / "figures" / "mine.png").touch()
    report.make_report(run.path)
    html = (run / "report.html").read_text(encoding="utf-8")
    assert re.findall(r"<summary>(Point .*?)</summary>", html) == [
        "Point 1: 2 floats",
        "Point 2: 8 floats",
    ]
    names = {path.name for path in (run / "figures").iterdir()}
    assert {"sweep.png", "reconstructions.png", "point-2-curves.png", "mine.png"} <= names
    assert "curves.png" not in names  # of a report with one point


def test_no_direction_is_claimed_where_the_interval_contains_zero(small):
    _, results, _ = small
    point = copy.deepcopy(results["points"][0])
    cost = point["comparisons"]["on_reconstructions"]
    cost |= {"mean": 0.012, "interval": [-0.004, 0.028], "verdict": "undecided", "sentence": "So."}
    sentence = answer.of_point(point, 0.95)
    assert "+1.2 points and its 95% interval, −0.4 to +2.8, contains 0" in sentence
    assert not re.search(r"\b(costs|gains|worse|better|more|less)\b", sentence)
    cost |= {"mean": -0.012, "interval": [-0.02, -0.004]}
    assert "gains 1.2 points of accuracy (95% interval of the cost: −2.0 to −0.4)" in (
        answer.of_point(point, 0.95)
    )


def test_first_experiment_is_judged_by_its_gaps(small):
    _, results, _ = small
    point = copy.deepcopy(results["points"][0])
    history = point["history"]["classifier"]["reconstruction"]
    history["train"]["accuracy"] = [[0.5, 0.5, 0.5], [0.99, 0.99, 0.99]]
    history["validation"]["accuracy"] = [[0.48, 0.48, 0.48], [0.92, 0.91, 0.93]]
    history["validation_original"]["accuracy"] = [[0.47, 0.47, 0.47], [0.85, 0.86, 0.86]]
    sentence = answer.first_experiment(point, 0.95)
    assert "from +2.0 points after the first epoch to +7.0 after the last" in sentence
    assert "from +3.0 to +13.3 when validated on originals" in sentence
    assert "more of a gap if it validated on originals" in sentence
    history["validation_original"]["accuracy"][-1] = [0.93, 0.91, 0.92]
    assert "is not what this run can tell apart" in answer.first_experiment(point, 0.95)
    for side in ("train", "validation", "validation_original"):
        history[side]["accuracy"] = [row[:1] for row in history[side]["accuracy"]]
    assert "too few trials" in answer.first_experiment(point, 0.95)


def test_fewer_than_three_trials_are_a_caution(small):
    _, results, _ = small
    results = copy.deepcopy(results)
    results["points"][0]["trials"] = [0]
    assert answer.answer(results, 0.95)[-1].startswith("Caution: with 1 trial nothing is known")
    results["points"][0]["trials"] = []
    assert answer.answer(results, 0.95)[0].startswith("Every trial was frozen")


def test_smallest_equivalent_bottleneck_is_named(small):
    _, results, _ = small
    verdicts = {2: "worse", 4: "equivalent", 8: "undecided", 16: "equivalent"}
    points = []
    for bottleneck, verdict in verdicts.items():
        point = copy.deepcopy(results["points"][0])
        point["values"]["bottleneck"] = bottleneck
        point["comparisons"]["on_reconstructions"]["verdict"] = verdict
        points.append(point)
    opening = answer.answer(results | {"points": points}, 0.95)[0]
    assert "shown to be equivalent to the original is 16 floats" in opening
    assert re.search(r"equivalent at 4 floats \(\S+\), 16 floats", opening)


def test_a_run_on_originals_alone_reports_its_accuracy(tmp_path, no_figures):
    made_up = Synthetic(
        seeds=1,
        images=40,
        class_names=("a", "b"),
        train_views=("original",),
        test_views=("original",),
        skill=((("original", "original"), SKILL["original", "original"]),),
    )
    _, results, html = made(tmp_path / "run", made_up)
    mean = results["points"][0]["accuracy"]["original"]["original"]["mean"]
    assert f"Mean accuracy: {100 * mean:.1f}% trained on original, tested on original." in html


def test_what_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a run of blurjax"):
        report.make_report(tmp_path)
    run = RunDirectory(tmp_path / "new")
    run.create()
    with pytest.raises(UserError):
        report.make_report(run.path)
