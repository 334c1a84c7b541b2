"""The programs of an experiment: the functions of one trial (`Networks`), swept over trials and compiled.

Each is compiled when it is first called. Data arguments are `data, positions, start, length` of a `Chunk`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from blurjax.config.settings import Config, TrainingConfig, fitted
from blurjax.config.trials import Trial, classifier_trials, num_folds, views_in_use
from blurjax.config.view_table import VIEWS
from blurjax.data import Dataset
from blurjax.engine import Target, fetch, in_batches, per_trial, place, shared
from blurjax.engine.mesh import Layout
from blurjax.experiment.compiler import OWN_IMAGES, OWN_ORDER, Compiler
from blurjax.experiment.networks import Networks, TrainingData, hyperparameters_of
from blurjax.experiment.rendering import Rendering
from blurjax.train import steps
from blurjax.train.feed import (
    Feed,
    ResidentFeed,
    StreamedFeed,
    assign_folds,
    epoch_order,
    members_by_fold,
    monitored_positions,
    stream_capacity,
    subset_order,
)
from blurjax.train.state import Hyperparameters, TrainedModel, TrainState
from blurjax.views.functions import AXES, ViewParameters, apply_view, as_bytes, original, view_index

LOGITS_LIMIT = 100e6
"""Bytes of logits in all prediction files together, above which they are not kept."""
AUTOENCODER_ORDER, CLASSIFIER_ORDER = "autoencoder order", "classifier order"
"""Random streams."""


Models = dict[Trial, TrainedModel]


class Programs:
    """Models, steps, layout on the devices, feed, and what is compiled of them.

    Args:
      config: settings fitted to the data.
      dataset: decoded images.
      target: the devices.
      layout: the arrangement of trials and batches on them.
      beside: programs of other settings or networks for the same images and layout, whose feed is used again.
      network: what the classifier is; see `ViewSpec`.
    """

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        target: Target,
        layout: Layout,
        beside: Programs | None = None,
        network: str = "model",
    ):
        self.config, self.dataset = config, dataset
        self.target, self.layout, self._beside = target, layout, beside
        self.fold_of = assign_folds(dataset, num_folds(config), config.data.split_seed)
        self.monitored = monitored_positions(dataset, config.data.split_seed)
        self.networks = Networks(config, TrainingData.of(dataset), target.platform, network)
        self._of_networks: dict[str, Programs] = {}
        self.view = partial(apply_view, in_use=views_in_use(config))
        self._compiler = Compiler(layout, target.platform, self.capacity, self.streamed)

    def for_view(self, view: str) -> Programs:
        """Returns the programs of the classifiers of a train view, whose network may be another one."""
        network = VIEWS[view].network
        if network == self.networks.network:
            return self
        if network not in self._of_networks:
            parts = self.config, self.dataset, self.target, self.layout
            self._of_networks[network] = Programs(*parts, beside=self, network=network)
        return self._of_networks[network]

    @property
    def of_networks(self) -> list[Programs]:
        """Those of every network that is a classifier of the experiment."""
        one_view = {VIEWS[view].network: view for view in self.config.train_views}
        return [self.for_view(view) for view in one_view.values()]

    @property
    def train_views(self) -> tuple[str, ...]:
        """Those whose classifiers are this network."""
        network = self.networks.network
        return tuple(view for view in self.config.train_views if VIEWS[view].network == network)

    @cached_property
    def feed(self) -> Feed:
        """The decoded images, resident or streamed."""
        if self._beside is not None:
            return self._beside.feed
        mesh = self.layout.mesh
        if self.streamed:
            return StreamedFeed(self.dataset, self.capacity, in_batches(mesh))
        return ResidentFeed(self.dataset, self.capacity, shared(mesh))

    @property
    def streamed(self) -> bool:
        """Whether images flow from disk; else they lie on every device."""
        return not self.dataset.fits(self.config.data.resident_limit)

    @property
    def capacity(self) -> int:
        """The most steps in one call."""
        capacity = self.config.compute.chunk_steps
        if not self.streamed:
            return capacity
        training = self.config.autoencoder, self.config.classifier
        batch_size = max(fitted(section.batch_size) for section in training)
        return stream_capacity(self.dataset, capacity, batch_size)

    @cached_property
    def rendering(self) -> Rendering | None:
        """How classifiers' images are put into their view once and kept on the device; None: every step does so."""
        rendering = Rendering(self.config, self.dataset, self.layout, self.capacity)
        return None if self.streamed or not rendering.fits else rendering

    @cached_property
    def members(self) -> tuple[np.ndarray, np.ndarray]:
        """What each fold's trials are trained on; see `members_by_fold`."""
        return members_by_fold(self.dataset.splits["train"], self.fold_of, num_folds(self.config))

    # Rows of trials on the devices.

    def place(
        self, trials: Sequence[Trial], training: TrainingConfig, *, reseeded: bool = False
    ) -> Hyperparameters:
        """Places trials as arrays [T] on the devices, padded with copies of the last."""
        return self.place_rows(
            [hyperparameters_of(trial, training, reseeded=reseeded) for trial in trials]
        )

    def place_rows(self, rows: Sequence[Any]) -> Any:
        """Stacks what belongs to one trial each on the devices, padded with copies of the last."""
        padded = [*rows, *[rows[-1]] * (self.layout.padded(len(rows)) - len(rows))]
        sharding = per_trial(self.layout.mesh)
        return jax.tree.map(lambda *leaves: place(np.stack(leaves), sharding), *padded)

    def view_index(self, view: str) -> jax.Array:
        """Places the `view` of ViewParameters on the devices."""
        return place(np.int32(view_index(view)), shared(self.layout.mesh))

    # Autoencoders.

    @cached_property
    def init_autoencoder(self) -> Callable[[Hyperparameters], TrainState]:
        """Hyperparameters [T] -> states [T]."""
        return self._compiler.quickly(self.networks.autoencoder_init, (0,))

    @cached_property
    def train_autoencoder(self) -> Callable[..., Any]:
        """(states, None, data arguments) -> (states, metrics)."""
        return self._compiler.training(self.networks.autoencoder_step, None)

    @cached_property
    def evaluate_autoencoder(self) -> Callable[..., Any]:
        """(variables, bottlenecks, data arguments) -> per-example results."""
        step = partial(steps.autoencoder_eval_step, model=self.networks.autoencoder)
        return self._compiler.evaluation(step, 0, 0)

    @cached_property
    def encode(self) -> Callable[..., Any]:
        """(variables, bottlenecks, data arguments) -> codes."""
        return self._compiler.evaluation(
            partial(steps.encode_step, model=self.networks.autoencoder), 0, 0
        )

    # Views.

    @cached_property
    def measure_view(self) -> Callable[..., Any]:
        """(None, view parameters, data arguments) -> per-example results."""
        step = partial(steps.view_quality_step, view=self.view)
        return self._compiler.evaluation(step, None, AXES)

    @cached_property
    def render_view(self) -> Callable[..., Any]:
        """(None, view parameters, data arguments) -> the images in the view."""
        if self._beside is not None:
            return self._beside.render_view
        assert self.rendering is not None
        step = partial(steps.render_step, view=self.view)
        return self._compiler.evaluation(step, None, AXES, capacity=self.rendering.capacity)

    @cached_property
    def apply_view(self) -> Callable[..., jax.Array]:
        """(view parameters of one trial, images u8[M,H,W,C], positions i32[M]) -> the images in the view, u8."""

        def apply(parameters: ViewParameters, images: jax.Array, positions: jax.Array) -> jax.Array:
            return as_bytes(self.view(parameters, images.astype(jnp.float32) / 255.0, positions))

        return jax.jit(apply, compiler_options=self._compiler.quick_options)

    # Classifiers.

    @cached_property
    def init_classifier(self) -> Callable[[Hyperparameters], TrainState]:
        """Hyperparameters [T] -> states [T]."""
        return self._compiler.quickly(self.networks.classifier_init, (0,))

    @cached_property
    def train_classifier(self) -> Callable[..., Any]:
        """(states, view parameters, data arguments) -> (states, metrics)."""
        if self.rendering:
            return self._compiler.training(
                self.networks.classifier_step(original), AXES, OWN_IMAGES
            )
        # An encoder is trained on originals: the other views are not compiled with it.
        own = partial(apply_view, in_use=self.train_views)
        view = self.view if self.networks.network == "model" else own
        return self._compiler.training(self.networks.classifier_step(view), AXES)

    @cached_property
    def warm_start(self) -> Callable[..., TrainState]:
        """(states [T], variables [T,1+F,...] of the trials' autoencoders) -> states [T]."""
        return self._compiler.quickly(self.networks.warm_start, (0, 0))

    @cached_property
    def evaluate_classifier(self) -> Callable[..., Any]:
        """(variables, view parameters, data arguments) -> per-example results."""
        return self._compiler.evaluation(self._classifier_eval_step, 0, AXES)

    @cached_property
    def evaluate_classifier_on_own(self) -> Callable[..., Any]:
        """The same, with positions of each trial."""
        return self._compiler.evaluation(self._classifier_eval_step, 0, AXES, order=OWN_ORDER)

    @property
    def _classifier_eval_step(self) -> Callable[..., Any]:
        config, dataset = self.config, self.dataset
        cells = len(config.train_views) * len(config.test_views)
        rows = cells * len(classifier_trials(config, "reconstruction"))
        logits = 4 * rows * len(dataset.splits["test"]) * len(dataset.class_names)
        return partial(
            steps.classifier_eval_step,
            model=self.networks.classifier,
            view=self.view,
            keep_logits=logits < LOGITS_LIMIT,
            mirror=config.classifier.mirror_test,
        )

    # Orders.

    @cached_property
    def autoencoder_order(self) -> Callable[[TrainState, int], Any]:
        """The order of the autoencoders' epochs; see `_order`."""
        return self._order(self.config.autoencoder, AUTOENCODER_ORDER)

    @cached_property
    def classifier_order(self) -> Callable[[TrainState, int], Any]:
        """The order of the classifiers' epochs, one program for all views; see `_order`."""
        return self._order(self.config.classifier, CLASSIFIER_ORDER)

    @cached_property
    def subset_order(self) -> Callable[..., Any]:
        """Of classifiers with training images of their own; see `feed.subset_order` for the arguments, here [T]."""
        training = self.config.classifier
        steps, size = self.networks.steps_per_epoch(training), fitted(training.batch_size)
        function = partial(subset_order, steps=steps, batch_size=size, stream=CLASSIFIER_ORDER)
        return self._compiler.quickly(function, (0, 0, 0, None, None))

    def _order(self, training: TrainingConfig, stream: str) -> Callable[[TrainState, int], Any]:
        """Returns (states [T], epoch) -> that epoch's order: per trial on the device, or one for all on the host."""
        order, members = self.order_program(training, stream), self.members
        if self.streamed:
            seed = np.uint32(self.config.data.seed)
            return lambda states, epoch: np.asarray(
                order(seed, fetch(states.hyperparameters.members)[0], epoch, *members)
            )
        return lambda states, epoch: order(
            states.hyperparameters.seed, states.hyperparameters.members, epoch, *members
        )

    def order_program(self, training: TrainingConfig, stream: str) -> Callable[..., Any]:
        """Returns the compiled `epoch_order`; its first two arguments are [T] unless images are streamed."""
        function = partial(
            epoch_order,
            steps=self.networks.steps_per_epoch(training),
            batch_size=fitted(training.batch_size),
            stream=stream,
        )
        if self.streamed:
            return jax.jit(function, compiler_options=self._compiler.quick_options)
        return self._compiler.quickly(function, (0, 0, None, None, None))
