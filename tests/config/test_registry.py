"""Registries: names in the order of registration, each given once; mistakes name the nearest."""

import math

import pytest

from blurjax.config.registry import Registry, resolve


@pytest.fixture
def shapes():
    registry = Registry("shape")
    for name, corners in (("triangle", 3), ("square", 4), ("pentagon", 5)):
        registry.register(name, corners)
    return registry


def test_entries_are_found_by_name_in_their_order(shapes):
    assert list(shapes) == ["triangle", "square", "pentagon"]
    assert shapes["square"] == 4
    assert dict(shapes) == {"triangle": 3, "square": 4, "pentagon": 5}
    assert "circle" not in shapes
    with pytest.raises(KeyError):
        shapes["circle"]


def test_an_entry_is_returned_where_it_is_registered(shapes):
    assert shapes.register("hexagon", 6) == 6
    assert list(shapes)[-1] == "hexagon"


def test_a_name_is_given_once(shapes):
    shapes.register("triangle", 3)  # the same once more
    assert list(shapes) == ["triangle", "square", "pentagon"]
    with pytest.raises(ValueError, match=r"^there is another shape named square$"):
        shapes.register("square", 5)
    assert shapes["square"] == 4


def test_an_unknown_name_is_refused_and_the_nearest_named(shapes):
    assert shapes.check("square") == "square"
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        shapes.check("squares")
    assert str(caught.value) == (
        "cannot be 'squares': there is no shape of that name; did you mean square, "
        "or is the module that registers it not imported (--import)?"
    )
    with pytest.raises(
        ValueError, match=r"choose one of triangle, square, pentagon, or import .*\(--import\)$"
    ):
        shapes.check("xyz")


def test_functions_are_resolved_where_they_are_named():
    assert resolve("math:sqrt") is math.sqrt
    assert resolve(math.sqrt) is math.sqrt
    with pytest.raises(AttributeError):
        resolve("math:no_such_function")
