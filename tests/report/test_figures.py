"""Figures show the numbers of the results, whatever the classes are called."""

import matplotlib as mpl
import numpy as np
import pytest
import synthetic_run
from synthetic_run import ALL_TESTS, ALL_VIEWS, CHECK_VIEWS, Synthetic

from blurjax.report.figures import FIGURES, FigureData, style
from blurjax.report.figures.accuracy import waterfall
from blurjax.report.figures.matrices import MOST_CLASSES_WRITTEN
from blurjax.report.figures.style import class_labels
from blurjax.runtime.files import read_npz

MOST_TRAIN, MOST_TEST = (*ALL_VIEWS, *CHECK_VIEWS), ALL_TESTS
HOSTILE = ("森林", "a $b_1$ c", "<b>\u200f", "ünï", "a name that is much too long")


def collect(path, **made_up):
    return synthetic_run.collect(path, Synthetic(**{"images": 60, "epochs": 3, **made_up}))


def draw(name, results, run=None):
    """Returns the matplotlib figure of the first point (or of the run); None where there is none."""
    gallery, flips = (read_npz(path) for path in (run.gallery, run.flips)) if run else (None, None)
    data = FigureData(results, results["points"][0], 0.95, gallery, flips)
    drawing = FIGURES[name].draw(data)
    return drawing and drawing.figure


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("figures"), seeds=3, class_names=HOSTILE)[1]


@pytest.fixture(scope="module")
def point(results):
    return results["points"][0]


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A run of all views."""
    path = tmp_path_factory.mktemp("full")
    return collect(path, seeds=3, class_names=HOSTILE, train_views=MOST_TRAIN, test_views=MOST_TEST)


@pytest.fixture(scope="module")
def full_point(full):
    return full[1]["points"][0]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_figures_of_very_many_rows_have_no_more_pixels_than_browsers_show():
    usual, tall = style.new_figure(10, 7.2), style.new_figure(10, 4 * 120 + 0.5)
    assert usual.bbox.size.tolist() == [1600, 1152]
    assert 32_000 < tall.bbox.height < 2**15


def test_labels_stay_different_however_they_are_cut():
    corn = ["Corn_(maize)___Cercospora_leaf_spot", "Corn_(maize)___Common_rust_"]
    names = [*corn, "Corn_(maize)___healthy", "Corn_(maize)___Northern_leaf_spot", "Corn"]
    assert class_labels(names) == [
        "…Cercospora_lea…",
        "…Common_rust_",
        "…healthy",
        "…Northern_leaf_…",
        "Corn",
    ]
    assert class_labels([corn[0], "Corn"]) == ["Corn_(maize)___…", "Corn"]
    # A name may be what stands for another that cannot be drawn.
    assert class_labels(["\u732b", "class 0", "same", "same"]) == [
        "class 0",
        "class 1",
        "class 2",
        "class 3",
    ]


def test_class_names_become_labels_that_the_font_can_draw():
    labels = class_labels([*HOSTILE, " \n"])
    assert labels == ["class 0", "a $b_1$ c", "<b>", "ünï", "a name that is …", "class 5"]


def test_transfer_matrix_prints_means_and_intervals(results, point):
    figure = draw("transfer_matrix", results)
    cell = point["accuracy"]["reconstruction"]["original"]
    low, high = (100 * bound for bound in cell["interval"])
    assert texts(figure.axes[0])[2] == f"{100 * cell['mean']:.1f}\n{low:.1f} – {high:.1f}"
    assert len(texts(figure.axes[0])) == 6


def test_transfer_matrix_lists_the_main_views_first_and_keeps_its_colours(full, full_point):
    # In another order, which results.json may have.
    views = {"train": MOST_TRAIN[::-1], "test": MOST_TEST[::-1]}
    figure = draw("transfer_matrix", full[1] | {"views": views})
    axes = figure.axes[0]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    columns = [label.get_text() for label in axes.get_xticklabels()]
    assert rows[:3] == columns[:3] == ["original", "reconstruction", "crossfit"]
    assert rows[-3:] == list(CHECK_VIEWS)
    cell = full_point["accuracy"]["crossfit"]["blur"]
    shown = texts(axes)[rows.index("crossfit") * len(columns) + columns.index("blur")]
    assert shown.startswith(f"{100 * cell['mean']:.1f}\n")
    # At chance, `shuffled` does not stretch the colours of the others.
    lowest, _ = axes.images[0].get_clim()
    shuffled = full_point["accuracy"]["shuffled"]["original"]["mean"]
    assert lowest > 100 * shuffled + 10


def test_confusion_prints_counts_and_shares_of_the_row(results, point):
    figure = draw("confusion", results)
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title().replace("\n", " ") for axes in panels] == [
        "trained on original, tested on original",
        "trained on reconstruction, tested on reconstruction",
        "trained on reconstruction, tested on original",
    ]
    assert "crossfit" not in point["confusion"]
    counts = np.array(point["confusion"]["reconstruction"]["original"])
    diagonal = counts[0, 0]
    assert f"{diagonal}\n{100 * diagonal / counts[0].sum():.0f}%" in texts(panels[2])
    assert len(texts(panels[2])) == np.count_nonzero(counts)


def test_many_classes_are_shown_by_colour_alone(tmp_path):
    names = tuple(f"class {k}" for k in range(MOST_CLASSES_WRITTEN + 1))
    _, collected = collect(tmp_path, seeds=1, class_names=names)
    figure = draw("confusion", collected)
    assert not any(texts(axes) for axes in figure.axes)


def test_curves_are_means_and_bands_ranges_over_trials(results, point):
    axes = draw("curves", results).axes[1]
    assert axes.get_title() == "accuracy on validation"
    values = 100 * np.array(point["history"]["classifier"]["mixed"]["validation"]["accuracy"])
    line = next(line for line in axes.lines if line.get_label() == "mixed")
    np.testing.assert_allclose(line.get_ydata(), values.mean(axis=1))
    heights = axes.collections[2].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((values.min(), values.max()))


def test_one_trial_has_no_band(tmp_path):
    _, collected = collect(tmp_path, seeds=1, epochs=1)
    assert not any(axes.collections for axes in draw("curves", collected).axes)


def test_training_is_compared_with_validation_on_reconstructions_and_on_originals(results, point):
    left, middle, right = draw("train_and_validation", results).axes
    history = point["history"]["classifier"]

    def last(view, side):
        return f"validation\n{100 * np.mean(history[view][side]['accuracy'][-1]):.1f}%"

    assert last("reconstruction", "validation") in texts(left)
    assert last("reconstruction", "validation_original") in texts(middle)
    assert last("original", "validation") in texts(right)


def test_generalisation_gap_is_drawn_with_its_intervals(full, full_point):
    left, right = draw("generalisation_gap", full[1]).axes
    gap = full_point["generalisation_gap"]["crossfit"]
    line = next(line for line in left.lines if line.get_label() == "crossfit")
    np.testing.assert_allclose(line.get_ydata(), 100 * np.array(gap["by_epoch"]["mean"]))
    heights = left.collections[2].get_paths()[0].vertices[:, 1]
    interval = 100 * np.array(gap["by_epoch"]["interval_trials"])
    assert (heights.min(), heights.max()) == pytest.approx((interval.min(), interval.max()))
    assert [line.get_label() for line in left.lines[:-1]] == [
        "original",
        "reconstruction",
        "crossfit",
        "mixed",
    ]
    others = [line.get_label() for line in right.lines[:-1]]
    assert others == ["infold", "blur", "pca", "downsample"]  # no checks


def test_few_labels_show_accuracy_cost_and_gain_with_intervals(tmp_path):
    warm = ("encoder", "encoder_scratch")
    views = {"train_views": ("original", "reconstruction", *warm), "train_examples": (20, "all")}
    _, results = collect(tmp_path, seeds=3, **views)
    figure = draw("labels", results)
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "accuracy, own view (%)",
        "cost on reconstructions (points)",
        "gain over encoder_scratch (points)",
    ]
    lines = [line.get_label() for line in figure.axes[0].lines]
    assert lines == ["original", "reconstruction", *warm]
    gains = [p["comparisons"]["gain_of_encoder"] for p in results["points"]]
    _, line = figure.axes[2].lines
    assert line.get_ydata() == pytest.approx([100 * gain["mean"] for gain in gains])
    bars = [bar[:, 1] for bar in figure.axes[2].collections[0].get_segments()]
    np.testing.assert_allclose(bars, [100 * np.array(gain["interval"]) for gain in gains])


def test_causes_lead_from_accuracy_to_accuracy(full, full_point):
    (axes,) = draw("causes", full[1]).axes
    names = [label.get_text().replace("\n", " ") for label in axes.get_xticklabels()]
    assert names == [
        "original → original",
        "information",
        "leakage",
        "reconstruction → reconstruction",
        "test view",
        "reconstruction → original",
    ]
    terms, accuracy = full_point["decomposition"], full_point["accuracy"]
    bars = [patch.get_bbox() for patch in axes.patches]
    # Each bar begins where the one before ended, and the last ends at the last accuracy.
    start = 100 * accuracy["original"]["original"]["mean"]
    for bar, name in zip(bars, ("information", "leakage", "test_view"), strict=True):
        end = start - 100 * terms[name]["mean"]
        assert sorted([bar.y0, bar.y1]) == pytest.approx(sorted([start, end]))
        # With the signs of the table: positive = cost.
        low, high = (100 * bound for bound in terms[name]["interval"])
        text = f"{100 * terms[name]['mean']:+.1f}\n{low:+.1f} to {high:+.1f}".replace("-", "−")
        assert text in texts(axes)
        start = end
    assert start == pytest.approx(100 * accuracy["reconstruction"]["original"]["mean"])


@pytest.mark.parametrize(
    ("train", "test", "names"),
    [
        (("original", "reconstruction"), ("original", "reconstruction"), 5),
        (("original", "reconstruction"), ("original",), 3),
        (("original", "reconstruction"), ("reconstruction",), 0),
        (("reconstruction",), ("original", "reconstruction"), 3),
        (("original", "mixed"), ("original",), 0),
    ],
)
def test_causes_are_drawn_as_far_as_they_are_known(tmp_path, train, test, names):
    _, collected = collect(tmp_path, seeds=1, train_views=train, test_views=test)
    assert len(waterfall(collected["points"][0]["decomposition"])) == names
    figure = draw("causes", collected)
    assert len(figure.axes[0].get_xticks()) == names if names else figure is None


def test_spectra_leave_out_the_mean_and_are_logarithmic(full, full_point):
    (axes,) = draw("spectra", full[1]).axes
    line = next(line for line in axes.lines if line.get_label() == "blur")
    np.testing.assert_allclose(line.get_ydata(), full_point["spectra"]["blur"][1:])
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_classes_are_sorted_by_how_they_change(full, full_point):
    (axes,) = draw("per_class", full[1]).axes
    lost = -100 * np.array(full_point["per_class_change"]["mean"])
    widths = [patch.get_width() for patch in axes.patches]
    np.testing.assert_allclose(widths, np.sort(lost)[::-1])
    first = class_labels(HOSTILE)[int(np.argmax(lost))]
    assert "recall lost" in axes.get_xlabel()
    assert axes.get_yticklabels()[0].get_text() == first


def test_of_many_classes_those_that_change_most_are_shown(tmp_path):
    names = tuple(f"class {k}" for k in range(40))
    _, collected = collect(tmp_path, seeds=3, images=400, class_names=names)
    point = collected["points"][0]
    (axes,) = draw("per_class", collected).axes
    widths = np.sort(np.abs([patch.get_width() for patch in axes.patches]))
    expected = np.sort(np.abs(point["per_class_change"]["mean"]))[-len(widths) :]
    assert len(widths) < len(names)
    np.testing.assert_allclose(widths, 100 * expected)


def test_sweep_draws_a_row_per_recipe_and_the_smallest_equivalent(tmp_path):
    _, collected = collect(tmp_path, seeds=3, bottlenecks=(8, 2), learning_rates=(1e-3, 1e-2))
    collected["curves"][0]["smallest_equivalent"] = 8
    top, psnr, bottom, _ = draw("sweep", collected).axes
    assert "smallest equivalent\nto original: 8 floats" in texts(top)
    assert not texts(bottom)
    line = next(line for line in bottom.lines if line.get_label() == "mixed")
    cells = [
        point["accuracy"]["mixed"]["reconstruction"]["mean"]
        for point in collected["points"][::-1]
        if point["values"]["learning_rate"] == 1e-2
    ]
    np.testing.assert_allclose(line.get_ydata(), 100 * np.array(cells))
    decibels = [collected["points"][i]["reconstruction"]["psnr"]["test"]["mean"] for i in (2, 0)]
    np.testing.assert_allclose(psnr.lines[0].get_ydata(), decibels)


def test_labels_draw_accuracy_and_cost_with_intervals_fewest_first(tmp_path):
    _, collected = collect(tmp_path, seeds=3, train_examples=("all", 16, 100))
    accuracy, cost = draw("labels", collected).axes
    points = [collected["points"][i] for i in (1, 2, 0)]  # of 1,000 images
    lines = {line.get_label(): line for line in accuracy.lines}
    assert [*lines] == ["original", "reconstruction", "mixed"]
    means = [100 * point["accuracy"]["mixed"]["reconstruction"]["mean"] for point in points]
    np.testing.assert_allclose(lines["mixed"].get_ydata(), means)
    assert (accuracy.get_xscale(), cost.get_xscale()) == ("log", "log")
    terms = [point["decomposition"]["on_reconstructions"] for point in points]
    np.testing.assert_allclose(cost.lines[1].get_xdata(), [16, 100, 1000])
    np.testing.assert_allclose(cost.lines[1].get_ydata(), [100 * t["mean"] for t in terms])
    bars = [path.vertices[:, 1] for path in cost.collections[0].get_paths()]
    np.testing.assert_allclose(bars, [100 * np.array(term["interval"]) for term in terms])


def test_labels_have_a_row_of_axes_for_each_of_the_other_values(tmp_path):
    _, collected = collect(tmp_path, seeds=1, train_examples=(16, 100), bottlenecks=(8, 2))
    titles = [ax.get_title(loc="left") for ax in draw("labels", collected).axes]
    assert titles == ["8 floats, learning rate 0.001, decay 0", "", titles[2].replace("8", "2"), ""]


def test_labels_are_not_drawn_of_one_number_and_without_cost_as_one_panel(tmp_path, results):
    assert draw("labels", results) is None
    views = {"train_views": ("original",), "test_views": ("original",)}
    _, collected = collect(tmp_path, seeds=1, train_examples=(16, 100), **views)
    assert len(draw("labels", collected).axes) == 1


def test_sweep_names_every_view_and_keeps_its_words_inside(tmp_path):
    made_up = {
        "seeds": 3,
        "bottlenecks": (2, 8, 32),
        "test_views": ("original", "reconstruction", "pca"),
    }
    _, collected = collect(tmp_path, **made_up)
    (curve,) = collected["curves"]
    for smallest in curve["bottleneck"]:
        curve["smallest_equivalent"] = smallest
        figure = draw("sweep", collected)
        figure.draw_without_rendering()
        left = figure.axes[0]
        box, around = left.texts[0].get_window_extent(), left.get_window_extent()
        assert around.x0 <= box.x0 < box.x1 <= around.x1
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [
        "original",
        "reconstruction",
        "mixed",
        "pca",
    ]  # which no classifier is trained on


def shown(axes, shape):
    return [np.asarray(image.get_array()).reshape(shape) for image in axes.images]


@pytest.mark.parametrize("channels", [1, 3])
def test_views_show_every_pixel(tmp_path, channels):
    run, collected = collect(
        tmp_path, seeds=1, shape=(8, 8, channels), test_views=("original", "blur", "reconstruction")
    )
    gallery = read_npz(run.gallery)
    original = gallery["original"]
    assert gallery["view_names"].tolist() == ["reconstruction", "blur"]
    in_view = dict(zip(["reconstruction", "blur"], gallery["views"][0], strict=True))
    for view, psnr in {"blur": 21.04, "reconstruction": None}.items():
        collected["points"][0]["quality"][view]["psnr"]["test"]["mean"] = psnr
    top, middle, difference, bottom = draw("views", collected, run).axes
    assert bottom.get_ylabel() == "blur\n21.0 dB"
    assert middle.get_ylabel() == "reconstruction"
    for axes, images in (
        (top, original),
        (middle, in_view["reconstruction"]),
        (bottom, in_view["blur"]),
    ):
        np.testing.assert_array_equal(shown(axes, original[0].shape), images)
    lost = np.abs(original[0].astype(int) - in_view["reconstruction"][0])
    factor = int(difference.get_ylabel().split("× ")[1])
    np.testing.assert_array_equal(shown(difference, lost.shape)[0], factor * lost)


def test_reconstructions_stand_under_the_originals_by_bottleneck(tmp_path):
    run, collected = collect(tmp_path, seeds=1, bottlenecks=(2, 8))
    rebuilt = read_npz(run.gallery)["views"][:, 0]
    figure = draw("reconstructions", collected, run)
    assert [axes.get_ylabel() for axes in figure.axes] == ["original", "2 floats", "8 floats"]
    np.testing.assert_array_equal(shown(figure.axes[2], rebuilt[1, 0].shape), rebuilt[1])


def test_flips_show_both_versions_and_the_count(full):
    run, collected = full
    flips = read_npz(run.flips)
    images = flips["original"][0], flips["reconstruction"][0]
    figure = draw("flips", collected, run)
    shape, first = images[0][0].shape, figure.axes[:2]
    for axes, expected in zip(first, images, strict=True):
        np.testing.assert_array_equal(shown(axes, shape), expected[: len(axes.images)])
    label = class_labels(HOSTILE, longest=11)[flips["label"][0, 0]]
    found, trials = collected["points"][0]["flips"], collected["points"][0]["trials"]
    assert texts(first[0])[0] == f"truth: {label}\nchanges in {found['count'][0]} of {len(trials)}"
    for view, axes in zip(("original", "reconstruction"), first, strict=True):
        arrays = read_npz(run.predictions(view, view))
        answers = arrays["prediction"][:, found["index"][0]].tolist()
        answer = min({*answers}, key=lambda k: (-answers.count(k), k))
        assert (found[f"{view}_answer"][0], found[f"{view}_votes"][0]) == (
            answer,
            answers.count(answer),
        )
        name = class_labels(HOSTILE, longest=11)[answer]
        assert f"{name} ({answers.count(answer)} of {len(trials)})" in texts(axes)


def test_equal_figures_give_equal_bytes_whatever_the_users_style(results):
    first = style.png(draw("transfer_matrix", results))
    with mpl.rc_context({"font.size": 30, "figure.dpi": 20}):
        assert style.png(draw("transfer_matrix", results)) == first
    assert first.startswith(b"\x89PNG")
    assert b"Software" not in first
