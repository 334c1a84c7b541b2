"""The architecture: a module imports only from the rows above its own, and heavy libraries live in one place."""

import ast
from pathlib import Path

import pytest

import blurjax

PACKAGE = Path(blurjax.__file__).parent
ROWS = [
    ["errors"],
    ["sections"],
    ["config"],
    ["lock", "stop"],
    ["view_names"],
    ["types"],
    ["rng", "processes"],
    ["run_directory"],
    ["models"],
    ["losses", "image_quality"],
    ["views"],
    ["data"],
    ["audit"],
    ["trials"],
    ["train_state"],
    ["steps"],
    ["sweep", "memory"],
    ["feed"],
    ["checkpoint"],
    ["train"],
    ["functions"],
    ["layout"],
    ["programs"],
    ["evaluate", "trial_table"],
    ["context"],
    ["fitted_views"],
    ["view_quality"],
    ["fitting"],
    ["formatting", "statistics", "probe"],
    ["verdicts", "history"],
    ["comparisons"],
    ["recorded"],
    ["measures"],
    ["across_points"],
    ["results"],
    ["answer"],
    ["first_experiment"],
    ["plots", "tables"],
    ["figures"],
    ["report"],
    ["environment", "plan"],
    ["stages"],
    ["predictions"],
    ["experiment"],
    ["terminal"],
    ["cli"],
]
ONLY = {
    "tensorflow": {"data/pipeline.py"},
    "tensorflow_datasets": {"data/pipeline.py"},
    "orbax": {"checkpoint.py"},
    "matplotlib": {"plots"},
    "jinja2": {"report.py"},
    "yaml": {"config.py", "report.py"},
    "pydantic": {"sections.py", "config.py"},
}
NO_JAX = [
    "errors",
    "sections",
    "config",
    "view_names",
    "lock",
    "stop",
    "run_directory",
    "audit",
    "formatting",
    "statistics",
    "verdicts",
    "history",
    "recorded",
    "comparisons",
    "measures",
    "across_points",
    "results",
    "answer",
    "first_experiment",
    "plots",
    "tables",
    "figures",
    "report",
]
FILES = sorted(PACKAGE.rglob("*.py"))


def unit(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_module_has_a_row():
    assert {unit(path) for path in FILES} - {"__init__"} == {name for row in ROWS for name in row}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_rows_above(path):
    if unit(path) == "__init__":
        return
    row_of = {name: number for number, row in enumerate(ROWS) for name in row}
    for name in imports(path):
        parts = name.split(".")
        if (
            parts[0] == "blurjax"
            and len(parts) > 1
            and parts[1] in row_of
            and parts[1] != unit(path)
        ):
            assert row_of[parts[1]] < row_of[unit(path)], f"{path.name} imports {name}"


@pytest.mark.parametrize("library", ONLY)
def test_heavy_libraries_live_in_one_place(library):
    for path in FILES:
        if any(name.split(".")[0] == library for name in imports(path)):
            relative = path.relative_to(PACKAGE)
            assert {str(relative), relative.parts[0]} & ONLY[library], (
                f"{relative} imports {library}"
            )


def test_analysis_needs_no_jax():
    for path in FILES:
        if unit(path) in NO_JAX:
            assert not {
                name for name in imports(path) if name.split(".")[0] in ("jax", "flax", "optax")
            }, path


def test_tensorflow_is_imported_lazily():
    for path in FILES:
        top = {name.split(".")[0] for name in imports(path, top_level_only=True)}
        assert not top & {"tensorflow", "tensorflow_datasets"}, path
