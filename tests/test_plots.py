"""Figures show the numbers that they are given, whatever the classes are called."""

import matplotlib as mpl
import numpy as np
import pytest
from synthetic_run import Synthetic, write_run

from blurjax import plots, results
from blurjax.plots.style import class_labels
from blurjax.run_directory import read_npz

VIEWS = {"train": ["original", "reconstruction", "mixed"], "test": ["original", "reconstruction"]}
HOSTILE = ("森林", "a $b_1$ c", "<b>\u200f", "ünï", "a name that is much too long")


def collect(path, **made_up):
    run, config = write_run(path / "run", Synthetic(**{"images": 60, "epochs": 3, **made_up}))
    return run, results.collect(run, config)


@pytest.fixture(scope="module")
def point(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("plots"), seeds=3, class_names=HOSTILE)[1]["points"][0]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_class_names_become_labels_that_the_font_can_draw():
    labels = class_labels([*HOSTILE, " \n"])
    assert labels == ["class 0", "a $b_1$ c", "<b>", "ünï", "a name that is …", "class 5"]


def test_transfer_matrix_prints_means_and_intervals(point):
    figure = plots.transfer_matrix(point, VIEWS)
    cell = point["accuracy"]["reconstruction"]["original"]
    low, high = (100 * bound for bound in cell["interval"])
    assert texts(figure.axes[0])[2] == f"{100 * cell['mean']:.1f}\n{low:.1f} – {high:.1f}"
    assert len(texts(figure.axes[0])) == 6


def test_confusion_prints_counts_and_shares_of_the_row(point):
    figure = plots.confusion(point, HOSTILE)
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title().replace("\n", " ") for axes in panels] == [
        "trained on original, tested on original",
        "trained on reconstruction, tested on reconstruction",
        "trained on reconstruction, tested on original",
    ]
    counts = np.array(point["confusion"]["reconstruction"]["original"])
    diagonal = counts[0, 0]
    assert f"{diagonal}\n{100 * diagonal / counts[0].sum():.0f}%" in texts(panels[2])
    assert len(texts(panels[2])) == np.count_nonzero(counts)


def test_many_classes_are_shown_by_colour_alone(tmp_path):
    names = tuple(f"class {k}" for k in range(plots.MOST_CLASSES_WRITTEN + 1))
    _, collected = collect(tmp_path, seeds=1, class_names=names)
    figure = plots.confusion(collected["points"][0], names)
    assert not any(texts(axes) for axes in figure.axes)


def test_curves_are_means_and_bands_ranges_over_trials(point):
    axes = plots.curves(point).axes[1]
    assert axes.get_title() == "accuracy on validation"
    values = 100 * np.array(point["history"]["classifier"]["mixed"]["validation"]["accuracy"])
    line = next(line for line in axes.lines if line.get_label() == "mixed")
    np.testing.assert_allclose(line.get_ydata(), values.mean(axis=1))
    heights = axes.collections[2].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((values.min(), values.max()))


def test_one_trial_has_no_band(tmp_path):
    _, collected = collect(tmp_path, seeds=1, epochs=1)
    assert not any(axes.collections for axes in plots.curves(collected["points"][0]).axes)


def test_first_experiment_compares_the_two_validations(point):
    left, middle, right = plots.first_experiment(point).axes
    history = point["history"]["classifier"]

    def last(view, side):
        return f"validation\n{100 * np.mean(history[view][side]['accuracy'][-1]):.1f}%"

    assert last("reconstruction", "validation") in texts(left)
    assert last("reconstruction", "validation_original") in texts(middle)
    assert last("original", "validation") in texts(right)


def test_sweep_draws_accuracy_against_floats(tmp_path):
    _, collected = collect(tmp_path, seeds=3, bottlenecks=(8, 2), learning_rates=(1e-3, 1e-2))
    left, right = plots.sweep(collected["points"], VIEWS).axes
    assert len(left.lines) == 2 * 2  # two views tested on themselves, two learning rates
    np.testing.assert_array_equal(left.lines[0].get_xdata(), [2, 8])
    psnr = [collected["points"][i]["reconstruction"]["psnr"]["test"]["mean"] for i in (2, 0)]
    np.testing.assert_allclose(right.lines[0].get_ydata(), psnr)


@pytest.mark.parametrize("channels", [1, 3])
def test_reconstructions_show_every_pixel(tmp_path, channels):
    run, collected = collect(tmp_path, seeds=1, shape=(8, 8, channels))
    gallery = read_npz(run / "predictions" / "gallery.npz")
    original, painted = gallery["original"], gallery["reconstruction"]
    names = collected["dataset"]["class_names"]
    figure = plots.reconstructions(original, painted, [8], gallery["label"], names)
    top, middle, bottom = figure.axes
    for axes, images in ((top, original), (middle, painted[0])):
        assert len(axes.images) == len(images)
        for shown, image in zip(axes.images, images, strict=True):
            np.testing.assert_array_equal(np.asarray(shown.get_array()).reshape(image.shape), image)
    difference = np.abs(original[0].astype(int) - painted[0, 0])
    factor = int(bottom.get_ylabel().split("× ")[1])
    shown = np.asarray(bottom.images[0].get_array()).reshape(difference.shape)
    np.testing.assert_array_equal(shown, factor * difference)


def test_equal_figures_give_equal_bytes_whatever_the_users_style(point):
    first = plots.png(plots.transfer_matrix(point, VIEWS))
    with mpl.rc_context({"font.size": 30, "figure.dpi": 20}):
        assert plots.png(plots.transfer_matrix(point, VIEWS)) == first
    assert first.startswith(b"\x89PNG")
    assert b"Software" not in first
