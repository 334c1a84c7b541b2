"""docs/api.md names exactly what the package and its rooms export, with the arguments that functions have."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

import blurjax

PAGE = (Path(__file__).parents[1] / "docs" / "api.md").read_text()
SECTIONS = dict(re.findall(r"^## ([\w.]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
PACKAGE = Path(blurjax.__file__).parent
ROOMS = {f"blurjax.{path.parent.name}" for path in PACKAGE.glob("*/__init__.py")} - {"blurjax.cli"}


def entries(section):
    """Name -> what stands in parentheses after it, or None; and the names of earlier sections."""
    text = re.sub(r"\s*\n  ", " ", SECTIONS[section])
    found = re.findall(r"^- `(\w+)(\(.*?\))?`: [A-Z`].*\.\)?$", text, re.MULTILINE)
    assert len(found) == len(re.findall(r"^- ", text, re.MULTILINE)), "an entry has another form"
    names = dict(found)
    assert len(names) == len(found)
    above = re.search(r"^As above: (.*?)\.\n", text, re.MULTILINE | re.DOTALL)
    earlier = re.sub(r"\(there.*?\)", "", above[1]) if above else ""
    return names, set(re.findall(r"`(\w+)`", earlier))


def signature(function):
    """The arguments without annotations; defaults of more than 20 characters or of no literal are ..."""
    shown = []
    found = inspect.signature(function)
    for parameter in found.parameters.values():
        text = repr(parameter.default)
        known = parameter.default is parameter.empty or ("<" not in text and len(text) <= 20)
        default = parameter.default if known else ...
        shown.append(parameter.replace(annotation=parameter.empty, default=default))
    without_annotations = found.replace(parameters=shown, return_annotation=found.empty)
    return str(without_annotations).replace("Ellipsis", "...")


def test_there_is_a_section_for_the_package_and_every_room():
    assert SECTIONS.keys() == {"blurjax"} | ROOMS


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_names_exactly_what_is_exported(section):
    names, earlier = entries(section)
    assert names.keys() | earlier == {*importlib.import_module(section).__all__}
    assert not names.keys() & earlier


@pytest.mark.parametrize("section", SECTIONS)
def test_functions_have_the_arguments_shown(section):
    room = importlib.import_module(section)
    for name, shown in entries(section)[0].items():
        value = getattr(room, name)
        if shown or inspect.isfunction(value):
            assert shown == signature(value), f"{section}.{name}"


def test_a_name_of_an_earlier_section_is_there():
    described = {}
    for section in SECTIONS:
        room = importlib.import_module(section)
        names, earlier = entries(section)
        for name in earlier:
            assert any(getattr(room, name) is value for value in described.values()), name
        described |= {f"{section}.{name}": getattr(room, name) for name in names}
