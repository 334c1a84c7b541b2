"""Writes the report of a run: figures/*.png, tables/* and one self-contained page, report.html."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from blurjax.analysis import Unfinished, collect_results
from blurjax.analysis.contrasts import (
    ON_CODE,
    SHUFFLED,
    UNADJUSTED,
    WARM_STARTS,
    checks,
    controls,
)
from blurjax.analysis.formatting import level
from blurjax.config import loading as config
from blurjax.config.settings import Config
from blurjax.config.view_table import VIEWS
from blurjax.report import sentences
from blurjax.report.facts import facts
from blurjax.report.figures import FIGURES, FigureData, PageFigure, draw_figures
from blurjax.report.interim import write_interim
from blurjax.report.point_names import point_name
from blurjax.report.rendering import render
from blurjax.report.tables import result_tables
from blurjax.report.view_display import encoders, first_views, main_cells, main_first
from blurjax.runtime import RunDirectory, UserError, read_json, read_npz, readable_os_errors

SMALL_IMAGE = 16
"""Rows or columns below which near duplicates cannot be told from images that are alike."""


class Section(NamedTuple):
    """A point as the page shows it."""

    prefix: str
    """The beginning of its figures' file names: nothing where there is only one point."""
    name: str
    point: Mapping[str, Any]
    summary: list[str]
    figures: Mapping[str, PageFigure]


def make_report(directory: Path) -> Path:
    """Computes results.json, the figures and the page of a finished run again; else an interim report.

    Returns:
      The page: report.html, or interim.html where the run is not finished. That is all that is then written, also
      while another process continues the run.

    Raises:
      UserError: it is no run directory, or has not trained for an epoch, or is being written although it is finished.
    """
    run = RunDirectory(directory)
    run.check_format()
    with readable_os_errors(run.path):
        if not run.config.exists():
            raise UserError(f"The run in {run.path} has only begun: there is nothing to report.")
        settings = config.load(run.config)
        try:
            results = collect_results(run, settings)
        except Unfinished:
            return write_interim(run, settings)
        with run.lock():
            run.write_json(run.results, results)
            return write_report(run, settings)


def write_report(run: RunDirectory, settings: Config) -> Path:
    """Writes figures/*.png, tables/* and report.html from results.json and the images kept.

    Equal runs give equal bytes.

    Args:
      run: a run with results.json.
      settings: its settings, fitted to the data.

    Returns:
      The page.
    """
    results, confidence = read_json(run.results), settings.report.confidence
    of_run, sections = _draw(run, results, confidence)
    files = {f"{name}.png": figure for name, figure in of_run.items()}
    for section in sections:
        files |= {f"{section.prefix}{n}.png": figure for n, figure in section.figures.items()}
    for name, figure in files.items():
        run.write_bytes(run.figures / name, figure.png)
    for path in sorted(run.figures.glob("*.png")):
        # From an earlier report, with other points or views.
        is_ours = re.fullmatch(rf"(point-\d+-)?({'|'.join(FIGURES)})\.png", path.name)
        if is_ours and path.name not in files:
            path.unlink()
    for name, content in result_tables(results, level(confidence)).items():
        run.write_bytes(run.tables / name, content)
    environment = read_json(run.environment) if run.environment.exists() else {}
    page = _render(results, settings, environment, of_run, sections)
    run.write_bytes(run.report, page.encode())
    run.interim.unlink(missing_ok=True)
    return run.report


def _draw(
    run: RunDirectory, results: Mapping[str, Any], confidence: float
) -> tuple[dict[str, PageFigure], list[Section]]:
    """Returns the figures of the whole run by name, and a section for every point."""
    points = results["points"]
    gallery, flips = (read_npz(p) if p.exists() else None for p in (run.gallery, run.flips))
    sections, drawn_bottlenecks = [], set()
    for number, point in enumerate(points):
        kinds, bottleneck = ["point"] if point["trials"] else [], point["values"]["bottleneck"]
        if kinds and bottleneck not in drawn_bottlenecks:
            kinds.append("bottleneck")
            drawn_bottlenecks.add(bottleneck)
        data = FigureData(results, point, confidence, gallery, flips)
        section = Section(
            prefix=f"point-{number + 1}-" if len(points) > 1 else "",
            name=point_name(point, points),
            point=point,
            summary=sentences.point_summary(point, confidence) if point["trials"] else [],
            figures=dict(draw_figures(data, *kinds)),
        )
        sections.append(section)
    kinds = ["run"] if len(points) > 1 else []
    return dict(draw_figures(FigureData(results, {}, confidence, gallery), *kinds)), sections


def _render(
    results: Mapping[str, Any],
    settings: Config,
    environment: Mapping[str, Any],
    of_run: Mapping[str, PageFigure],
    sections: Sequence[Section],
) -> str:
    """Returns the page as HTML."""
    confidence, dataset = settings.report.confidence, results["dataset"]
    train_views, test_views = (main_first(results["views"][side]) for side in ("train", "test"))
    measured = (view for section in sections for view in section.point["quality"])
    return render(
        "report.html.jinja",
        results=results,
        dataset=dataset,
        paragraphs=sentences.answer(results, confidence),
        facts=facts(results),
        train_views=train_views,
        test_views=test_views,
        explained_views=[
            VIEWS[view] for view in main_first({*train_views, *test_views, *measured})
        ],
        sections=sections,
        overview=of_run,
        few_labels=any(section.point["values"]["train_examples"] for section in sections),
        settings=config.to_yaml(settings),
        environment=yaml.safe_dump(dict(environment), sort_keys=False, allow_unicode=True),
        margin=settings.report.margin,
        level=level(confidence),
        first_views=(*first_views(), *encoders()),
        main_cells=main_cells(),
        unadjusted=[*UNADJUSTED, *ON_CODE.values()],
        controls=list(controls()),
        warm_starts=list(WARM_STARTS),
        checks=[*checks(), SHUFFLED],
        small_image=SMALL_IMAGE,
        alpha=f"{1 - confidence:.2g}",
        equivalence_level=level(2 * confidence - 1),
    )
