"""Types of settings: what their values may be."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

ImageSize = Annotated[int, Field(ge=8, le=256)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Auto = Literal["auto"]
Mesh = Annotated[str, Field(pattern=r"^(auto|[1-9]\d*x[1-9]\d*)$")]
T = TypeVar("T")

FREE = "free to change on a run directory"
Free = Annotated[T, FREE]
"""A setting that is no part of a run's identity."""


def _none_from_text(value: object) -> object:
    return None if isinstance(value, str) and value.lower() in ("none", "null") else value


def _number_from_text(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _check_distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(values)) < len(values):
        raise ValueError("names a value twice")
    return values


def _check_not_empty(values: tuple[T, ...]) -> tuple[T, ...]:
    if not values:
        raise ValueError("must name at least one")
    return values


Channels = Annotated[Literal[1, 3], BeforeValidator(_number_from_text)]
"""Grey or colours; the command line has numbers as text."""
OrNone = Annotated[T | None, BeforeValidator(_none_from_text)]
"""A field that may be unset, for which the command line says `none`."""
Distinct = Annotated[tuple[T, ...], AfterValidator(_check_distinct)]
"""A list without repetitions."""
NonEmpty = Annotated[Distinct[T], AfterValidator(_check_not_empty)]
"""A list without repetitions of one value or more."""
