"""Codecs as views: the quality at which each distorts as much as an autoencoder, and all images at these qualities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from blurjax.config.trials import Trial, views_in_use
from blurjax.config.view_table import CODECS
from blurjax.runtime import UserError, processes, read_npz
from blurjax.views.codecs import matching_quality, round_trip

if TYPE_CHECKING:
    from blurjax.experiment.context import Arrays, Context


class CodecImages(NamedTuple):
    """What codecs leave of all images of the data set."""

    images: np.ndarray
    """u8[Q,N,H,W,C], a row for each codec and quality."""
    rows: dict[Trial, np.ndarray]
    """By autoencoder: i32[2], the row of each codec; 0 for one that is not in use."""


def _in_use(context: Context) -> list[str]:
    return [codec for codec in CODECS if codec in views_in_use(context.config)]


def no_codec_images(context: Context, trials: Sequence[Trial]) -> CodecImages | None:
    """Returns what stands in for images until the codecs are fitted; None where none is in use."""
    if not _in_use(context):
        return None
    images = np.zeros((1, 1, *context.programs.dataset.image_shape), np.uint8)
    return CodecImages(images, dict.fromkeys(trials, np.zeros(len(CODECS), np.int32)))


def fit_codecs(context: Context, trials: Sequence[Trial]) -> CodecImages | None:
    """Fits the codecs in use to autoencoders, or reads them where the run directory holds them; None: none is in use.

    Images are encoded once per quality and kept in the run directory; the views look them up.

    Raises:
      UserError: the images of all qualities together are too large for the devices.
    """
    config, dataset = context.config, context.programs.dataset
    in_use = _in_use(context)
    if not in_use:
        return None
    qualities = {codec: _qualities(context, codec, trials) for codec in in_use}
    wanted = sorted({(codec, q) for codec in in_use for q in qualities[codec].values()})
    size, limit = len(wanted) * dataset.images.nbytes / 2**30, config.data.resident_limit
    if size > limit:
        raise UserError(
            f"The images of the views {' and '.join(in_use)}, at {len(wanted)} qualities, take {size:.3g} GiB on each "
            f"device, more than data.resident_limit ({limit:g}); raise it, sweep fewer bottlenecks, or leave these "
            "views out of views.train and views.test."
        )
    images = np.empty((len(wanted), *dataset.images.shape), np.uint8)
    for row, (codec, quality) in enumerate(wanted):
        path = context.run.decoded(codec, quality)
        if not processes.broadcast(path.exists()):
            processes.on_first(partial(_encode, context, codec, quality))
        images[row] = read_npz(path)["image"]
    row_of = {which: row for row, which in enumerate(wanted)}
    rows = {t: [row_of.get((c, qualities.get(c, {}).get(t, 0)), 0) for c in CODECS] for t in trials}
    return CodecImages(images, {trial: np.array(row, np.int32) for trial, row in rows.items()})


def _qualities(context: Context, codec: str, trials: Sequence[Trial]) -> dict[Trial, int]:
    """Returns the quality for each autoencoder; it is fitted where the run directory does not hold it."""
    dataset, path = context.programs.dataset, context.run.codec(codec)

    @cache
    def distortion(quality: int) -> float:
        originals = np.asarray(dataset.images[dataset.splits["validation"]])
        difference = round_trip(originals, codec, quality)[0].astype(np.float32) - originals
        return float(np.square(difference).mean(dtype=np.float64)) / 255**2

    encode = cache(partial(_encode, context, codec))
    for trial in trials:  # one by one: asked to stop, the run stops after each
        context.complete(path, [trial], partial(_fit, context, distortion, encode))
    arrays = read_npz(path)
    found = dict(zip(arrays["trial"].tolist(), arrays["quality"].tolist(), strict=True))
    return {trial: found[trial.key] for trial in trials}


def _fit(
    context: Context,
    distortion: Callable[[int], float],
    encode: Callable[[int], np.ndarray],
    trials: list[Trial],
) -> Arrays:
    """Computes the columns of the file of a codec for autoencoders, by their distortion of the validation images."""

    def fit() -> Arrays:
        measured = read_npz(context.run.quality("reconstruction", "validation"))
        row_of = {key: row for row, key in enumerate(measured["trial"].tolist())}
        targets = [measured["mse"][row_of[t.key]].mean(dtype=np.float64) for t in trials]
        found = [matching_quality(distortion, float(target)) for target in targets]
        test = context.programs.dataset.splits["test"]
        return {
            "quality": np.array([quality for quality, _ in found], np.int32),
            "reachable": np.array([reachable for _, reachable in found]),
            "bytes": np.array([encode(quality)[test].mean() for quality, _ in found], np.float32),
        }

    # Of several processes the first alone encodes, since it alone writes.
    return processes.on_first(fit) or {}


def _encode(context: Context, codec: str, quality: int) -> np.ndarray:
    """Writes all images at a quality, unless they are there already; returns i32[N], their bytes."""
    path = context.run.decoded(codec, quality)
    if path.exists():
        return read_npz(path)["bytes"]
    decoded, sizes = round_trip(np.asarray(context.programs.dataset.images), codec, quality)
    context.run.write_npz(path, image=decoded, bytes=sizes)
    return sizes
