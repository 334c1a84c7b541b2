"""The page: the answer in sentences, everything inside one file, nothing from data taken for HTML."""

import copy
import csv
import io
import re

import numpy as np
import pytest
from synthetic_run import ALL_TESTS, ALL_VIEWS, CHECK_VIEWS, OWN, Synthetic, write_run

from blurjax.analysis.formatting import count, signed, signed_span, span
from blurjax.report import make_report
from blurjax.report.figures import FIGURES, style
from blurjax.report.tables import escape, result_tables
from blurjax.runtime.errors import UserError
from blurjax.runtime.files import read_json, read_npz, write_npz
from blurjax.runtime.run_directory import RunDirectory

HOSTILE = ('<b>"bold"</b>', "it's & <script>alert(1)</script>", "森林\u200fשלום")
SMALL = Synthetic(
    seeds=4, class_names=HOSTILE, images=120, epochs=2, failed_classifier=(3, "mixed")
)


def made(path, made_up):
    run, _ = write_run(path, made_up)
    make_report(run.path)
    return run, read_json(run.results), run.report.read_text(encoding="utf-8")


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
    monkeypatch.setattr(style, "png", lambda figure: b"a figure")


def text_of(html):
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_page_opens_with_the_computed_answer(small):
    _, results, html = small
    point = results["points"][0]
    accuracy, cost = point["accuracy"], point["decomposition"]["on_reconstructions"]
    opening = html[html.index('<section class="answer">') : html.index("</section>")]
    for number in (
        f"{100 * accuracy['original']['original']['mean']:.1f}%",
        f"{100 * accuracy['reconstruction']['reconstruction']['mean']:.1f}%",
        f"{100 * cost['interval'][0]:+.1f} to {100 * cost['interval'][1]:+.1f}".replace("-", "−"),
        "judged against a margin of ±1 point",
        f"{point['reconstruction']['psnr']['test']['mean']:.1f} dB",
        "120 images; 1 point = 1.2 images",
        "33.3% (the most frequent class)",
    ):
        assert number in opening
    assert opening.index("Worse: ") < opening.index("dB")
    assert opening.count("Caution: ") == 1  # copies of images in several splits
    assert "1 model was frozen" in text_of(html)


def test_tables_hold_the_numbers(small):
    _, results, html = small
    point, page = results["points"][0], text_of(html)
    for row in point["accuracy"].values():
        for cell in row.values():
            assert f"{100 * cell['mean']:.1f}% {span(cell['interval'])}" in page
    assert f"{point['ece']['mixed']['original']['mean']:.3f}" in page
    assert f"{point['quality']['reconstruction']['ssim']['test']['mean']:.3f}" in page
    assert f"{100 * point['per_class']['reconstruction']['original']['recall'][1]:.1f}" in page
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
    assert len(sources) == 11
    assert all(s.startswith("data:image/png;base64,") for s in sources)
    assert all(link.startswith("#") for link in re.findall(r'\bhref="([^"]*)"', html))
    assert all(re.findall(r'<img[^>]* alt="([^"]*)"', html))


def test_every_link_leads_somewhere_and_every_table_and_figure_has_one(small):
    _, _, html = small
    anchors = re.findall(r'\bid="([^"]*)"', html)
    assert len(anchors) == len(set(anchors))
    assert {link[1:] for link in re.findall(r'\bhref="([^"]*)"', html)} <= {*anchors}
    for words in re.findall(r"<(?:caption|figcaption)>(.*?)</(?:caption|figcaption)>", html, re.S):
        assert '<a class="how" href="#' in words


def test_equal_runs_give_equal_bytes(small, tmp_path):
    run, _, html = small
    again, _, same = made(tmp_path / "elsewhere", SMALL)
    assert same == html
    written = sorted(path.name for path in run.figures.iterdir())
    assert written == [
        "autoencoder.png",
        "causes.png",
        "confusion.png",
        "curves.png",
        "flips.png",
        "generalisation_gap.png",
        "per_class.png",
        "spectra.png",
        "train_and_validation.png",
        "transfer_matrix.png",
        "views.png",
    ]
    for name in [f"figures/{name}" for name in written] + ["tables/causes.tex", "results.json"]:
        assert (run.path / name).read_bytes() == (again.path / name).read_bytes()


def test_a_run_with_everything_shows_all_of_it(tmp_path, no_figures):
    made_up = Synthetic(
        seeds=3,
        class_names=HOSTILE,
        images=60,
        epochs=2,
        train_views=(*ALL_VIEWS, "spectrum", *CHECK_VIEWS),
        test_views=(*ALL_TESTS, "spectrum"),
    )
    run, results, html = made(tmp_path / "run", made_up)
    page, (point,) = text_of(html), results["points"]
    for name, entry in (point["decomposition"] | point["comparisons"]).items():
        if name == "identity":
            assert "identity 0 exactly +0.0 to +0.0" in page
        else:
            numbers = f"{signed(entry['mean'])} {signed_span(entry['interval'])}"
            assert f"{name.replace('_', ' ')} {numbers}" in page
    folded = html[html.index("All 12 train views on all 7 test views") :]
    assert "tested on spectrum" not in html[: html.index("All 12 train views on all 7 test views")]
    assert "tested on spectrum" in folded
    assert "2 groups of identical images (4 images), 1 across splits, 1 with conflicting" in page
    assert "&lt;b&gt;&#34;bold&#34;&lt;/b&gt;/3.jpg</bdi> (train, <bdi>" in html
    assert f"{100 * point['probe']['mlp']['mean']:.1f}%" in page
    psnr = point["per_class_psnr"]
    assert " ".join(f"{psnr[view][0]:.1f}" for view in psnr) in page[page.index("PSNR by class") :]
    assert "standard deviation of" in page
    names = {path.name for path in run.figures.iterdir()}
    of_runs = {name for name, spec in FIGURES.items() if spec.per != "comparison"}
    assert names == {f"{name}.png" for name in of_runs} - {
        "sweep.png",
        "reconstructions.png",
        "labels.png",
    }


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (("original", "reconstruction"), ("original", "reconstruction")),
        (("original", "reconstruction"), ("original",)),
        (("original", "pca"), ("pca",)),
        (("shuffled", "identity"), ("original",)),
        (("infold", "crossfit"), ("crossfit",)),
    ],
)
@pytest.mark.parametrize("seeds", [1, 2])
def test_a_page_of_some_views_and_few_trials(tmp_path, no_figures, train, test, seeds):
    made_up = Synthetic(
        seeds=seeds, class_names=("a", "b"), images=40, epochs=1, train_views=train, test_views=test
    )
    run, results, html = made(tmp_path / "run", made_up)
    page = text_of(html)
    mean = results["points"][0]["accuracy"][train[0]][test[0]]["mean"]
    assert f"{100 * mean:.1f}%" in page
    assert "Caution: with" in page
    assert f", {count(seeds, 'trial')}; accuracy in percent" in (
        run.tables / "accuracy.tex"
    ).read_text(encoding="utf-8")
    assert not re.search(r"\b(worse|better) (acc|–)", page)  # no verdict from few trials


def test_a_distortion_that_no_blur_reaches_is_said(tmp_path, no_figures):
    made_up = Synthetic(
        seeds=3, class_names=("a", "b"), images=40, epochs=1, test_views=("original", "blur")
    )
    run, _ = write_run(tmp_path / "run", made_up)
    fitted = dict(read_npz(run.fitted_views))
    write_npz(run.fitted_views, **fitted | {"reachable": np.array([True, False, True])})
    make_report(run.path)
    page = text_of(run.report.read_text(encoding="utf-8"))
    assert f"standard deviation of {fitted['sigma'].mean():.2f} pixels; in 1 of 3 trials no" in page


def test_what_compressed_views_take_is_shown(tmp_path, no_figures):
    views = ("original", "reconstruction", "quantised", "jpeg", "webp")
    made_up = Synthetic(
        seeds=3,
        class_names=("a", "b"),
        images=40,
        epochs=1,
        train_views=views[:4],
        test_views=views,
    )
    _, results, html = made(tmp_path / "run", made_up)
    (point,), page = results["points"], text_of(html)
    psnr = {view: f"{point['quality'][view]['psnr']['test']['mean']:.2f}" for view in views[2:]}
    own = {
        view: f"{100 * point['accuracy'][view][view]['mean']:.1f}% {span(point['accuracy'][view][view]['interval'])}"
        for view in ("quantised", "jpeg")
    }
    # 8x8 pixels; codecs of 300, 305 and 310 bytes at qualities 10, 11 and 12, the first of them not matched.
    assert f"quantised 8 1.00 – {psnr['quantised']} {own['quantised']}" in page
    assert f"jpeg 305 38.12 11.0 {psnr['jpeg']} {own['jpeg']}" in page
    assert f"webp 305 38.12 11.0 {psnr['webp']} –" in page
    assert "The code has 8 floats." in page
    assert "In 1 of 3 trials jpeg distorts less than the autoencoder at its worst quality" in page
    assert "reconstruction against jpeg" in page


def test_a_run_that_all_trials_left_has_a_page(tmp_path, no_figures):
    made_up = Synthetic(
        seeds=1, class_names=("a", "b"), images=40, epochs=1, failed_classifier=(0, "original")
    )
    _, _, html = made(tmp_path / "run", made_up)
    assert "Every trial was frozen" in html


def test_tuned_rates_and_analyses_are_shown(tmp_path, no_figures):
    made_up = Synthetic(
        seeds=3, class_names=("a", "b"), images=40, epochs=1, learning_rates=(1e-3, 1e-2)
    )
    run, results, html = made(tmp_path / "run", made_up)
    (tuned,) = results["tuned"]
    page = text_of(html)
    assert f"3 trials: original {tuned['learning_rate']['original']:g}, reconstruction " in page
    assert signed_span(tuned["decomposition"]["test_view"]["interval"]) in page
    analysis = results["analyses"][0]["points"][1]
    shown = f"1, point 2 3 {signed(analysis['mean'])} "
    assert shown + signed_span(analysis["interval"]) in page
    make_report(run.path)  # again, with the same trials
    assert read_json(run.results) == results


def test_tables_are_read_back(small):
    run, results, _ = small
    (point,) = results["points"]
    with (run.tables / "accuracy.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["train_view"], row["test_view"]): row for row in csv.DictReader(file)}
    assert len(rows) == 3 * 2
    cell = point["accuracy"]["mixed"]["original"]
    row = rows["mixed", "original"]
    assert float(row["mean"]) == cell["mean"]
    assert [float(row["low"]), float(row["high"])] == cell["interval"]
    assert (row["bottleneck"], row["trials"]) == ("8", "3")
    with (run.tables / "causes.csv").open(encoding="utf-8", newline="") as file:
        causes = {row["name"]: row for row in csv.DictReader(file)}
    assert set(causes) == {"on_reconstructions", "on_originals", "test_view"}
    total = point["decomposition"]["on_originals"]
    assert float(causes["on_originals"]["p"]) == total["p"]
    assert causes["on_originals"]["verdict"] == total["verdict"]
    matrix = (run.tables / "accuracy.tex").read_text(encoding="utf-8")
    low, high = (100 * bound for bound in cell["interval"])
    assert f"{100 * cell['mean']:.1f} ({low:.1f} to {high:.1f})" in matrix
    assert matrix.count(r"\begin{tabular}{lll}") == matrix.count(r"\end{tabular}") == 1
    terms = (run.tables / "causes.tex").read_text(encoding="utf-8")
    assert r"95\% interval" in terms
    assert r"acc(original$\rightarrow$original)" in terms


def test_what_means_something_in_tex_is_escaped():
    assert escape("a_b & 5% of #1 \\$~^\n{x}") == (
        r"a\_b \& 5\% of \#1 \textbackslash{}\$\textasciitilde{}\textasciicircum{} \{x\}"
    )


def test_things_are_counted_in_whole_numbers():
    assert [count(n, "image") for n in (0, 1, 1_234_567)] == [
        "0 images",
        "1 image",
        "1,234,567 images",
    ]


def test_csv_leaves_empty_what_is_not_there(small):
    _, results, _ = small
    results = copy.deepcopy(results)
    results["points"][0]["decomposition"]["test_view"] |= {"p": None, "interval_trials": None}
    rows = csv.DictReader(io.StringIO(result_tables(results, "95%")["causes.csv"].decode()))
    (row,) = [row for row in rows if row["name"] == "test_view"]
    assert (row["p"], row["low_trials"], row["high_trials"]) == ("", "", "")


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
    run.figures.mkdir()
    (run.figures / "curves.png").touch()
    (run.figures / "mine.png").touch()
    make_report(run.path)
    html = run.report.read_text(encoding="utf-8")
    assert re.findall(r"<summary>(Point .*?)</summary>", html) == [
        "Point 1: 2 floats",
        "Point 2: 8 floats",
    ]
    names = {path.name for path in run.figures.iterdir()}
    assert {"sweep.png", "reconstructions.png", "point-2-curves.png", "mine.png"} <= names
    assert "point-2-causes.png" in names
    assert "curves.png" not in names  # of a report with one point


def test_few_labels_are_shown_and_explained(tmp_path, no_figures):
    made_up = Synthetic(
        seeds=3, class_names=("a", "b"), images=40, epochs=1, train_examples=(100, "all"),
        learning_rates=(1e-3, 1e-2),
    )  # fmt: skip
    run, _, html = made(tmp_path / "run", made_up)
    page = text_of(html)
    assert "Point 1: learning rate 0.001 and 100 labelled images" in page
    assert "Each seed draws its own" in page
    assert page.count("train: its labelled images") == page.count("train: a fixed subset") == 2
    assert page.count("trained with all labels of the train split") == 2
    assert "8 floats, weight decay 0, 100 labelled images, 3 trials" in page
    assert (run.figures / "labels.png").exists()
    with (run.tables / "accuracy.csv").open(encoding="utf-8", newline="") as file:
        assert {row["train_examples"] for row in csv.DictReader(file)} == {"100", ""}
    assert "weight decay 0, 100 labelled images, 3 trials; accuracy" in (
        run.tables / "accuracy.tex"
    ).read_text(encoding="utf-8")


def test_a_run_on_originals_alone_reports_its_accuracy(tmp_path, no_figures):
    made_up = Synthetic(
        seeds=1,
        images=40,
        class_names=("a", "b"),
        train_views=("original",),
        test_views=("original",),
        skill=((("original", "original"), OWN["original"]),),
    )
    _, results, html = made(tmp_path / "run", made_up)
    mean = results["points"][0]["accuracy"]["original"]["original"]["mean"]
    assert f"Mean accuracy: {100 * mean:.1f}% trained on original, tested on original." in html


def test_what_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a run of blurjax"):
        make_report(tmp_path)
    run = RunDirectory(tmp_path / "new")
    run.create()
    with pytest.raises(UserError):
        make_report(run.path)


def test_the_page_names_only_what_is_there(small, tmp_path, no_figures):
    _, _, html = small
    page = text_of(html)
    assert page.index("1,000 training, 100 validation and 120 test images of 8") > 0
    assert "Images of 8 × 8 pixels are too small to tell near duplicates" in page
    assert "Compressed views" not in page
    assert "Tuned learning rates" not in page
    assert "Views that are made to distort" not in page
    assert "cannot be drawn" in page  # the name in Chinese and Hebrew
    assert "The first row is the total" not in page
    assert "The first two rows are totals, each with its own p." in page
    views = ("original", "reconstruction", "blur", "reseeded")
    tests = ("reconstruction", "original", "blur")
    large = Synthetic(seeds=3, images=60, shape=(16, 16, 3), train_views=views, test_views=tests)
    page = text_of(made(tmp_path / "large", large)[2])
    assert "Views that are made to distort as much as the autoencoder (blur) do" in page
    assert "These should find nothing: reseeded 0 within its interval." in page
    assert "too small to tell" not in page
    assert "cannot be drawn" not in page
