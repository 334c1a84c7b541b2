"""How figures and tables show views, by the table of views: in which order, in which colour and line."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from blurjax.analysis.contrasts import RECONSTRUCTION, TRANSFERRED
from blurjax.analysis.types import Cell
from blurjax.config.view_table import GREEN, ORANGE, SKY, VERMILLION, VIEWS, named

OTHER_STYLES = tuple(itertools.product((GREEN, VERMILLION, ORANGE, SKY), ("-.", ":")))
"""Colours and lines of views whose row in the table names none."""


def main_first(views: Iterable[str]) -> list[str]:
    """Sorts views as figures and tables list them: main ones first, checks last, else as the table of views does."""
    names = list(VIEWS)
    return sorted(
        views, key=lambda view: (not VIEWS[view].main, VIEWS[view].check, names.index(view))
    )


def first_views() -> tuple[str, ...]:
    """Returns the main views that classifiers are tested on, which tables show unfolded."""
    return named(main=True, testable=True)


def encoders() -> tuple[str, ...]:
    """Returns the views whose classifiers are an autoencoder's encoder."""
    return tuple(name for name, view in VIEWS.items() if view.network != "model")


def main_cells() -> list[Cell]:
    """Returns the cells of the transfer matrix that are shown class by class."""
    own = [(view, view) for view in first_views()]
    after = own.index(RECONSTRUCTION) + 1
    return [*own[:after], TRANSFERRED, *own[after:]]


def line_style(view: str) -> dict[str, Any]:
    """Returns colour and line style of a view, as matplotlib takes them: the same in all figures of all runs."""
    spec = VIEWS[view]
    if spec.colour is not None:
        return {"color": spec.colour, "linestyle": spec.line}
    number = [other.name for other in VIEWS.values() if other.colour is None].index(view)
    colour, line = OTHER_STYLES[number % len(OTHER_STYLES)]
    return {"color": colour, "linestyle": line}
