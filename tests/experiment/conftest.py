"""The data that most experiments of the tests are made with, and what makes them short."""

import pytest
from tiny import write_stripes

from blurjax.report.figures import style


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_stripes(tmp_path_factory.mktemp("data") / "stripes.npz")


@pytest.fixture(scope="module", autouse=True)
def figures_without_files():
    """Makes no files of figures: it takes two thirds of so small a run, and processes of their own do it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "png", lambda figure: b"a figure")
        yield
