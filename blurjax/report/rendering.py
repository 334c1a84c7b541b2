"""Fills the templates of the pages, with the filters that write numbers and images into HTML."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jinja2

from blurjax.analysis.formatting import (
    count,
    labels_in_words,
    p_value,
    percent,
    setting,
    signed,
    signed_span,
    span,
)
from blurjax.config.view_table import VIEWS

TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **values: Any) -> str:
    """Returns a page as HTML; a value that the template uses and that is not given is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        **{
            f.__name__: f
            for f in (count, labels_in_words, p_value, percent, signed, signed_span, span)
        },
        "average": lambda values: sum(values) / len(values),
        "decimals": lambda value, digits: "–" if value is None else f"{value:.{digits}f}",
        "data_uri": lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}",
        "jpeg_uri": lambda jpeg: f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}",
        "setting": setting,
        "words": lambda name: name.replace("_", " "),
        "explanation": lambda view: VIEWS[view].explanation,
    }
    return environment.get_template(template).render(**values)
