"""Writes numbers as text for sentences, tables and on the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def percent(share: float | None) -> str:
    """A share as a percentage with one decimal; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.1f}%"


def signed(share: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−")


def span(interval: Sequence[float], write: Callable[[float], str] = percent) -> str:
    """An interval in words."""
    return f"{write(interval[0])} to {write(interval[1])}"


def signed_span(interval: Sequence[float]) -> str:
    """An interval of differences of shares, in points."""
    return span(interval, signed)


def level(confidence: float) -> str:
    """The level of an interval, such as 95%."""
    return f"{100 * confidence:g}%"


def p_value(p: float | None, missing: str = "–") -> str:
    """A p in a table."""
    return missing if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_in_words(p: float) -> str:
    """A p in a sentence."""
    return f"p {p_value(p)}" if p < 0.001 else f"p = {p_value(p)}"


def labels_in_words(train_examples: int | None) -> str:
    """The labelled images of a point, where None is all of them."""
    return (
        "all labelled images" if train_examples is None else count(train_examples, "labelled image")
    )


def count(number: float, noun: str, plural: str | None = None) -> str:
    """A number of things, such as 1 trial, 2 trials or 1,294 images."""
    return f"{number:,.12g} {noun if number == 1 else plural or f'{noun}s'}"


def setting(value: object) -> str:
    """The value of a setting, as a settings file would have it on one line."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(setting, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
