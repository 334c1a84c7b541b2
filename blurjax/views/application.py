"""Views of images that belong to no run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from blurjax.config import VIEWS, resolve
from blurjax.config.view_table import CODECS
from blurjax.views.codecs import BEST, WORST, round_trip
from blurjax.views.fitting import averaging, gaussian, principal_components
from blurjax.views.functions import ViewParameters, view_index

ARGUMENTS = {"blur": {"sigma"}, "downsample": {"values"}, "pca": {"values", "fitted_to"}} | {
    codec: {"quality"} for codec in CODECS
}
"""What says how strong a view is where there is no autoencoder that it is matched to."""


def apply(
    view: str,
    images: np.ndarray,
    *,
    sigma: float | None = None,
    values: int | None = None,
    quality: int | None = None,
    fitted_to: np.ndarray | None = None,
) -> np.ndarray:
    """Puts images into a view that needs no autoencoder, as strong as the arguments say.

    Args:
      view: "blur", "downsample", "pca", "jpeg", "webp", or one of your own that uses no parameters.
      images: u8[N,H,W,C].
      sigma: of "blur": standard deviation in pixels, positive.
      values: of "downsample" and "pca": how many numbers are kept of each image; at least C for "downsample".
      quality: of "jpeg" and "webp": from 1, the worst, to 100.
      fitted_to: of "pca": u8[M,H,W,C], the images whose principal components are taken.

    Returns:
      u8[N,H,W,C].

    Raises:
      ValueError: the view is unknown or needs an autoencoder, an argument is missing, not of this view or out of range.
    """
    arguments = {"sigma": sigma, "values": values, "quality": quality, "fitted_to": fitted_to}
    _check(view, images, {name: v for name, v in arguments.items() if v is not None})
    if quality is not None:
        return round_trip(images, view, quality)[0]
    parameters: dict[str, Any] = dict.fromkeys(ViewParameters._fields)
    parameters |= {"view": view_index(view), "seed": 0, "bottleneck": values}
    if sigma is not None:
        parameters["blur"] = gaussian(sigma, images.shape[1:])
    if fitted_to is not None and values is not None:
        rng, every = np.random.default_rng(0), np.arange(len(fitted_to))
        parameters["basis"] = principal_components(fitted_to, every, values, rng, seed=0)
    elif values is not None:
        parameters["downsample"] = averaging(images.shape[1:], values)
    function = resolve(VIEWS[view].function)
    viewed = function(
        ViewParameters(**parameters), images / np.float32(255), np.arange(len(images))
    )
    return np.round(np.asarray(viewed) * 255).astype(np.uint8)


def _check(view: str, images: np.ndarray, given: dict[str, Any]) -> None:
    if view not in VIEWS:
        raise ValueError(f"there is no view {view!r}; views are {', '.join(VIEWS)}")
    spec, needed = VIEWS[view], ARGUMENTS.get(view, set())
    if (spec.needs_autoencoder or spec.needs_folds) and not needed:
        raise ValueError(
            f"{view} is made by an autoencoder; use load_run(...).autoencoder(...).reconstruct(images) or export_view"
        )
    if given.keys() != needed:
        wanted = " and ".join(sorted(needed)) or "no further argument"
        raise ValueError(f"{view} takes {wanted}; given: {', '.join(given) or 'none'}")
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(
            f"images must be u8[N,H,W,C], and not {images.dtype} of shape {images.shape}"
        )
    height, width, channels = images.shape[1:]
    least, most = channels if view == "downsample" else 1, height * width * channels
    if "fitted_to" in given:
        fitted_to = given["fitted_to"]
        if fitted_to.dtype != np.uint8 or fitted_to.shape[1:] != images.shape[1:]:
            raise ValueError(f"fitted_to must be u8[M,{height},{width},{channels}]")
        most = min(most, len(fitted_to))
    ranges = {"sigma": (0, math.inf), "quality": (WORST, BEST), "values": (least, most)}
    for name in ranges.keys() & given.keys():
        low, high = ranges[name]
        if not low <= given[name] <= high or given[name] == 0 or math.isinf(given[name]):
            raise ValueError(f"{name} must be from {low} to {high}, and not {given[name]}")
