"""The data that most experiments of the tests are made with."""

import pytest
from tiny import write_stripes


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_stripes(tmp_path_factory.mktemp("data") / "stripes.npz")
