"""A run directory -> figures/*.png, tables/* and one self-contained page, report.html."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml

from blurjax.analysis import results
from blurjax.analysis.comparisons import BESIDE, CHECKS, MATCHED
from blurjax.analysis.formatting import count, level, p_value, percent, signed, signed_span, span
from blurjax.config import settings as config
from blurjax.config.settings import Config
from blurjax.report import answer, figures, plots, tables
from blurjax.report.figures import Figures
from blurjax.runtime.run_directory import (
    RunDirectory,
    read_json,
    readable_os_errors,
    write_bytes,
    write_json,
)

TEMPLATES = Path(__file__).with_name("templates")


class Section(NamedTuple):
    """What the page shows of one point."""

    name: str
    point: Mapping[str, Any]
    summary: list[str]
    figures: Figures


def make_report(directory: Path) -> Path:
    """Makes results.json, the figures and the page of a finished run again.

    Returns:
      The page.

    Raises:
      UserError: it is no run directory, is not finished, or is being written.
    """
    run = RunDirectory(directory)
    run.check_format()
    with readable_os_errors(run.path), run.lock():
        settings = config.load(run.config)
        write_json(run.results, results.collect(run, settings))
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
    collected = read_json(run.results)
    drawn = figures.draw(run, collected, settings.report.confidence)
    files = {
        f"{prefix}{name}.png": figure.png
        for prefix, group in drawn.items()
        for name, figure in group.items()
    }
    _write_figures(run, files)
    for name, content in tables.tables(collected, level(settings.report.confidence)).items():
        write_bytes(run.tables / name, content)
    page = run.report
    write_bytes(page, render(collected, settings, _environment_facts(run), drawn).encode())
    return page


def render(
    collected: Mapping[str, Any],
    settings: Config,
    environment: Mapping[str, Any],
    drawn: Mapping[str, Figures],
) -> str:
    """The page as HTML.

    Args:
      collected: content of results.json.
      settings: those of the run.
      environment: content of environment.json.
      drawn: from `figures.draw`.
    """
    confidence, points = settings.report.confidence, collected["points"]
    sections = [
        Section(
            name=answer.name_of(point, points),
            point=point,
            summary=answer.of_point(point, confidence) if point["trials"] else [],
            figures=drawn[figures.prefix(number, len(points))],
        )
        for number, point in enumerate(points)
    ]
    return _template().render(
        results=collected,
        dataset=collected["dataset"],
        paragraphs=answer.answer(collected, confidence),
        facts=answer.facts(collected),
        train_views=plots.in_order(collected["views"]["train"]),
        test_views=plots.in_order(collected["views"]["test"]),
        sections=sections,
        overview=drawn[""],
        settings=config.to_yaml(settings),
        environment=yaml.safe_dump(dict(environment), sort_keys=False, allow_unicode=True),
        margin=settings.report.margin,
        level=level(confidence),
        main_views=plots.FIRST_VIEWS,
        main_cells=plots.CONFUSED,
        beside=list(BESIDE),
        matched=list(MATCHED),
        checks=[*CHECKS, "shuffled"],
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
        # What must be exactly 0 is seen to be.
        "exact_or_signed": lambda share: "0 exactly" if share == 0 else signed(share),
        "span": span,
        "signed_span": signed_span,
        "average": lambda values: sum(values) / len(values),
        "decimals": lambda value, digits: "–" if value is None else f"{value:.{digits}f}",
        "count": count,
        "data_uri": lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}",
        "words": lambda name: name.replace("_", " "),
        "p_value": p_value,
    }
    return environment.get_template("report.html.jinja")


def _environment_facts(run: RunDirectory) -> dict[str, Any]:
    path = run.environment
    return read_json(path) if path.exists() else {}


def _write_figures(run: RunDirectory, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        write_bytes(run.figures / name, content)
    ours = rf"(point-\d+-)?({'|'.join(figures.NAMES)})\.png"
    for path in sorted(run.figures.glob("*.png")):
        # Of an earlier report, with other points or views.
        if path.name not in files and re.fullmatch(ours, path.name):
            path.unlink()
