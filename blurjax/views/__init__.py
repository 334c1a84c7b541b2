"""Views: functions from images to images, and measures of what they change.

`apply` puts images into a view without a run. `register` adds a view of one's own: a function of (parameters, images,
indices) and a row of the table.
"""

import importlib
from typing import TYPE_CHECKING, Any

from blurjax.config.view_table import VIEWS, ViewSpec
from blurjax.config.view_table import register_view as register

if TYPE_CHECKING:
    from blurjax.views.application import apply
    from blurjax.views.functions import ViewParameters, eight_bit

__all__ = ["VIEWS", "ViewParameters", "ViewSpec", "apply", "eight_bit", "register"]

_MODULE_OF = {"ViewParameters": "functions", "apply": "application", "eight_bit": "functions"}


def __getattr__(name: str) -> Any:
    """Imports what needs jax when it is first used: the table alone must not."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'blurjax.views' has no attribute {name!r}")
    return getattr(importlib.import_module(f"blurjax.views.{_MODULE_OF[name]}"), name)
