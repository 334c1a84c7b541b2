"""Writes the interim report of a run that is not finished: what it has measured on validation images so far."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blurjax.analysis import collect_interim
from blurjax.analysis.formatting import count
from blurjax.config.settings import Config
from blurjax.config.trials import LONGER
from blurjax.report.figures import FigureData, PageFigure, draw_figure
from blurjax.report.point_names import point_name
from blurjax.report.rendering import render
from blurjax.report.view_display import main_first
from blurjax.runtime import RunDirectory

FIGURES_OF_CLASSIFIERS = ("curves", "other_curves")


def write_interim(run: RunDirectory, settings: Config) -> Path:
    """Writes interim.html, and nothing else: the run continues as if it had not been there.

    Args:
      run: a run directory to which another process may be writing.
      settings: its settings, fitted to the data.

    Returns:
      The page; the final report removes it.

    Raises:
      UserError: not one epoch is over.
    """
    found, confidence = collect_interim(run, settings), settings.report.confidence
    points = found["points"]
    sections = [
        {
            "name": point_name(point, points) if len(points) > 1 else "",
            "point": point,
            "figures": _figures(found, point, confidence),
        }
        for point in points
    ]
    page = render(
        "interim.html.jinja",
        dataset=found["dataset"],
        stages=[stage | {"name": _stage_name(stage)} for stage in found["stages"]],
        sections=sections,
        train_views=main_first(settings.train_views),
        missing=missing(found),
        earlier=run.report.exists(),
        now=time.strftime("%Y-%m-%d %H:%M %Z"),
    )
    run.write_bytes(run.interim, page.encode())
    return run.interim


def missing(found: Mapping[str, Any]) -> str:
    """Returns a sentence about what an unfinished run lacks.

    Args:
      found: of `collect_interim`.
    """
    left = [
        f"{_stage_name(stage)} ({stage['trained']} of {count(stage['trials'], 'trial')} trained)"
        for stage in found["stages"]
        if stage["trained"] < stage["trials"]
    ]
    if not left:
        return "All is trained. Missing: results on test images."
    return f"Missing: {'; '.join(left)}; and all results on test images."


def _stage_name(stage: Mapping[str, Any]) -> str:
    name = "autoencoders" if stage["view"] is None else f"classifiers on {stage['view']}"
    return f"{name}, twice the steps" if stage["stage"].startswith(LONGER) else name


def _figures(
    found: Mapping[str, Any], point: Mapping[str, Any], confidence: float
) -> dict[str, PageFigure]:
    """Returns the learning curves of a point, as far as they go."""
    # Points of one data set: figures need no more of the results than this.
    data = FigureData({"dataset": found["dataset"]}, point, confidence)
    names = FIGURES_OF_CLASSIFIERS if point["history"]["classifier"] else ()
    drawn = {name: draw_figure(name, data) for name in (*names, "autoencoder")}
    return {name: figure for name, figure in drawn.items() if figure is not None}
