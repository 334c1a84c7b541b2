"""What a finished run leaves to other programs: its data set in a view, and its models."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict
from PIL import Image

from blurjax.config import override, to_yaml
from blurjax.config.settings import SPLITS
from blurjax.config.trials import views_in_use
from blurjax.config.view_table import VIEWS
from blurjax.data import Dataset, load
from blurjax.experiment.blurry_images import leave_out_blurry
from blurjax.experiment.calls import make_programs
from blurjax.experiment.context import Context
from blurjax.experiment.fingerprints import check_fingerprints
from blurjax.experiment.fitted_views import FittedViews
from blurjax.experiment.programs import Programs
from blurjax.experiment.saved_run import SavedRun
from blurjax.experiment.view_stage import fit_views
from blurjax.runtime import (
    RunDirectory,
    UserError,
    expand_path,
    readable_os_errors,
    write_bytes,
    write_npz,
)
from blurjax.train.metric_writers import MetricWriter


def export_view(
    directory: str | os.PathLike[str],
    view: str,
    out: str | os.PathLike[str],
    *,
    seed: int | None = None,
    bottleneck: int | None = None,
    dataset: Dataset | None = None,
) -> Path:
    """Writes all splits of a run's data set in a view, as data.source reads them again.

    Args:
      directory: of the finished run, which is only read.
      view: one that the run trained or tested on, or "reconstruction".
      out: a file FILE.npz with "image" u8[N,H,W,C], "label" i32[N], "split" str[N], "name" str[N] and "class_names"
        str[K]; or else a directory for out/SPLIT/CLASS/NUMBER-NAME.png. Images are in the order of the run's splits.
      seed: of the trial whose autoencoder, folds and random numbers make the view; None: the first.
      bottleneck: of that trial; may be left out where the run has one.
      dataset: what the run was given instead of data.source.

    Returns:
      The path written.

    Raises:
      UserError: the run is not finished, has no such view or trial, its images or code have changed since, or
        something is at the path already.
    """
    out = _free(out)
    saved = SavedRun(directory)
    trial = saved.autoencoder_trial(seed, bottleneck)
    known = views_in_use(saved.config)
    if view not in known:
        raise UserError(f"{saved.path} has no view {view}; name one of {', '.join(known)}.")
    if VIEWS[view].network != "model":
        raise UserError(
            f"Classifiers of {view} are another network, trained on originals; name original, or --models for weights."
        )
    programs, views = _views(saved, dataset)
    if views.failed_step(view, trial) >= 0:
        raise UserError(
            f"An autoencoder of {trial.key} was frozen when something was not finite; name another seed."
        )
    positions = _positions(programs.dataset)
    images = views.images(view, trial, positions)
    labels = views.of_trial(view, trial).labels  # permuted in "shuffled"
    labels = (programs.dataset.labels if labels is None else labels)[positions]
    write = _write_npz if out.suffix == ".npz" else _write_folder
    with readable_os_errors(out):
        write(out, images, labels, programs.dataset)
    return out


def _views(saved: SavedRun, dataset: Dataset | None) -> tuple[Programs, FittedViews]:
    """Returns what the run's views are made with, which all lies in its directory."""
    config = saved.config
    dataset = leave_out_blurry(load(config.data) if dataset is None else dataset, config.data)
    run = RunDirectory(saved.path, writes=False)
    check_fingerprints(run, config, dataset)
    here = {"compute.devices": None, "compute.mesh": "auto", "compute.trials_per_vmap": 1}
    programs = make_programs(override(config, here), dataset)
    context = Context(config, run, programs, MetricWriter(), lambda: False)
    return programs, fit_views(context, saved.models("autoencoder"))


def _write_npz(out: Path, images: np.ndarray, labels: np.ndarray, dataset: Dataset) -> None:
    write_npz(
        out,
        image=images,
        label=labels,
        split=np.array(_split_names(dataset)),
        name=np.array([dataset.names[i] for i in _positions(dataset)]),
        class_names=np.array(dataset.class_names),
    )


def _write_folder(out: Path, images: np.ndarray, labels: np.ndarray, dataset: Dataset) -> None:
    """Writes into a temporary directory, which gets its name when all is there."""
    folders = _folder_names(dataset.class_names)
    stems = [_cut(Path(dataset.names[i]).stem) for i in _positions(dataset)]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=out.parent) as temporary:
        place = Path(temporary) / "images"
        for i, split in enumerate(_split_names(dataset)):
            folder = place / split / folders[labels[i]]
            folder.mkdir(parents=True, exist_ok=True)
            image = images[i].squeeze(-1) if images.shape[-1] == 1 else images[i]
            Image.fromarray(image).save(folder / f"{i:06d}-{stems[i]}.png")
        place.rename(out)


def _cut(stem: str) -> str:
    """Shortens a name so that a number and a suffix fit beside it: names of files have at most 255 bytes."""
    return stem.encode(errors="ignore")[:200].decode(errors="ignore")


def _positions(dataset: Dataset) -> np.ndarray:
    """Returns the positions of all splits, in the order in which images are written."""
    return np.concatenate([dataset.splits[split] for split in SPLITS])


def _split_names(dataset: Dataset) -> list[str]:
    return [split for split in SPLITS for _ in dataset.splits[split]]


def _folder_names(class_names: Sequence[str]) -> list[str]:
    folders = [name.replace("/", "_") for name in class_names]
    if len(set(folders)) < len(folders) or any(not f or f.startswith(".") for f in folders):
        raise UserError("The names of the classes do not make folders of their own; name FILE.npz.")
    return folders


def export_models(directory: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """Writes the weights of all models of a finished run into a file of safetensors.

    The tensors are named "STAGE/TRIAL/COLLECTION/...", such as
    "classifier/original/seed=0 learning_rate=0.01 weight_decay=0.0/params/Conv_0/kernel", and are what the run
    evaluated: the average of the weights or the best epoch where the settings ask for them. The metadata has the
    settings ("config", YAML), "class_names" and "image_shape" (JSON). Trials that were frozen are left out.

    Args:
      directory: of the run, which is only read.
      out: the file FILE.safetensors.

    Returns:
      The path written.

    Raises:
      UserError: the run is not finished, its code has changed since, or the path exists already.
    """
    out = _free(out)
    if out.suffix != ".safetensors":
        raise UserError(
            f"Models are written as safetensors, and {out} does not end in .safetensors; name such a file."
        )
    saved = SavedRun(directory)
    tensors: dict[str, np.ndarray] = {}
    for stage in ("autoencoder", *(f"classifier/{view}" for view in saved.config.train_views)):
        for trial, model in saved.models(stage).items():
            if model.failed_step < 0:
                tensors |= _named(model.variables, f"{stage}/{trial.key}")
    metadata = {
        "config": to_yaml(saved.config),
        "class_names": json.dumps(saved.class_names),
        "image_shape": json.dumps(saved.image_shape),
    }
    with readable_os_errors(out):
        write_bytes(out, safetensors.numpy.save(tensors, metadata))
    return out


def _named(variables: Mapping[str, Any], prefix: str) -> dict[str, np.ndarray]:
    flat = flatten_dict(variables, sep="/")
    return {f"{prefix}/{name}": np.ascontiguousarray(leaf) for name, leaf in flat.items()}


def _free(out: str | os.PathLike[str]) -> Path:
    """Returns the path, or raises UserError where something is there."""
    out = expand_path(out)
    with readable_os_errors(out):
        if out.exists():
            raise UserError(f"{out} exists already, and nothing is replaced; name another path.")
    return out
