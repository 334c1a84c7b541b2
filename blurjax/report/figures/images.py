"""Figures of images: views, reconstructions by bottleneck, answers that change."""

from __future__ import annotations

import numpy as np

from blurjax.report import plots
from blurjax.report.figures.drawn import Arrays, Drawn, Material, Point, drawn


def reconstructions(material: Material) -> Drawn | None:
    """Of a whole run: images by bottleneck."""
    gallery = material.gallery
    if gallery is None or len(gallery["bottleneck"]) < 2:
        return None
    return drawn(
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


def views(material: Material, point: Point) -> Drawn | None:
    """The same images in every view."""
    gallery = material.gallery
    if gallery is None:
        return None
    rows = np.flatnonzero(gallery["bottleneck"] == point["values"]["bottleneck"])
    if not rows.size:
        return None
    seen = dict(zip(_names(gallery), gallery["views"][rows[0]], strict=True))
    return drawn(
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


def flips(material: Material, point: Point) -> Drawn | None:
    """Images whose answers change."""
    flips = material.flips
    if flips is None or not point["flips"]:
        return None
    row = np.flatnonzero(flips["bottleneck"] == point["values"]["bottleneck"])[0]
    return drawn(
        "Images whose answers change most often",
        "Right in one view and wrong in the other, in the number of trials written above: trained and "
        "tested on originals against trained and tested on reconstructions (as the first trial sees "
        "them). Picked for changing, so they say nothing about how often images do.",
        "Pairs of small images, original above reconstruction.",
        plots.flips(
            flips["original"][row],
            flips["reconstruction"][row],
            point["flips"]["count"],
            flips["label"][row],
            material.class_names,
        ),
        "evaluation",
    )


def _names(gallery: Arrays) -> list[str]:
    return [str(name) for name in gallery["view_names"]]
