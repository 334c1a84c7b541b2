"""Images and labels: where they come from, how they are decoded, cached, split, audited and read in batches."""

from blurjax.config.settings import SPLITS
from blurjax.data.array_source import examples_of_arrays
from blurjax.data.audit import audit_dataset
from blurjax.data.dataset import Dataset, drop_blurry
from blurjax.data.examples import Examples
from blurjax.data.prefetch import read_batches
from blurjax.data.sources import describe, load, register_source
from blurjax.data.splits import fold_assignment, generator, nested_subsets

__all__ = [
    "SPLITS",
    "Dataset",
    "Examples",
    "audit_dataset",
    "describe",
    "drop_blurry",
    "examples_of_arrays",
    "fold_assignment",
    "generator",
    "load",
    "nested_subsets",
    "read_batches",
    "register_source",
]
