"""Which figures a run gets, with the words under them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from blurjax.report.figures import images, numbers
from blurjax.report.figures.drawn import Drawn, Material, Point, Results
from blurjax.runtime.run_directory import RunDirectory, read_npz

__all__ = ["NAMES", "Drawn", "Figures", "draw", "prefix"]

Figures = dict[str, Drawn]
"""By name."""
OF_BOTTLENECK = {
    "views": images.views,
    "spectra": numbers.spectra,
    "autoencoder": numbers.autoencoder,
}
"""Those that do not depend on the classifier's recipe, and are drawn once per bottleneck."""
OF_POINT: Mapping[str, Callable[[Material, Point], Drawn | None]] = {
    "causes": numbers.causes,
    "transfer_matrix": numbers.transfer_matrix,
    "curves": numbers.curves,
    "other_curves": numbers.other_curves,
    "generalisation_gap": numbers.generalisation_gap,
    "first_experiment": numbers.first_experiment,
    "per_class": numbers.per_class,
    "flips": images.flips,
    "confusion": numbers.confusion,
    **OF_BOTTLENECK,
}
OF_RUN = {"sweep": numbers.sweep, "reconstructions": images.reconstructions}
"""Those of a run of several points."""
NAMES = (*OF_POINT, *OF_RUN)


def draw(run: RunDirectory, results: Results, confidence: float) -> dict[str, Figures]:
    """All figures of a run, by what their file names begin with: the `prefix` of a point, or nothing."""
    gallery, flips = (
        read_npz(path) if path.exists() else None
        for path in (run.gallery, run.flips)
    )
    material = Material(results, gallery, flips, confidence)
    points = results["points"]
    of_run = OF_RUN if len(points) > 1 else {}
    found = {"": _there({name: draw_one(material) for name, draw_one in of_run.items()})}
    drawn_bottlenecks: set[int] = set()
    for number, point in enumerate(points):
        names = list(OF_POINT) if point["trials"] else []
        if point["values"]["bottleneck"] in drawn_bottlenecks:
            names = [name for name in names if name not in OF_BOTTLENECK]
        of_point = {name: OF_POINT[name](material, point) for name in names}
        found[prefix(number, len(points))] = _there(of_point)
        if names:
            drawn_bottlenecks.add(point["values"]["bottleneck"])
    return found


def prefix(number: int, num_points: int) -> str:
    """Of the figures of a point: point-1- and so on, nothing where there is but one."""
    return f"point-{number + 1}-" if num_points > 1 else ""


def _there(figures: Mapping[str, Drawn | None]) -> Figures:
    return {name: figure for name, figure in figures.items() if figure is not None}
