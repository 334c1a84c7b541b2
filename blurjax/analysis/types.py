"""Types that the modules of the analysis share with those of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]
Cell = tuple[str, str]
"""(train view, test view): a cell of the transfer matrix."""
Block = dict[str, Any]
"""A part of results.json that is being made."""
Results = Mapping[str, Any]
"""The content of results.json."""
Point = Mapping[str, Any]
"""An entry of `points` in it."""
