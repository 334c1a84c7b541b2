"""Data sets by the name that data.source gives: a registry of sources."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from blurjax.config.registry import Registry
from blurjax.config.settings import DataConfig
from blurjax.data import array_source, folder_source, hf_source, tfds_source
from blurjax.data.dataset import ARRAYS, Dataset, make_dataset
from blurjax.data.examples import Examples
from blurjax.data.messages import printable
from blurjax.runtime.errors import UserError
from blurjax.runtime.files import expand_path


class Source(NamedTuple):
    """One kind of data source."""

    load: Callable[[str, DataConfig], Examples]
    """(what follows the colon, settings) -> all images; raises UserError."""
    form: str
    """How data.source names it, such as npz:FILE; without a colon, nothing may follow the name."""
    description: str
    """One sentence for `blurjax datasets`; {data_dir} stands for where TFDS data sets lie."""


SOURCES: Registry[Source] = Registry("data source")


def register_source(
    name: str, load: Callable[[str, DataConfig], Examples], form: str, description: str
) -> None:
    """Adds a data source; the arguments are the fields of `Source`.

    Raises:
      ValueError: there is another of that name.
    """
    SOURCES.register(name, Source(load, form, description))


register_source(
    "digits",
    array_source.load_digits,
    "digits",
    "1,797 handwritten digits, 8x8 grey, in 10 classes; ships with scikit-learn.",
)
register_source(
    "npz",
    array_source.load_npz,
    "npz:FILE",
    "arrays image and label, x_train and y_train, train_images and train_labels, ...",
)
register_source(
    "folder",
    folder_source.load_folder,
    "folder:PATH",
    "images in PATH/CLASS/ or PATH/train|validation|test/CLASS/.",
)
register_source(
    "tfds",
    tfds_source.load_tfds,
    "tfds:NAME[/CONFIG]",
    "a TFDS data set, once prepared in {data_dir}.",
)
register_source(
    "hf",
    hf_source.load_hf,
    "hf:PATH",
    "a data set of Hugging Face on this machine: of save_to_disk, parquet, arrow, or the name of one in its cache.",
)


def load(config: DataConfig) -> Dataset:
    """Loads a data set: decoded, of one size, split; equal settings and data give equal arrays.

    Raises:
      UserError: the source is unknown, missing, damaged or unfit for an experiment.
    """
    if not isinstance(config, DataConfig):
        raise UserError(
            f"A data set is loaded by the settings `data` of a Config and not by {config!r:.60}; write "
            'blurjax.load_dataset(blurjax.load_config("digits").data), or set data.source.'
        )
    if config.source == ARRAYS:
        raise UserError(
            "These settings are of a run whose images were arrays in Python; give them to run_experiment again as "
            "dataset, or name a data source in data.source."
        )
    name, _, rest = config.source.partition(":")
    if name not in SOURCES:
        raise UserError(_unknown(config.source, name))
    source = SOURCES[name]
    if rest and ":" not in source.form:
        raise UserError(
            f"The data source {name} takes nothing after a colon, but got {printable(rest)}."
        )
    if ":" in source.form and not rest:
        raise UserError(f"The data source {name} needs to say which; write {source.form}.")
    try:
        examples = source.load(rest, config)
    except UserError:
        raise
    except Exception as error:  # of a source that was registered; ours raise UserError
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(
            f"The data source {printable(config.source)} failed with {reason}; correct the source or what it reads "
            "(--debug shows the traceback)."
        ) from error
    return replace(make_dataset(examples, config), source=config.source)


def describe(data_dir: Path | None = None) -> list[tuple[str, str]]:
    """Lists what data.source can name.

    Args:
      data_dir: where prepared TFDS data sets lie; None: where TFDS keeps them.

    Returns:
      (name, sentence) of what is there offline, then of the forms that name data of one's own.
    """
    directory = tfds_source.data_directory(data_dir)
    described = [
        (source.form, source.description.replace("{data_dir}", printable(directory)))
        for source in SOURCES.values()
    ]
    return [
        *(row for row in described if ":" not in row[0]),
        *((f"tfds:{name}", sizes) for name, sizes in tfds_source.list_prepared(directory)),
        *(row for row in described if ":" in row[0]),
    ]


def _unknown(source: str, name: str) -> str:
    forms = {known: entry.form for known, entry in SOURCES.items()}
    with contextlib.suppress(OSError):  # a name too long for a path
        path = expand_path(source)
        if path.exists():
            form = "folder" if path.is_dir() else "npz"
            return f"There is no data source {printable(source)}; did you mean {form}:{printable(source)}?"
    near = difflib.get_close_matches(name.casefold(), forms, n=1, cutoff=0.5)
    if near:
        return f"There is no data source {printable(source)}; did you mean {forms[near[0]]}?"
    return (
        f"There is no data source {printable(source)}; choose one of {', '.join(forms.values())}, or import the "
        "module that registers it (--import)."
    )
