"""Which figures a run gets, with the words under them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from blurjax.figures import images, numbers
from blurjax.figures.drawn import Drawn, Figures, Material, Point, Results
from blurjax.run_directory import RunDirectory, read_npz

__all__ = ["NAMES", "Drawn", "Figures", "draw"]

OF_POINT: tuple[Callable[[Material, Point], Iterator[Drawn]], ...] = (
    numbers.causes,
    numbers.transfer_matrix,
    numbers.curves,
    numbers.generalisation_gap,
    numbers.first_experiment,
    images.views,
    numbers.spectra,
    numbers.per_class,
    images.flips,
    numbers.confusion,
    numbers.autoencoder,
)
OF_BOTTLENECK = (images.views, numbers.spectra, numbers.autoencoder)
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


def draw(run: RunDirectory, results: Results, confidence: float) -> dict[int | None, Figures]:
    """All figures of a run, by number of the point they belong to; None: to the whole run.

    With several points the names of a point's figures begin with `point-1-` and so on.
    """
    gallery, flips = (
        read_npz(path) if path.exists() else None
        for path in (run / "predictions/gallery.npz", run / "predictions/flips.npz")
    )
    material = Material(results, gallery, flips, confidence)
    points = results["points"]
    of_run = (
        [*numbers.sweep(material), *images.reconstructions(material)] if len(points) > 1 else []
    )
    found: dict[int | None, Figures] = {None: {figure.name: figure for figure in of_run}}
    seen: set[int] = set()
    for number, point in enumerate(points):
        prefix = f"point-{number + 1}-" if len(points) > 1 else ""
        again = point["values"]["bottleneck"] in seen
        which = [draw_one for draw_one in OF_POINT if not (again and draw_one in OF_BOTTLENECK)]
        found[number] = {
            figure.name: figure._replace(name=prefix + figure.name)
            for draw_one in (which if point["trials"] else ())
            for figure in draw_one(material, point)
        }
        if point["trials"]:
            seen.add(point["values"]["bottleneck"])
    return found
