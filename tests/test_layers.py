"""The architecture: imports between rooms point one way, and heavy libraries live in one place."""

import ast
import functools
from pathlib import Path

import pytest

import blurjax

PACKAGE = Path(blurjax.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)
MAY_IMPORT = {
    "runtime": set(),
    "engine": set(),
    "config": {"runtime"},
    "models": {"engine", "config"},
    "data": {"runtime", "config"},
    "views": {"engine", "config", "models"},
    "train": {"runtime", "engine", "config", "data", "models", "views"},
    "sharpness": {"runtime", "engine", "config", "data", "models", "views"},
    "analysis": {"runtime", "config"},
    "report": {"runtime", "config", "analysis"},
    "experiment": {
        "runtime",
        "engine",
        "config",
        "data",
        "models",
        "views",
        "train",
        "sharpness",
        "analysis",
        "report",
    },
    "cli": {"runtime", "engine", "config", "data", "train", "sharpness", "experiment", "report"},
}
"""Room -> the rooms that it may import from."""
ONLY = {
    "tensorflow": {"data"},
    "tensorflow_datasets": {"data"},
    "orbax": {"train/checkpoints.py", "runtime/processes.py"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "yaml": {"config", "report/page.py"},
    "pydantic": {"config"},
}
"""Library -> the rooms or modules that may import it."""
NO_JAX = ("config", "data", "analysis", "report")
LONGEST_CHAIN = 9
"""Modules that import one another in turn, where the exports of another room are not followed further."""


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Dotted names of everything that a file imports, but for those that annotations alone need."""
    tree = ast.parse(path.read_text())
    typing = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    ]
    left_out = {inner for node in typing for inner in ast.walk(node)}
    found = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@functools.cache
def depth(path: Path) -> tuple[str, ...]:
    """The longest chain of modules of the package that begins with this one."""
    chains = [()]
    for name in imports(path):
        file = PACKAGE.parent / (name.replace(".", "/") + ".py")
        if file in FILES and file != path:
            chains.append(depth(file))
    return (str(path.relative_to(PACKAGE)), *max(chains, key=len))


def test_the_package_is_a_few_rooms():
    entries = {path.name for path in PACKAGE.iterdir()} - {"__pycache__"}
    assert {name for name in entries if "." not in name} == MAY_IMPORT.keys()
    assert len(entries) <= 15


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "blurjax" and len(parts) > 1 and parts[1] != room(path):
            assert parts[1] in MAY_IMPORT[room(path)], f"{path} imports {name}"


def test_no_chain_of_imports_is_long():
    longest = max(map(depth, FILES), key=len)
    assert len(longest) <= LONGEST_CHAIN, " -> ".join(longest)


def test_every_room_says_what_it_is_for():
    for name in MAY_IMPORT:
        assert ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text())), name


@pytest.mark.parametrize("library", ONLY)
def test_heavy_libraries_live_in_one_place(library):
    for path in FILES:
        if library in {name.split(".")[0] for name in imports(path)}:
            module = path.relative_to(PACKAGE).as_posix()
            assert {module, room(path)} & ONLY[library], f"{module} imports {library}"


def test_jax_stays_out_of_what_needs_none():
    for path in FILES:
        if room(path) in NO_JAX:
            assert not {n.split(".")[0] for n in imports(path)} & {"jax", "flax", "optax"}, path


def test_private_parts_of_jax_are_left_alone():
    assert not [path for path in FILES if any(n.startswith("jax._src") for n in imports(path))]


def test_tensorflow_is_imported_lazily():
    for path in FILES:
        top = {name.split(".")[0] for name in imports(path, top_level_only=True)}
        assert not top & {"tensorflow", "tensorflow_datasets"}, path
