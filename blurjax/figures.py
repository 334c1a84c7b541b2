"""Which figures a run gets, with the words under them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from blurjax import answer, plots
from blurjax.recorded import CONTROLS
from blurjax.run_directory import RunDirectory, read_npz

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Results = Mapping[str, Any]
Point = Mapping[str, Any]
Arrays = Mapping[str, np.ndarray]


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
    anchor: str
    """The part of "How it was computed" that explains it."""


Figures = dict[str, Drawn]
"""By name without the point's number."""


class Material(NamedTuple):
    """What figures are drawn from."""

    results: Results
    gallery: Arrays | None
    flips: Arrays | None
    level: str
    """Of the intervals, such as 95%."""

    @property
    def class_names(self) -> Sequence[str]:
        """Of all K classes."""
        return self.results["dataset"]["class_names"]


def draw(run: RunDirectory, results: Results, confidence: float) -> dict[int | None, Figures]:
    """All figures of a run, by number of the point they belong to; None: to the whole run.

    With several points the names of a point's figures begin with `point-1-` and so on.
    """
    files = (run / "predictions" / name for name in ("gallery.npz", "flips.npz"))
    arrays = (read_npz(path) if path.exists() else None for path in files)
    material = Material(results, *arrays, f"{100 * confidence:g}%")
    points = results["points"]
    of_run = [*_sweep(material), *_reconstructions(material)] if len(points) > 1 else []
    drawn: dict[int | None, Figures] = {None: {figure.name: figure for figure in of_run}}
    seen: set[int] = set()
    for number, point in enumerate(points):
        prefix = f"point-{number + 1}-" if len(points) > 1 else ""
        again = point["values"]["bottleneck"] in seen
        which = [draw_one for draw_one in OF_POINT if not (again and draw_one in OF_BOTTLENECK)]
        drawn[number] = {
            figure.name: figure._replace(name=prefix + figure.name)
            for draw_one in (which if point["trials"] else ())
            for figure in draw_one(material, point)
        }
        if point["trials"]:
            seen.add(point["values"]["bottleneck"])
    return drawn


# Of the whole run.


def _sweep(material: Material) -> Iterator[Drawn]:
    lines = [curve for curve in material.results["curves"] if len(curve["bottleneck"]) > 1]
    if lines:
        yield _drawn(
            "sweep",
            "Accuracy against floats kept",
            "Left: accuracy of each view's classifiers on their own view (infold on crossfit, mixed on "
            f"reconstruction), with pointwise {material.level} intervals; points stand a little apart "
            "so that the bars can be seen. Right: PSNR of each view on the test images.",
            "Accuracy and PSNR against the bottleneck.",
            plots.sweep(lines),
            "curves",
        )


def _reconstructions(material: Material) -> Iterator[Drawn]:
    gallery = material.gallery
    if gallery is not None and len(gallery["bottleneck"]) > 1:
        yield _drawn(
            "reconstructions",
            "Images and their reconstructions",
            "Test images over what the first trial's autoencoders make of them.",
            "Rows of small images: originals above their reconstructions.",
            plots.reconstructions(
                gallery["original"],
                gallery["views"][:, _names(gallery).index("reconstruction")],
                gallery["bottleneck"].tolist(),
                gallery["label"],
                material.class_names,
            ),
            "views",
        )


# Of one point, in the order of the page.


def _causes(material: Material, point: Point) -> Iterator[Drawn]:
    if not plots.waterfall(point):
        return
    yield _drawn(
        "causes",
        "Where the accuracy goes",
        "Levels are accuracies (trained on → tested on), bars what is lost (orange) or gained (blue) on "
        f"the way; thin lines are {material.level} intervals, those of a bar around its lower end.",
        "Waterfall from the accuracy on originals over its causes to that of reconstructions; the same "
        "numbers are in the tables.",
        plots.causes(point),
        "causes",
    )


def _transfer_matrix(material: Material, point: Point) -> Iterator[Drawn]:
    yield _drawn(
        "transfer_matrix",
        "Accuracy by train view and test view",
        f"Mean accuracy on the test set in percent, and its {material.level} interval.",
        "Matrix of accuracies; the same numbers are in the table above.",
        plots.transfer_matrix(point, material.results["views"]),
        "intervals",
    )


def _curves(material: Material, point: Point) -> Iterator[Drawn]:
    caption = (
        "Each classifier is measured on its own view after every epoch. Lines are means over "
        "trials, bands reach from the lowest trial to the highest."
    )
    alternative = "Accuracy and loss on train and validation by epoch, one colour per train view."
    names = ("curves", "Learning curves"), ("other_curves", "Learning curves of the other views")
    for (name, title), views in zip(names, _groups(point), strict=False):
        figure = plots.curves(point, views)
        yield _drawn(name, title, caption, alternative, figure, "evaluation")


def _generalisation_gap(material: Material, point: Point) -> Iterator[Drawn]:
    yield _drawn(
        "generalisation_gap",
        "The generalisation gap",
        "Accuracy on train minus accuracy on validation after every epoch, each in the classifier's own "
        f"view; bands are {material.level} intervals over trials, epoch by epoch.",
        "The gap between accuracy on train and on validation by epoch.",
        plots.generalisation_gap(point, _groups(point)),
        "evaluation",
    )


def _first_experiment(material: Material, point: Point) -> Iterator[Drawn]:
    if "reconstruction" not in point["history"]["classifier"]:
        return
    confidence = float(material.level.rstrip("%")) / 100
    yield _drawn(
        "first_experiment",
        "The first experiment, redone",
        answer.first_experiment(point, confidence),
        "Train and validation accuracy by epoch, validated on reconstructions and on originals.",
        plots.first_experiment(point),
        "evaluation",
    )


def _views(material: Material, point: Point) -> Iterator[Drawn]:
    gallery = material.gallery
    if gallery is None:
        return
    rows = np.flatnonzero(gallery["bottleneck"] == point["values"]["bottleneck"])
    if not rows.size:
        return
    seen = dict(zip(_names(gallery), gallery["views"][rows[0]], strict=True))
    yield _drawn(
        "views",
        "What each view shows",
        "Test images as the first trial's views show them, with the PSNR of the view on the whole test "
        "set. The difference is the absolute one to the reconstruction, times the factor beside it.",
        "Rows of small images: originals, and the same images in every view.",
        plots.views(
            gallery["original"],
            seen,
            {view: entry["psnr"]["test"]["mean"] for view, entry in point["quality"].items()},
            gallery["label"],
            material.class_names,
        ),
        "views",
    )


def _spectra(material: Material, point: Point) -> Iterator[Drawn]:
    if len(point["spectra"]) > 1:
        yield _drawn(
            "spectra",
            "Which frequencies are left",
            "Radial power spectrum of the test images in each view, mean over images and trials. Where a "
            "line lies below the original's, that much detail of that size is gone.",
            "Power against spatial frequency, one line per view.",
            plots.spectra(point["spectra"]),
            "quality",
        )


def _per_class(material: Material, point: Point) -> Iterator[Drawn]:
    if point["per_class_change"]:
        yield _drawn(
            "per_class",
            "Which classes change",
            "Recall of each class, trained and tested on reconstructions, minus trained and tested on "
            f"originals. Thin lines are {material.level} intervals over trials, without correction for "
            "the number of classes; of many classes those that change most.",
            "Bars of the change in recall, one a class; the recalls are in the tables below.",
            plots.per_class(point, material.class_names),
            "evaluation",
        )


def _flips(material: Material, point: Point) -> Iterator[Drawn]:
    flips = material.flips
    if flips is None or not point["flips"]:
        return
    row = np.flatnonzero(flips["bottleneck"] == point["values"]["bottleneck"])[0]
    yield _drawn(
        "flips",
        "Images whose answers change most often",
        "Right in one view and wrong in the other, in the number of trials written above: trained and "
        "tested on originals against trained and tested on reconstructions (as the first trial sees "
        "them). Picked for changing, so they say nothing about how often images do.",
        "Pairs of small images, original above reconstruction.",
        plots.flips(
            flips["original"][row],
            flips["reconstruction"][row],
            flips["count"][row].tolist(),
            flips["label"][row],
            material.class_names,
        ),
        "evaluation",
    )


def _confusion(material: Material, point: Point) -> Iterator[Drawn]:
    yield _drawn(
        "confusion",
        "Confusion",
        _about_confusion(point, material.class_names),
        "Confusion matrices: rows are true classes, columns predicted ones.",
        plots.confusion(point, material.class_names),
        "evaluation",
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


def _autoencoder(material: Material, point: Point) -> Iterator[Drawn]:
    if point["history"]["autoencoder"]["epoch"]:
        yield _drawn(
            "autoencoder",
            "The autoencoder's learning curve",
            "Mean squared error of pixels in [0, 1], before rounding to 8 bits.",
            "The autoencoder's loss on train and validation by epoch.",
            plots.autoencoder(point),
            "quality",
        )


OF_POINT: tuple[Callable[[Material, Point], Iterator[Drawn]], ...] = (
    _causes,
    _transfer_matrix,
    _curves,
    _generalisation_gap,
    _first_experiment,
    _views,
    _spectra,
    _per_class,
    _flips,
    _confusion,
    _autoencoder,
)
OF_BOTTLENECK = (_views, _spectra, _autoencoder)
"""Those that do not depend on the classifier's recipe, and are drawn once per bottleneck."""
NAMES = (
    "causes",
    "transfer_matrix",
    "curves",
    "other_curves",
    "generalisation_gap",
    "first_experiment",
    "views",
    "spectra",
    "per_class",
    "flips",
    "confusion",
    "autoencoder",
    "sweep",
    "reconstructions",
)


def _groups(point: Point) -> list[list[str]]:
    """The train views in two groups: those that the question is about, and the rest without controls."""
    trained = plots.in_order(point["history"]["classifier"])
    main = [view for view in trained if view in plots.MAIN_VIEWS]
    rest = [view for view in trained if view not in (*plots.MAIN_VIEWS, *CONTROLS)]
    return [group for group in (main, rest) if group] or [trained]


def _names(gallery: Arrays) -> list[str]:
    return [str(name) for name in gallery["view_names"]]


def _drawn(
    name: str, title: str, caption: str, alternative: str, figure: Figure, anchor: str
) -> Drawn:
    picture, width = plots.png(figure), plots.width_in_pixels(figure)
    return Drawn(name, title, caption, alternative, picture, width, anchor)
