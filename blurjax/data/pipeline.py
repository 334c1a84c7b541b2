"""TensorFlow, kept to the host, and the stream of batches for data too large for a device."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from blurjax.runtime.errors import UserError


def import_tensorflow(name: str = "tensorflow") -> Any:
    """Imports tensorflow or tensorflow_datasets and hides every accelerator from it.

    Raises:
      UserError: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Without it, the import prints a notice; no image meets oneDNN.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        tensorflow = importlib.import_module("tensorflow")
        module = importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"This needs TensorFlow, which cannot be imported ({error}); install tensorflow-cpu "
            "and tensorflow-datasets, or save the images as arrays: npz:FILE works without them."
        ) from None
    tensorflow.get_logger().setLevel("ERROR")  # it warns of what its own libraries call
    for accelerator in ("GPU", "TPU"):
        # RuntimeError: the program that we are part of has already used them.
        with contextlib.suppress(RuntimeError, ValueError):
            tensorflow.config.set_visible_devices([], accelerator)
    return module


def stream(images: np.ndarray, order: np.ndarray, chunk: int) -> Iterator[np.ndarray]:
    """Reads batches in a given order, ahead of their use, in bounded memory.

    Args:
      images: u8[N,H,W,C]; may be a memory map.
      order: integers [steps,B], rows of images; start at another step by slicing it.
      chunk: most steps in one piece.

    Yields:
      u8[<=chunk,B,H,W,C], read-only, the batches of consecutive steps; about three chunks are in
      memory at a time.
    """
    tf = import_tensorflow()

    def gather(step: np.ndarray) -> np.ndarray:
        rows, place = np.unique(order[step], return_inverse=True)
        # Read in ascending order, as disks like it, and put into the order asked for.
        return images.take(rows, axis=0).take(place, axis=0)

    @tf.autograph.experimental.do_not_convert
    def read(step: Any) -> Any:
        batch = tf.numpy_function(gather, [step], tf.uint8, stateful=False)
        return tf.ensure_shape(batch, (order.shape[1], *images.shape[1:]))

    steps = tf.data.Dataset.range(len(order))
    batches = steps.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return batches.batch(chunk).prefetch(2).as_numpy_iterator()
