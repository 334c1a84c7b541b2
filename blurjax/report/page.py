"""Writes the report of a run: figures/*.png, tables/* and one self-contained page, report.html."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml

from blurjax.analysis import collect_results
from blurjax.analysis.contrasts import SHUFFLED, UNADJUSTED, checks, controls
from blurjax.analysis.formatting import count, level, p_value, percent, signed, signed_span, span
from blurjax.config import settings as config
from blurjax.config.settings import Config
from blurjax.config.view_table import VIEWS
from blurjax.report import sentences
from blurjax.report.figures import FIGURES, PageFigure, draw_figures, point_prefix
from blurjax.report.tables import tables
from blurjax.report.view_display import first_views, in_order, main_cells
from blurjax.runtime.run_directory import (
    RunDirectory,
    read_json,
    readable_os_errors,
    write_bytes,
    write_json,
)

TEMPLATES = Path(__file__).with_name("templates")


class Section(NamedTuple):
    """A point as the page shows it."""

    name: str
    point: Mapping[str, Any]
    summary: list[str]
    figures: Mapping[str, PageFigure]


def make_report(directory: Path) -> Path:
    """Computes results.json, the figures and the page of a finished run again.

    Returns:
      The page.

    Raises:
      UserError: it is no run directory, is not finished, or is being written.
    """
    run = RunDirectory(directory)
    run.check_format()
    with readable_os_errors(run.path), run.lock():
        settings = config.load(run.config)
        write_json(run.results, collect_results(run, settings))
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
    results = read_json(run.results)
    figures = draw_figures(run, results, settings.report.confidence)
    names = set()
    for prefix, group in figures.items():
        for name, figure in group.items():
            names.add(f"{prefix}{name}.png")
            write_bytes(run.figures / f"{prefix}{name}.png", figure.png)
    for path in sorted(run.figures.glob("*.png")):
        # From an earlier report, with other points or views.
        is_ours = re.fullmatch(rf"(point-\d+-)?({'|'.join(FIGURES)})\.png", path.name)
        if is_ours and path.name not in names:
            path.unlink()
    for name, content in tables(results, level(settings.report.confidence)).items():
        write_bytes(run.tables / name, content)
    environment = read_json(run.environment) if run.environment.exists() else {}
    write_bytes(run.report, render(results, settings, environment, figures).encode())
    return run.report


def render(
    results: Mapping[str, Any],
    settings: Config,
    environment: Mapping[str, Any],
    figures: Mapping[str, Mapping[str, PageFigure]],
) -> str:
    """Returns the page as HTML.

    Args:
      results: content of results.json.
      settings: those of the run.
      environment: content of environment.json.
      figures: from `draw_figures`.
    """
    confidence, points = settings.report.confidence, results["points"]
    sections = [
        Section(
            name=sentences.point_name(point, points),
            point=point,
            summary=sentences.point_summary(point, confidence) if point["trials"] else [],
            figures=figures[point_prefix(number, len(points))],
        )
        for number, point in enumerate(points)
    ]
    train_views, test_views = (in_order(results["views"][side]) for side in ("train", "test"))
    measured = (view for point in points for view in point["quality"])
    return _template().render(
        results=results,
        dataset=results["dataset"],
        paragraphs=sentences.answer(results, confidence),
        facts=sentences.facts(results),
        train_views=train_views,
        test_views=test_views,
        explained_views=[VIEWS[view] for view in in_order({*train_views, *test_views, *measured})],
        sections=sections,
        overview=figures[""],
        settings=config.to_yaml(settings),
        environment=yaml.safe_dump(dict(environment), sort_keys=False, allow_unicode=True),
        margin=settings.report.margin,
        level=level(confidence),
        first_views=first_views(),
        main_cells=main_cells(),
        unadjusted=list(UNADJUSTED),
        controls=list(controls()),
        checks=[*checks(), SHUFFLED],
        alpha=f"{1 - confidence:.2g}",
        equivalence_level=level(2 * confidence - 1),
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "signed": signed,
        # A reader should see that what must be exactly 0 is.
        "exact_or_signed": lambda share: "0 exactly" if share == 0 else signed(share),
        "span": span,
        "signed_span": signed_span,
        "average": lambda values: sum(values) / len(values),
        "decimals": lambda value, digits: "–" if value is None else f"{value:.{digits}f}",
        "count": count,
        "data_uri": lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}",
        "words": lambda name: name.replace("_", " "),
        "meaning": sentences.meaning,
        "p_value": p_value,
    }
    return environment.get_template("report.html.jinja")
