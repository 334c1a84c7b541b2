"""Rates images: how probably they are blurry, how much, how and where."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.special import expit, softmax

from blurjax.data import image_files
from blurjax.engine import Array, Params, silence_libtpu
from blurjax.runtime import UserError
from blurjax.sharpness.features import (
    REGION,
    region_features,
    region_starts,
    turned_and_mirrored,
)
from blurjax.sharpness.network import KINDS, Judgement, Network

RATED_SIZE = 768
"""Pixels: a larger image is reduced so that its longer side has this many; smaller ones are rated as they are."""
REGIONS_AT_ONCE = 128
FLAT = 1.5 / 255
"""Standard deviation of brightness below which nothing in a region can be judged."""
NOTHING = "nothing to judge"
VERSION = 1
"""Raised whenever the same detector may say other things of the same image: what is kept of it is made again."""
SHIPPED = Path(__file__).parent / "detector.safetensors"


@dataclass(frozen=True, eq=False)
class Rating:
    """What is known of an image.

    Attributes:
      probability: that the image is blurry, in [0,1]: the mean over the detectors of an ensemble.
      interval: of that probability, between the 5th and the 95th percentile of the detectors.
      sigma: strength of the blur: the standard deviation, in pixels of the image as it is rated, of the Gaussian blur
        that would cost as much.
      kind: "sharp" below a probability of 0.5, else the most probable of `KINDS`; `NOTHING` where no region can be
        judged (the probability is then 0.5, its interval all there is, and sigma 0).
      regions: f32[rows,columns], the probability that each region of REGION x REGION pixels is blurry; NaN where
        nothing is to be judged.
    """

    probability: float
    interval: tuple[float, float]
    sigma: float
    kind: str
    regions: np.ndarray


@dataclass(frozen=True, eq=False)
class Detector:
    """An ensemble of networks.

    Attributes:
      params: of `Network`, with a leading axis of detectors.
      facts: how it was made, as text by name.
    """

    params: Params
    facts: dict[str, str]

    @classmethod
    def load(cls, path: Path = SHIPPED) -> Detector:
        """Reads a file that `save` wrote; by default, the detector that comes with the package.

        Raises:
          UserError: it cannot be read, or is none of these.
        """
        try:
            with safe_open(path, "numpy") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                facts = json.loads(file.metadata()["facts"])
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} is no detector ({error}); scripts/train_detector.py makes one."
            ) from None
        return cls(flax.traverse_util.unflatten_dict(tensors, sep="."), facts)

    def save(self, path: Path) -> None:
        """Writes a safetensors file, the same bytes each time."""
        flat = flax.traverse_util.flatten_dict(self.params, sep=".")
        tensors = {name: np.asarray(value) for name, value in flat.items()}
        # As one entry: safetensors writes several in any order.
        save_file(tensors, path, {"facts": json.dumps(self.facts, sort_keys=True)})


@functools.cache
def shipped_detector() -> Detector:
    """Returns the detector that comes with the package."""
    return Detector.load()


def rate(image: np.ndarray, detector: Detector | None = None) -> Rating:
    """Rates an image.

    Args:
      image: u8[H,W,3], u8[H,W,1] or u8[H,W]. It is reduced to RATED_SIZE where it is larger (what is blurry at that
        size is called so), and both sides must then be REGION at least. The answer does not depend on colours.
      detector: the one that comes with the package where it is None.

    Raises:
      UserError: if the image is smaller than a region or no such array.
    """
    return rate_images([image], detector)[0]


def rate_images(
    images: Sequence[np.ndarray] | np.ndarray, detector: Detector | None = None
) -> list[Rating]:
    """Rates images, each as `rate` does; for small ones, faster than one by one.

    Args:
      images: of any sizes, as `rate` takes them; or an array u8[N,H,W,3].
      detector: as of `rate`.

    Returns:
      A rating for each.

    Raises:
      UserError: see `rate`.
    """
    if not len(images):
        return []
    silence_libtpu()
    params = (detector or shipped_detector()).params
    grids = [_regions(brightness(image)) for image in images]
    described = _describe(np.concatenate([regions for regions, _ in grids]))
    ends = np.cumsum([len(regions) for regions, _ in grids])
    ratings = []
    for (regions, shape), end in zip(grids, ends, strict=True):
        features = described[end - len(regions) : end]
        ratings.append(_rating(params, features, regions, shape))
    return ratings


def brightness(image: np.ndarray) -> np.ndarray:
    """Returns an image as it is rated: u8[H,W], brightness (ITU-R BT.601), the longer side RATED_SIZE at most.

    Raises:
      UserError: see `rate`.
    """
    if (
        image.dtype != np.uint8
        or image.ndim not in (2, 3)
        or image.shape[2:] not in ((), (1,), (3,))
    ):
        raise UserError(
            f"An image to rate must be an array uint8 [height, width] or [height, width, 3], but this one is "
            f"{image.dtype} {list(image.shape)}."
        )
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    whole = Image.fromarray(image)
    reduced = image_files.reduce(whole.convert("L"), RATED_SIZE)
    if min(reduced.size) < REGION:
        rated = (
            "" if reduced.size == whole.size else " ({}x{} when it is rated)".format(*reduced.size)
        )
        raise UserError(
            f"An image of {whole.width}x{whole.height} pixels{rated} is too small to be rated; "
            f"{REGION}x{REGION} is the least."
        )
    return np.asarray(reduced)


def _regions(image: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Cuts an image u8[H,W] into regions u8[R,REGION,REGION], and says how many rows and columns they are."""
    rows, columns = (region_starts(size) for size in image.shape)
    windows = np.lib.stride_tricks.sliding_window_view(image, (REGION, REGION))
    regions = windows[rows[:, None], columns[None, :]]
    return regions.reshape(-1, REGION, REGION), (len(rows), len(columns))


def _describe(regions: np.ndarray) -> np.ndarray:
    """Computes the features of regions u8[R,REGION,REGION], a fixed number at once: one program is compiled."""
    parts = []
    for start in range(0, len(regions), REGIONS_AT_ONCE):
        part = regions[start : start + REGIONS_AT_ONCE]
        padding = ((0, REGIONS_AT_ONCE - len(part)), (0, 0), (0, 0))
        parts.append(np.asarray(_features(np.pad(part, padding)))[: len(part)])
    return np.concatenate(parts)


@jax.jit
def _features(regions: Array) -> Array:
    return region_features(regions.astype(jnp.float32) / 255)


@jax.jit
def _judge(params: Params, features: Array, present: Array) -> Judgement:
    """Judges an image by all detectors: the mean of what they say of it as it is, turned and mirrored."""
    of_ways = jax.vmap(Network().apply, (None, 0, None))
    ways = turned_and_mirrored(features)
    judged = jax.vmap(of_ways, (0, None, None))(params, ways, present)  # pyright: ignore
    return jax.tree.map(lambda x: x.mean(1), judged)


def _rating(
    params: Params, features: np.ndarray, regions: np.ndarray, shape: tuple[int, int]
) -> Rating:
    padding = 2 ** int(np.ceil(np.log2(len(features)))) - len(features)
    present = np.arange(len(features) + padding) < len(features)
    judged = jax.tree.map(
        np.asarray, _judge(params, np.pad(features, ((0, padding), (0, 0))), present)
    )
    probabilities = expit(judged.logit.astype(np.float64))
    of_regions = expit(judged.region_logits.astype(np.float64)).mean(0)[: len(features)]
    of_regions[regions.std((1, 2)) < 255 * FLAT] = np.nan
    if np.isnan(of_regions).all():
        return Rating(0.5, (0.0, 1.0), 0.0, NOTHING, of_regions.reshape(shape))
    probability = float(probabilities.mean())
    kind = KINDS[1 + int(softmax(judged.kind_logits, axis=-1).mean(0).argmax())]
    return Rating(
        probability,
        tuple(np.quantile(probabilities, (0.05, 0.95)).tolist()),
        float(np.exp(judged.log_sigma.mean())),
        kind if probability >= 0.5 else KINDS[0],
        of_regions.reshape(shape),
    )
