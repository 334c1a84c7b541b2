"""Figures of numbers: causes, matrices, curves, spectra, classes."""

from __future__ import annotations

from collections.abc import Sequence

from blurjax.config.view_names import CHECK_VIEWS
from blurjax.report import first_experiment as experiment_of_2020
from blurjax.report import plots
from blurjax.report.figures.drawn import Drawn, Material, Point, drawn


def sweep(material: Material) -> Drawn | None:
    """Of a whole run: accuracy and PSNR against the bottleneck."""
    lines = [curve for curve in material.results["curves"] if len(curve["bottleneck"]) > 1]
    if not lines:
        return None
    return drawn(
        "Accuracy against floats kept",
        "Left: accuracy of each view's classifiers on their own view (infold on crossfit, mixed on "
        f"reconstruction), with pointwise {material.level} intervals; points stand a little apart "
        "so that the bars can be seen. Right: PSNR of each view on the test images.",
        "Accuracy and PSNR against the bottleneck.",
        plots.sweep(lines),
        "curves",
    )


def causes(material: Material, point: Point) -> Drawn | None:
    """The waterfall."""
    if not plots.waterfall(point):
        return None
    return drawn(
        "Where the accuracy goes",
        "Levels are accuracies (trained on → tested on), bars what is lost (orange) or gained (blue) on "
        f"the way; thin lines are {material.level} intervals, those of a bar around where it ends.",
        "Waterfall from the accuracy on originals over its causes to that of reconstructions; the same "
        "numbers are in the tables.",
        plots.causes(point),
        "causes",
    )


def transfer_matrix(material: Material, point: Point) -> Drawn | None:
    """Every train view on every test view, where there is more than one cell."""
    if sum(map(len, point["accuracy"].values())) < 2:
        return None
    return drawn(
        "Accuracy by train view and test view",
        f"Mean accuracy on the test set in percent, and its {material.level} interval.",
        "Matrix of accuracies; the same numbers are in the table above.",
        plots.transfer_matrix(point, material.results["views"]),
        "intervals",
    )


def curves(material: Material, point: Point) -> Drawn | None:
    """Learning curves of the first group of views."""
    return _curves(point, "Learning curves", 0)


def other_curves(material: Material, point: Point) -> Drawn | None:
    """Learning curves of the second group."""
    return _curves(point, "Learning curves of the other views", 1)


def _curves(point: Point, title: str, group: int) -> Drawn | None:
    groups = _groups(point)
    if group >= len(groups):
        return None
    return drawn(
        title,
        "Each classifier is measured on its own view after every epoch. Lines are means over "
        "trials, bands reach from the lowest trial to the highest.",
        "Accuracy and loss on train and validation by epoch, one colour per train view.",
        plots.curves(point, groups[group]),
        "evaluation",
    )


def generalisation_gap(material: Material, point: Point) -> Drawn | None:
    """Train minus validation by epoch."""
    return drawn(
        "The generalisation gap",
        "Accuracy on train minus accuracy on validation after every epoch, each in the classifier's own "
        f"view; bands are {material.level} intervals over trials, epoch by epoch.",
        "The gap between accuracy on train and on validation by epoch.",
        plots.generalisation_gap(point, _groups(point)),
        "evaluation",
    )


def first_experiment(material: Material, point: Point) -> Drawn | None:
    """The first experiment's figure redone."""
    if "reconstruction" not in point["history"]["classifier"]:
        return None
    return drawn(
        "The first experiment, redone",
        experiment_of_2020.retold(point, material.confidence),
        "Train and validation accuracy by epoch, validated on reconstructions and on originals.",
        plots.first_experiment(point),
        "evaluation",
    )


def spectra(material: Material, point: Point) -> Drawn | None:
    """Power spectra."""
    if len(point["spectra"]) < 2:
        return None
    return drawn(
        "Which frequencies are left",
        "Radial power spectrum of the test images in each view, mean over images and trials. Where a "
        "line lies below the original's, that much detail of that size is gone.",
        "Power against spatial frequency, one line per view.",
        plots.spectra(point["spectra"]),
        "quality",
    )


def per_class(material: Material, point: Point) -> Drawn | None:
    """Change of each class."""
    if not point["per_class_change"]:
        return None
    return drawn(
        "Which classes change",
        "Recall of each class, trained and tested on reconstructions, minus trained and tested on "
        f"originals. Thin lines are {material.level} intervals over trials, without correction for "
        "the number of classes; of many classes those that change most.",
        "Bars of the change in recall, one a class; the recalls are in the tables below.",
        plots.per_class(point, material.class_names),
        "evaluation",
    )


def confusion(material: Material, point: Point) -> Drawn | None:
    """Confusion matrices, unless there are too many classes for them."""
    if not point["confusion"]:
        return None
    return drawn(
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


def autoencoder(material: Material, point: Point) -> Drawn | None:
    """The autoencoder's learning curve."""
    if not point["history"]["autoencoder"]["epoch"]:
        return None
    return drawn(
        "The autoencoder's learning curve",
        "Mean squared error of pixels in [0, 1], before rounding to 8 bits.",
        "The autoencoder's loss on train and validation by epoch.",
        plots.autoencoder(point),
        "quality",
    )


def _groups(point: Point) -> list[list[str]]:
    """The train views in two groups: those that the question is about, and the rest without controls."""
    trained = plots.in_order(point["history"]["classifier"])
    main = [view for view in trained if view in plots.MAIN_VIEWS]
    rest = [view for view in trained if view not in (*plots.MAIN_VIEWS, *CHECK_VIEWS)]
    return [group for group in (main, rest) if group] or [trained]
