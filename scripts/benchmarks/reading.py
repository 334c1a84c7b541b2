"""What reading images costs: decoding them once, streaming what was decoded, and both behind an accelerator's steps."""

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

from benchmarks.timing import Contender, interleave, row, spread
from blurjax.data import decode, folder, pipeline
from blurjax.evaluate import dispatch
from blurjax.feed import StreamedFeed
from blurjax.sweep import make_mesh, shared

Rows = Iterator[dict[str, Any]]
SIZE = 64
"""Height and width that images are resized to."""
MADE_UP, MADE_UP_SIZE = 2000, 100
"""Photograph-like JPEG files, where the command line names no folder, and their height and width."""
BUSY = 1.5
"""An emulated accelerator takes so many times as long for a step as reading its batch does."""


def write_photographs(root: Path) -> None:
    """Smooth shapes in a little noise, in two classes: JPEG files of some 4 kB, as small photographs are."""
    rng = np.random.default_rng(0)
    for number in range(MADE_UP):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((MADE_UP_SIZE, MADE_UP_SIZE), Image.Resampling.BICUBIC))
        pixels = smooth + rng.normal(0, 8, smooth.shape)
        path = root / str(number % 2) / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def write_tfrecords(files: list[Path], directory: Path) -> Path:
    """The same files as a TFDS data set; returns the directory of its version."""
    tfds = pipeline.import_tensorflow("tensorflow_datasets")
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
    """A pipeline of tf.data alone: the decoder and the antialiased resampling of TensorFlow."""
    tf = pipeline.import_tensorflow()

    def one(*item: Any) -> Any:
        image = tf.io.decode_jpeg(read(*item), channels=3)
        small = tf.image.resize(image, (SIZE, SIZE), method="bicubic", antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(small), 0, 255), tf.uint8)

    images = dataset.map(one, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(2)
    return repeat(lambda: images.as_numpy_iterator())


def repeat(one_pass: Callable[[], Any]) -> Callable[[int], None]:
    """Goes through an iterator that many times."""

    def run(repeats: int) -> None:
        for _ in range(repeats):
            for _ in one_pass():
                pass

    return run


def reading(options: Namespace) -> Rows:
    """Images a second of each way to read a folder of JPEG files, the same as TFRecords, and the cache of either."""
    tf = pipeline.import_tensorflow()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if options.images is None:
            write_photographs(directory / "photographs")
        listing = folder.scan(options.images or directory / "photographs")
        found = listing.splits["train"]
        paths = [listing.root / file.path for file in found]
        version = write_tfrecords(paths, directory / "tfds")
        prepared = decode.PreparedDataset("photographs", version)
        records = prepared._read("train")
        names = [os.fsencode(path) for path in paths]
        labels = np.array([file.label for file in found])
        cached = np.concatenate([part.images for part in prepared.decode("train", SIZE, 3)])
        np.save(directory / "cache.npy", cached)
        cached, order = np.load(directory / "cache.npy", mmap_mode="r"), _order(len(paths), options)
        read_file, batch_size = tf.io.read_file, options.batch_size
        passes = {
            "JPEG files, tf.data alone": plain(
                tf.data.Dataset.from_tensor_slices(names), read_file, batch_size
            ),
            "JPEG files, decoded once": repeat(
                lambda: decode.decode_files(names, labels, [""] * len(names), SIZE, 3)
            ),
            "TFRecords, tf.data alone": plain(records, lambda *item: item[0], batch_size),
            "TFRecords, decoded once": repeat(lambda: prepared.decode("train", SIZE, 3)),
            "streamed in random order": repeat(lambda: pipeline.stream(cached, order, chunk=16)),
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
    """A random order of all images in batches i32[S,B], of those of the last batch as many as there is room for."""
    steps = count // options.batch_size
    order = np.random.default_rng(0).permutation(count)[: steps * options.batch_size]
    return order.reshape(steps, options.batch_size).astype(np.int32)


def overlap(options: Namespace) -> Rows:
    """Streamed evaluation where a device waits, as a processor does for an accelerator: are batches read meanwhile?

    The emulated steps take `BUSY` times as long as reading does, and no processor time.
    """
    from benchmarks.stage import random_dataset

    with tempfile.TemporaryDirectory() as directory:
        dataset = random_dataset(SIZE, 200 * options.batch_size, Path(directory))
        mesh = make_mesh(1, jax.devices())
        feed = StreamedFeed(dataset, 8, options.batch_size, shared(mesh))
        positions = np.random.default_rng(0).permutation(len(dataset.splits["train"].labels))

        def ways(seconds: float) -> dict[str, Callable[[int], None]]:
            return {
                "reading alone": _evaluation(feed, positions, options.batch_size, 0.0),
                "steps alone": _steps(len(positions) // options.batch_size // 8, seconds),
                "steps and reading": _evaluation(feed, positions, options.batch_size, seconds),
            }

        ways(0.0)["reading alone"](1)
        begun = time.perf_counter()
        ways(0.0)["reading alone"](1)
        chunks = len(positions) // options.batch_size // 8
        a_chunk = BUSY * (time.perf_counter() - begun) / chunks
        contenders = [Contender(n, run, 1, len(positions)) for n, run in ways(a_chunk).items()]
        times = interleave(contenders, options.rounds, options.seconds)
    for name, each in times.items():
        hidden = 1 - (each - times["steps alone"]) / times["reading alone"]
        more = {"hidden": float(np.median(hidden))} if name == "steps and reading" else {}
        title = f"steps that take {BUSY} times as long as reading their batches"
        yield row("overlap", name, 1, each, title=title, **more)


def _waits(seconds: float) -> Callable[[Any], jax.Array]:
    """A program that is busy for so long without a processor."""

    def wait(x: np.ndarray) -> np.ndarray:
        time.sleep(seconds)
        return x

    return jax.jit(lambda x: jax.pure_callback(wait, jax.ShapeDtypeStruct((1, 8, 1), np.int32), x))


def _steps(chunks: int, seconds: float) -> Callable[[int], None]:
    program, x = _waits(seconds), np.zeros((1, 8, 1), np.int32)

    def run(repeats: int) -> None:
        for _ in range(repeats * chunks):
            jax.block_until_ready(program(x))

    return run


def _evaluation(
    feed: StreamedFeed, positions: np.ndarray, batch_size: int, seconds: float
) -> Callable[[int], None]:
    waits = _waits(seconds)

    def program(params: Any, views: Any, data: Any, rows: Any, start: Any, length: Any) -> Any:
        del params, views, data, start, length
        return {"position": waits(rows[None, :8, :1])}

    def run(repeats: int) -> None:
        for _ in range(repeats):
            dispatch(program, None, None, feed, positions, batch_size)()

    return run


def measure(options: Namespace, workload: str) -> Rows:
    """The rows of one subject."""
    yield from {"reading": reading, "overlap": overlap}[workload](options)
