"""One training stage of blurjax on random images: the programs, orders and chunks of `blurjax run`."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from blurjax.experiment.trials import autoencoder_trials, classifier_trials

from benchmarks.networks import Network
from blurjax.config import settings
from blurjax.config.sections import SPLITS
from blurjax.data.dataset import Dataset
from blurjax.experiment.programs import Programs
from blurjax.views.functions import ViewParameters


def random_dataset(
    size: int, examples: int, directory: Path | None = None, classes: int = 10
) -> Dataset:
    """N random images u8[N,size,size,3] to train on, few in the other splits; in a file of a directory, if given."""
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
    """The trials of a stage, trained as far as they are.

    Args:
      network: blurjax's own model of this kind, at its default width, is trained.
      dataset: of the network's image size.
      changes: settings, by dotted key.
    """

    def __init__(self, network: Network, dataset: Dataset, changes: dict[str, Any]):
        forever = {"autoencoder.epochs": 1000, "classifier.epochs": 1000}
        forever |= {"views.train": ["original"], "views.test": ["original"]}
        config = settings.fit_to_data(
            settings.load(None, forever | changes),
            shape=dataset.image_shape,
            train_examples=len(dataset.splits["train"]),
        )
        self.config, self.programs = config, Programs(config, dataset)
        if network.stage == "autoencoder":
            trials = self.programs.place(autoencoder_trials(config))
            self.states, self.views = self.programs.init_autoencoder(trials), None
            self.train, self.order = (
                self.programs.train_autoencoder,
                self.programs.autoencoder_order,
            )
        else:
            trials = self.programs.place(classifier_trials(config, "original"))
            painters = self.programs.init_autoencoder(trials).params
            self.views = ViewParameters(
                view=self.programs.view_index("original"),
                seed=trials.seed,
                bottleneck=trials.bottleneck,
                autoencoders=jax.tree.map(lambda leaf: leaf[:, None], painters),
            )
            self.states = self.programs.init_classifier(trials)
            self.train, self.order = self.programs.train_classifier, self.programs.classifier_order
        self.steps_per_epoch = self.programs.functions.steps_per_epoch(
            getattr(config, network.stage)
        )
        self.epoch, self.step = 0, self.steps_per_epoch
        self.positions: Any = None

    def run(self, steps: int) -> None:
        """Takes that many steps, through as many epochs as they need."""
        while steps:
            if self.step == self.steps_per_epoch:
                self.positions, self.step = self.order(self.states, self.epoch), 0
                self.epoch += 1
            chunk = next(iter(self.programs.feed.chunks(self.positions, self.step)))
            length = min(steps, chunk.length)
            self._advance(chunk, length)
            self.step += length
            steps -= length
        jax.block_until_ready(self.states)

    def run_epochs(self, epochs: int) -> None:
        """Takes the steps of that many epochs, resident or streamed."""
        for _ in range(epochs):
            for chunk in self.programs.feed.chunks(self.order(self.states, self.epoch)):
                self._advance(chunk, chunk.length)
            self.epoch += 1
        jax.block_until_ready(self.states)

    def seconds_of_steps(self) -> list[float]:
        """Takes the steps of an epoch one by one, the first of which compiles; how long each took, of all trials."""
        seconds = []
        for chunk in self.programs.feed.chunks(self.order(self.states, self.epoch)):
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
