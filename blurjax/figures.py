"""Which figures a run gets, with the words under them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from blurjax import answer, plots
from blurjax.run_directory import RunDirectory, read_npz

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = (
    "reconstructions",
    "curves",
    "first_experiment",
    "confusion",
    "transfer_matrix",
    "autoencoder",
    "sweep",
)

Results = Mapping[str, Any]
Point = Mapping[str, Any]
Gallery = Mapping[str, np.ndarray]


class Drawn(NamedTuple):
    """A figure as the page shows it."""

    name: str
    """The file's, without .png."""
    title: str
    caption: str
    alternative: str
    """For those who cannot see it."""
    png: bytes
    width: int
    """In CSS pixels, at which its text is as large as the page's."""


def draw(run: RunDirectory, results: Results, confidence: float) -> dict[int | None, list[Drawn]]:
    """All figures of a run, by number of the point they belong to; None: to the whole run.

    With several points the names of a point's figures begin with `point-1-` and so on.
    """
    path = run / "predictions" / "gallery.npz"
    gallery = read_npz(path) if path.exists() else None
    points = results["points"]
    drawn: dict[int | None, list[Drawn]] = {None: list(_of_run(results, gallery))}
    for number, point in enumerate(points):
        prefix = f"point-{number + 1}-" if len(points) > 1 else ""
        figures = _of_point(results, point, gallery, confidence) if point["trials"] else ()
        drawn[number] = [figure._replace(name=prefix + figure.name) for figure in figures]
    return drawn


def _of_run(results: Results, gallery: Gallery | None) -> Iterator[Drawn]:
    """What compares several bottlenecks."""
    points = [point for point in results["points"] if point["trials"]]
    if len({point["values"]["bottleneck"] for point in points}) < 2:
        return
    yield _drawn(
        "sweep",
        "Accuracy against floats kept",
        "Left: accuracy of each view's classifiers on their own view, with intervals. Right: how "
        "well the test images are reconstructed; bars reach from the lowest to the highest trial.",
        "Accuracy and PSNR against the bottleneck.",
        plots.sweep(points, results["views"]),
    )
    if gallery is not None:
        yield _reconstructions(results, gallery, range(len(gallery["bottleneck"])))


def _of_point(
    results: Results, point: Point, gallery: Gallery | None, confidence: float
) -> Iterator[Drawn]:
    history = point["history"]
    if gallery is not None:
        rows = np.flatnonzero(gallery["bottleneck"] == point["values"]["bottleneck"])
        yield _reconstructions(results, gallery, rows[:1].tolist())
    if "reconstruction" in history["classifier"]:
        yield _drawn(
            "first_experiment",
            "The first experiment, redone",
            answer.first_experiment(point, confidence),
            "Train and validation accuracy by epoch, validated on reconstructions and on originals.",
            plots.first_experiment(point),
        )
    yield _drawn(
        "curves",
        "Learning curves",
        "Each classifier is measured on its own view after every epoch. Lines are means over "
        "trials, bands reach from the lowest trial to the highest.",
        "Accuracy and loss on train and validation by epoch, one colour per train view.",
        plots.curves(point),
    )
    yield _drawn(
        "transfer_matrix",
        "Accuracy by train view and test view",
        f"Mean accuracy on the test set in percent, and its {100 * confidence:g}% interval.",
        "Matrix of accuracies; the same numbers are in the table above.",
        plots.transfer_matrix(point, results["views"]),
    )
    yield _drawn(
        "confusion",
        "Confusion",
        _about_confusion(point, results["dataset"]["class_names"]),
        "Confusion matrices: rows are true classes, columns predicted ones.",
        plots.confusion(point, results["dataset"]["class_names"]),
    )
    if history["autoencoder"]["epoch"]:
        yield _drawn(
            "autoencoder",
            "The autoencoder's learning curve",
            "Mean squared error of pixels in [0, 1], before rounding to 8 bits.",
            "The autoencoder's loss on train and validation by epoch.",
            plots.autoencoder(point),
        )


def _about_confusion(point: Point, class_names: Sequence[str]) -> str:
    trials = len(point["trials"])
    if len(class_names) > plots.MOST_CLASSES_WRITTEN:
        return (
            "Share of each true class that is predicted as each class; the colour follows the "
            "square root, so that rare mistakes can be seen. Classes in the order of the table below."
        )
    of_trials = f", summed over {trials} trials" if trials > 1 else ""
    return (
        f"Number of test images{of_trials}, and share of the true class; empty where there are none. "
        "A class whose name cannot be drawn is given by its number in the table below."
    )


def _reconstructions(results: Results, gallery: Gallery, rows: Sequence[int]) -> Drawn:
    difference = (
        " over their absolute difference, times the factor beside it" if len(rows) == 1 else ""
    )
    return _drawn(
        "reconstructions",
        "Images and their reconstructions",
        f"Test images over what the first trial's autoencoder makes of them{difference}.",
        "Rows of small images: originals above their reconstructions.",
        plots.reconstructions(
            gallery["original"],
            gallery["reconstruction"][list(rows)],
            gallery["bottleneck"][list(rows)].tolist(),
            gallery["label"],
            results["dataset"]["class_names"],
        ),
    )


def _drawn(name: str, title: str, caption: str, alternative: str, figure: Figure) -> Drawn:
    return Drawn(
        name, title, caption, alternative, plots.png(figure), plots.width_in_pixels(figure)
    )
