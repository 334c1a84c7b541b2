"""Trained autoencoders and classifiers, applied to any images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from blurjax.config import Trial
from blurjax.data.given_images import GivenImages, read_images
from blurjax.engine import Array, Scalar
from blurjax.models import apply
from blurjax.train.steps import classify
from blurjax.views.functions import as_bytes, eight_bit


@dataclass(frozen=True)
class ImageForm:
    """How images are made ready, and how many go through a network together."""

    shape: tuple[int, int, int]
    """(H, W, C)."""
    max_pixels: int
    """Of an image file."""
    batch_size: int

    def read(self, given: GivenImages) -> np.ndarray:
        """Returns images u8[N,H,W,C]."""
        return read_images(given, self.shape, max_pixels=self.max_pixels)

    def apply(self, function: Callable[[Array], Array], given: GivenImages) -> np.ndarray:
        """Applies a compiled function of images u8[B,H,W,C] to any number of them."""
        images = self.read(given)
        size = min(self.batch_size, len(images))
        padded = np.concatenate([images, images[: -len(images) % size]])
        outputs = [function(batch) for batch in padded.reshape(-1, size, *self.shape)]
        return np.concatenate([np.asarray(output) for output in outputs])[: len(images)]


@dataclass(frozen=True, repr=False, eq=False)
class TrainedAutoencoder:
    """One autoencoder of a finished run.

    Attributes:
      trial: which one; `trial.seed` and `trial.bottleneck`.
      variables: of the flax module `model`, NumPy arrays.
    """

    trial: Trial
    model: nn.Module
    variables: Any
    form: ImageForm

    def reconstruct(self, images: GivenImages) -> np.ndarray:
        """Reconstructs images.

        Args:
          images: u8[N,H,W,C] or u8[N,H,W], Pillow images, paths of image files, or one of these. Those of another
            size are cut and resized as the data set was.

        Returns:
          u8[N,H,W,C] of the run's image size, rounded as in the view `reconstruction`.

        Raises:
          UserError: an image cannot be read.
        """
        function = partial(_reconstruct, self.model, self.variables, self._bottleneck)
        return self.form.apply(function, images)

    def encode(self, images: GivenImages) -> np.ndarray:
        """Returns the codes f32[N,D] of images, D the bottleneck; the arguments are those of `reconstruct`."""
        function = partial(_encode, self.model, self.variables, self._bottleneck)
        return self.form.apply(function, images)[:, : self.trial.bottleneck]

    @property
    def _bottleneck(self) -> np.int32:
        return np.int32(self.trial.bottleneck or 0)

    def __repr__(self) -> str:
        return f"<TrainedAutoencoder {self.trial.key}>"


@dataclass(frozen=True, repr=False, eq=False)
class TrainedClassifier:
    """One classifier of a finished run.

    Attributes:
      view: the train view.
      trial: which one of the view.
      class_names: of the columns of `predict`.
      variables: of the flax module `model`, NumPy arrays.
      mirror: whether to average over images and their mirror images, as the run did.
    """

    view: str
    trial: Trial
    class_names: tuple[str, ...]
    model: nn.Module
    variables: Any
    form: ImageForm
    mirror: bool

    def predict(self, images: GivenImages) -> np.ndarray:
        """Returns the probabilities f32[N,K] of the classes for images as they are.

        To classify a reconstruction, give what `TrainedAutoencoder.reconstruct` returns.

        Args:
          images: as for `TrainedAutoencoder.reconstruct`.

        Raises:
          UserError: an image cannot be read.
        """
        return self.form.apply(partial(_predict, self.model, self.mirror, self.variables), images)

    def __repr__(self) -> str:
        return f"<TrainedClassifier on {self.view}, {self.trial.key}>"


@partial(jax.jit, static_argnums=0)
def _reconstruct(model: nn.Module, variables: Any, bottleneck: Scalar, images: Array) -> Array:
    output, _ = apply(model, variables, images / 255.0, bottleneck)
    return as_bytes(eight_bit(output))


@partial(jax.jit, static_argnums=0)
def _encode(model: nn.Module, variables: Any, bottleneck: Scalar, images: Array) -> Array:
    return apply(model, variables, images / 255.0, bottleneck, method="encode")[0]


@partial(jax.jit, static_argnums=(0, 1))
def _predict(model: nn.Module, mirror: bool, variables: Any, images: Array) -> Array:
    return jax.nn.softmax(classify(model, variables, images / 255.0, mirror=mirror))
