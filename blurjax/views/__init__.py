"""Views: functions from images to images, and measures of what they change.

`register` adds a view of one's own: a function of (parameters, images, indices) and a row of the table.
"""

from typing import TYPE_CHECKING, Any

from blurjax.config.view_table import VIEWS, ViewSpec
from blurjax.config.view_table import register_view as register

if TYPE_CHECKING:
    from blurjax.views.functions import ViewParameters, eight_bit

__all__ = ["VIEWS", "ViewParameters", "ViewSpec", "eight_bit", "register"]


def __getattr__(name: str) -> Any:
    """Imports what needs jax when it is first used: the table alone must not."""
    if name not in __all__:
        raise AttributeError(f"module 'blurjax.views' has no attribute {name!r}")
    from blurjax.views import functions

    return getattr(functions, name)
