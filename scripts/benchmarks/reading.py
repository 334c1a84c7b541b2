"""The cost of reading images: decoding them, streaming decoded ones, and overlap with the steps of an accelerator."""

from __future__ import annotations

import io
import os
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from benchmarks.stage import random_dataset
from benchmarks.timing import Contender, interleave, row, spread
from blurjax.data.decoding import EncodedImages, decode
from blurjax.data.folder_source import encoded_images, scan
from blurjax.data.prefetch import read_batches
from blurjax.data.tfds_source import import_tensorflow, open_prepared
from blurjax.engine import make_mesh, shared
from blurjax.train.evaluation import dispatch
from blurjax.train.feed import StreamedFeed

Rows = Iterator[dict[str, Any]]
SIZE = 64
"""Height and width to which images are resized."""
MADE_UP, MADE_UP_SIZE = 2000, 100
"""Number of random JPEG files, used where the command line names no folder, and their height and width."""
CHUNK = 8
"""Batches in a chunk."""
BUSY = 1.5
"""Duration of a step of the emulated accelerator, relative to that of reading its batch."""


def write_photographs(root: Path) -> None:
    """Writes JPEG files of about 4 kB in two classes: smooth shapes with little noise, like small photographs."""
    rng = np.random.default_rng(0)
    for number in range(MADE_UP):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((MADE_UP_SIZE, MADE_UP_SIZE), Image.Resampling.BICUBIC))
        pixels = smooth + rng.normal(0, 8, smooth.shape)
        path = root / str(number % 2) / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def write_tfrecords(files: list[Path], directory: Path) -> Path:
    """Writes the same files as a TFDS data set; returns the directory of its version."""
    tfds = import_tensorflow("tensorflow_datasets")
    features = {
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
        "label": tfds.features.ClassLabel(num_classes=2),
    }
    examples = (
        (i, {"image": io.BytesIO(path.read_bytes()), "label": i % 2})
        for i, path in enumerate(files)
    )
    tfds.dataset_builders.store_as_tfds_dataset(
        name="photographs",
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": examples},
        data_dir=directory,
    )
    return directory / "photographs" / "1.0.0"


def plain(dataset: Any, read: Callable[[Any], Any], batch_size: int) -> Callable[[int], None]:
    """Returns a pipeline of tf.data only, with the decoder and the antialiased resampling of TensorFlow."""
    tf = import_tensorflow()

    def one(*item: Any) -> Any:
        image = tf.io.decode_jpeg(read(*item), channels=3)
        small = tf.image.resize(image, (SIZE, SIZE), method="bicubic", antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(small), 0, 255), tf.uint8)

    images = dataset.map(one, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(2)
    return repeat(lambda: images.as_numpy_iterator())


def repeat(one_pass: Callable[[], Any]) -> Callable[[int], None]:
    """Returns a function that goes through an iterator a number of times."""

    def run(repeats: int) -> None:
        for _ in range(repeats):
            for _ in one_pass():
                pass

    return run


def decoded(source: EncodedImages) -> Iterator[Any]:
    """Decodes the train split of a source, as blurjax does once."""
    return decode(source.splits["train"], SIZE, 3)


def reading(options: Namespace) -> Rows:
    """Times the ways to read a folder of JPEG files, the same images as TFRecords, and the cache."""
    tf = import_tensorflow()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if options.images is None:
            write_photographs(directory / "photographs")
        listing = scan(options.images or directory / "photographs")
        paths = [listing.root / file.path for file in listing.splits["train"]]
        version = write_tfrecords(paths, directory / "tfds")
        tfds = import_tensorflow("tensorflow_datasets")
        records = tfds.builder_from_directory(version).as_dataset(
            split="train",
            decoders={"image": tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(interleave_cycle_length=1),
        )
        names = [os.fsencode(path) for path in paths]
        cached = np.stack([pixels for _, pixels in decoded(encoded_images(listing))])
        np.save(directory / "cache.npy", cached)
        cached, order = np.load(directory / "cache.npy", mmap_mode="r"), _order(len(paths), options)
        read_file, batch_size = tf.io.read_file, options.batch_size
        passes = {
            "JPEG files, tf.data alone": plain(
                tf.data.Dataset.from_tensor_slices(names), read_file, batch_size
            ),
            "JPEG files, decoded once": repeat(lambda: decoded(encoded_images(listing))),
            "TFRecords, tf.data alone": plain(records, lambda item: item["image"], batch_size),
            "TFRecords, decoded once": repeat(
                lambda: decoded(open_prepared("photographs", version, {"train": "train"}))
            ),
            "streamed in random order": repeat(lambda: read_batches(cached, order, CHUNK)),
        }
        contenders = [Contender(name, run, 1, len(paths)) for name, run in passes.items()]
        times = interleave(contenders, options.rounds, options.seconds)
    cores = len(os.sched_getaffinity(0))
    for name, each in times.items():
        rates = 1e3 / each / cores
        more = {"images_per_second_and_core": float(np.median(rates)), "rate_spread": spread(rates)}
        title = f"{len(paths):,} images to {SIZE}x{SIZE}, {cores} cores"
        yield row("reading", name, 1, each, title=title, **more)


def _order(count: int, options: Namespace) -> np.ndarray:
    """Returns a random order of the images in whole batches i32[S,B]."""
    steps = count // options.batch_size
    order = np.random.default_rng(0).permutation(count)[: steps * options.batch_size]
    return order.reshape(steps, options.batch_size).astype(np.int32)


def overlap(options: Namespace) -> Rows:
    """Times a streamed evaluation on an emulated accelerator: are batches read while it computes?

    Its steps take `BUSY` times as long as reading, and no processor time.
    """
    with tempfile.TemporaryDirectory() as directory:
        batches = 100 if options.quick else 1000
        dataset = random_dataset(32, batches * options.batch_size, Path(directory))
        feed = StreamedFeed(dataset, CHUNK, shared(make_mesh(1, jax.devices())))
        positions = np.random.default_rng(0).permutation(len(dataset.splits["train"]))

        def evaluate(seconds: float) -> Callable[[int], None]:
            size = options.batch_size
            return repeat(
                lambda: dispatch(Accelerator(seconds), None, None, feed, positions, size)()
            )

        def compute(seconds: float) -> Callable[[int], None]:
            def one_pass() -> list[np.ndarray]:
                device = Accelerator(seconds)
                return [np.asarray(device()["rows"]) for _ in range(chunks)]

            return repeat(one_pass)

        evaluate(0.0)(1)
        begun, chunks = time.perf_counter(), -(-batches // CHUNK)
        evaluate(0.0)(3)
        busy = BUSY * (time.perf_counter() - begun) / 3 / chunks
        ways = {
            "reading alone": evaluate(0.0),
            "steps alone": compute(busy),
            "steps and reading": evaluate(busy),
        }
        contenders = [Contender(name, run, 1, len(positions)) for name, run in ways.items()]
        times = interleave(contenders, options.rounds, options.seconds)
    hidden = 1 - (times["steps and reading"] - times["steps alone"]) / times["reading alone"]
    for name, each in times.items():
        more = {"hidden": float(np.median(hidden)), "hidden_spread": spread(hidden)}
        title = f"steps that take {BUSY} times as long as reading their batches"
        more = more if name == "steps and reading" else {}
        yield row("overlap", name, 1, each, title=title, **more)


class Accelerator:
    """Emulates a compiled evaluation on a device that takes that many seconds for each chunk."""

    def __init__(self, seconds: float):
        self._seconds, self._free = seconds, 0.0

    def __call__(self, *arguments: Any) -> dict[str, Any]:
        """Starts when the device is free, and returns at once."""
        self._free = max(self._free, time.perf_counter()) + self._seconds
        return {"rows": Result(self._free)}


class Result:
    """A result that is available at a time; reading it waits until then."""

    def __init__(self, there: float):
        self._there = there

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Returns zeros [1,CHUNK,1]."""
        time.sleep(max(0.0, self._there - time.perf_counter()))
        return np.zeros((1, CHUNK, 1), np.int32)
