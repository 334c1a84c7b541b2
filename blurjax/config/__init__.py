"""Settings, the table of views, and the trials that follow from both. No jax.

`settings` and `model_settings` define them, `loading` reads them, `registry` holds what settings choose among by name.
"""

from blurjax.config.loading import load, override, to_yaml
from blurjax.config.model_settings import ModelConfig
from blurjax.config.registry import resolve
from blurjax.config.settings import OPTIMIZERS, SPLITS, Config, DataConfig, TrainingConfig
from blurjax.config.trials import LONGER, Point, Trial
from blurjax.config.view_table import VIEWS, ViewSpec

__all__ = [
    "LONGER",
    "OPTIMIZERS",
    "SPLITS",
    "VIEWS",
    "Config",
    "DataConfig",
    "ModelConfig",
    "Point",
    "TrainingConfig",
    "Trial",
    "ViewSpec",
    "load",
    "override",
    "resolve",
    "to_yaml",
]
