"""One training stage of blurjax on random images: the programs, orders and chunks of `blurjax run`."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.networks import Network
from blurjax.config import loading as settings
from blurjax.config.settings import SPLITS
from blurjax.config.trials import autoencoder_trials, classifier_trials
from blurjax.data.dataset import Dataset
from blurjax.experiment.calls import make_programs
from blurjax.experiment.rendering import training_feed
from blurjax.views.functions import Autoencoders, ViewParameters


def random_dataset(
    size: int, examples: int, directory: Path | None = None, classes: int = 10
) -> Dataset:
    """Returns random images u8[N,size,size,3] to train on and a few others, in a file of a directory if given."""
    sizes = [examples, 10, 10]
    count, ends = sum(sizes), np.cumsum(sizes)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    if directory is not None:
        np.save(directory / "images.npy", images)
        images = np.load(directory / "images.npy", mmap_mode="r")
    return Dataset(
        name="random",
        class_names=tuple(map(str, range(classes))),
        images=images,
        labels=np.arange(count, dtype=np.int32) % classes,
        names=tuple(map(str, range(count))),
        splits=dict(
            zip(SPLITS, np.split(np.arange(count, dtype=np.int32), ends[:-1]), strict=True)
        ),
        fingerprint="",
    )


class Stage:
    """The trials of a stage during training.

    Args:
      network: names the stage and the model.
      dataset: images of the network's size.
      changes: settings by dotted key.
    """

    def __init__(self, network: Network, dataset: Dataset, changes: dict[str, Any]):
        forever = {"autoencoder.epochs": 1000, "classifier.epochs": 1000}
        forever |= {"views.train": ["original"], "views.test": ["original"]}
        config = settings.fit_to_data(
            settings.load(None, forever | dict(network.settings) | changes),
            shape=dataset.image_shape,
            train_examples=len(dataset.splits["train"]),
        )
        self.config, self.programs = config, (programs := make_programs(config, dataset))
        self.feed = programs.feed
        training = getattr(config, network.stage)
        if network.stage == "autoencoder":
            rows = programs.place(autoencoder_trials(config), training)
            self.states, self.views = programs.init_autoencoder(rows), None
            self.train, self.order = programs.train_autoencoder, programs.autoencoder_order
        else:
            rows = programs.place(classifier_trials(config, "original"), training)
            variables = programs.init_autoencoder(rows).variables
            self.views = ViewParameters(
                view=programs.view_index("original"),
                seed=rows.seed,
                bottleneck=rows.bottleneck,
                autoencoders=Autoencoders(
                    jax.tree.map(lambda leaf: leaf[:, None], variables),
                    programs.networks.autoencoder,
                ),
            )
            self.states = programs.init_classifier(rows)
            self.train, self.order = programs.train_classifier, programs.classifier_order
            self.feed = training_feed(programs, self.views)
        self.steps_per_epoch = programs.networks.steps_per_epoch(training)
        self.epoch, self.step = 0, self.steps_per_epoch
        self.positions: Any = None

    def run(self, steps: int) -> None:
        """Takes a number of steps, in as many epochs as needed."""
        while steps:
            if self.step == self.steps_per_epoch:
                self.positions, self.step = self.order(self.states, self.epoch), 0
                self.epoch += 1
            chunk = next(iter(self.feed.chunks(self.positions, self.step)))
            length = min(steps, chunk.length)
            self._advance(chunk, length)
            self.step += length
            steps -= length
        jax.block_until_ready(self.states)

    def run_epochs(self, epochs: int) -> None:
        """Takes the steps of a number of epochs, resident or streamed."""
        for _ in range(epochs):
            for chunk in self.feed.chunks(self.order(self.states, self.epoch)):
                self._advance(chunk, chunk.length)
            self.epoch += 1
        jax.block_until_ready(self.states)

    def seconds_of_steps(self) -> list[float]:
        """Takes the steps of an epoch one by one and returns the seconds of each; the first one compiles."""
        seconds = []
        for chunk in self.feed.chunks(self.order(self.states, self.epoch)):
            for step in range(chunk.start, chunk.start + chunk.length):
                begun = time.perf_counter()
                self._advance(dataclasses.replace(chunk, start=step), 1)
                jax.block_until_ready(self.states)
                seconds.append(time.perf_counter() - begun)
        return seconds

    def _advance(self, chunk: Any, length: int) -> None:
        self.states, _ = self.train(
            self.states, self.views, chunk.data, chunk.positions, chunk.start, length
        )
