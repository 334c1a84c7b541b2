"""The two networks of an experiment, and what one trial does with them: its first state and its training steps.

Pure functions of one trial, closed over the settings; `blurjax.experiment.programs` sweeps and compiles them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from blurjax.config.settings import Config, TrainingConfig, fitted
from blurjax.config.trials import Trial
from blurjax.config.view_table import VIEWS
from blurjax.data import Dataset
from blurjax.engine import key
from blurjax.models import (
    EncoderClassifier,
    ModelContext,
    VariationalAutoencoder,
    build,
    images_together,
    lowering_for,
)
from blurjax.runtime import UserError
from blurjax.train import losses, steps
from blurjax.train.augmentation import Augmentation
from blurjax.train.optimizers import MakeOptimizer, make_optimizer
from blurjax.train.state import Hyperparameters, TrainState, first_state, update

CACHE_BYTES = 2**22
"""Of the largest activations of a micro-batch on CPU (docs/engine.md)."""
PART_BYTES = 2**19
"""Of the largest activations of a batch that a device shares on CPU: less is not worth waiting for the others."""
FROZEN = "frozen encoder"
"""The network of which only the head is trained."""
RESEEDED = 2**31
"""Added to the seed of classifiers that differ from others in nothing but the seed; settings cannot name such seeds."""


def hyperparameters_of(
    trial: Trial, training: TrainingConfig, *, reseeded: bool = False
) -> Hyperparameters:
    """Returns a trial's values as NumPy scalars; those that it leaves open are those of the settings."""
    rate, decay = trial.learning_rate, trial.weight_decay
    return Hyperparameters(
        seed=np.uint32(trial.seed + RESEEDED * reseeded),
        learning_rate=np.float32(training.learning_rate if rate is None else rate),
        weight_decay=np.float32(training.weight_decay if decay is None else decay),
        bottleneck=np.int32(trial.bottleneck or 0),
        members=np.int32(0 if trial.fold is None else trial.fold + 1),
    )


class TrainingData(NamedTuple):
    """As much as networks and their steps depend on the data."""

    image_shape: tuple[int, int, int]
    """(H, W, C)."""
    class_counts: tuple[int, ...]
    """Images of each class in the train split."""

    @classmethod
    def of(cls, dataset: Dataset) -> TrainingData:
        """Returns that of a data set."""
        return cls(dataset.image_shape, tuple(dataset.class_counts["train"].tolist()))

    @property
    def num_images(self) -> int:
        """Images of the train split."""
        return sum(self.class_counts)


class Networks:
    """The autoencoder and the classifier, and one trial's functions of each.

    Args:
      config: settings fitted to the data.
      data: what they are trained on.
      platform: where they run, such as "cpu": what is `auto` depends on it.
      network: what the classifier is; see `ViewSpec`.

    Raises:
      UserError: the autoencoder has no method `encode` or `decode`.
    """

    def __init__(self, config: Config, data: TrainingData, platform: str, network: str = "model"):
        self.config, self.data, self.platform = config, data, platform
        self.network = network
        self.example = jnp.zeros((1, *data.image_shape), jnp.float32), jnp.int32(1)
        """An image f32[1,H,W,C] and a bottleneck, to find the shapes of variables with."""
        floats = fitted(config.autoencoder.max_bottleneck)
        convolution = config.compute.convolution
        context = partial(
            ModelContext,
            image_shape=data.image_shape,
            num_classes=len(data.class_counts),
            max_bottleneck=floats,
            lowering=lowering_for(platform) if convolution == "auto" else convolution,
            rematerialize=config.compute.rematerialize,
        )

        def autoencoder(dtype: str) -> nn.Module:
            settings = config.autoencoder.model
            model = build("autoencoder", settings, context(dtype=dtype))
            for method in ("encode", "decode"):
                if not hasattr(model, method):
                    raise UserError(
                        f"autoencoder.model is {settings.name}, which has no method `{method}`; give it one "
                        "(docs/extending.md)."
                    )
            return (
                VariationalAutoencoder(model, floats) if config.autoencoder.variational else model
            )

        self.autoencoder, dtype = autoencoder(config.autoencoder.dtype), config.classifier.dtype
        if network == "model":
            self.classifier = build("classifier", config.classifier.model, context(dtype=dtype))
        else:
            self.classifier = EncoderClassifier(
                len(data.class_counts),
                autoencoder(dtype),
                frozen=network == FROZEN,
                dtype=jnp.dtype(dtype),
            )

    @property
    def classifiers(self) -> str:
        """Their name in those of programs."""
        return "classifiers" if self.network == "model" else f"{self.network} classifiers"

    def for_view(self, view: str) -> Networks:
        """Returns the networks of which the classifier is that of a train view."""
        return Networks(self.config, self.data, self.platform, VIEWS[view].network)

    def data_devices(self, devices: int) -> int:
        """Returns how many of a number of devices share the batches of a trial.

        On CPU each has at least PART_BYTES of the largest activations (of models that say how large these are), and
        with `compute.deterministic` pieces of a batch that one device would have alone: the bits are the same. Sums are
        the same on powers of two alone.
        """
        config = self.config
        trained = [(config.autoencoder, self.autoencoder)]
        one_view = {VIEWS[view].network: view for view in config.train_views}
        trained += [(config.classifier, self.for_view(v).classifier) for v in one_view.values()]
        divided = [_parts(*own) for own in trained]
        if self.platform == "cpu":
            sizes = filter(None, (self._activation_bytes(*own) for own in trained))
            devices = min(devices, min(sizes, default=0) // PART_BYTES)
            if config.compute.deterministic:
                # Statistics of a device's only piece were seen to differ in a last bit from those of one of several.
                divided += [self._microbatches(*own) // min(2, together(*own)) for own in trained]
        whole, powers_of_two = math.gcd(*divided), [2**n for n in range(devices.bit_length())]
        return max((n for n in powers_of_two if whole % n == 0), default=1)

    def steps_per_epoch(self, training: TrainingConfig) -> int:
        """Returns the steps in which as many images are seen as the train split has."""
        return math.ceil(self.data.num_images / fitted(training.batch_size))

    def num_steps(self, training: TrainingConfig) -> int:
        """Returns the steps from the first to the last epoch."""
        return fitted(training.epochs) * self.steps_per_epoch(training)

    def autoencoder_init(self, row: Hyperparameters) -> TrainState:
        """Returns the first state of one trial; equal seeds give equal parameters."""
        variables = self.autoencoder.init(key(row.seed, "autoencoder"), *self.example)
        return self._first_state(row, dict(variables), self.config.autoencoder, self.autoencoder)

    def classifier_init(self, row: Hyperparameters) -> TrainState:
        """Returns the first state of one trial; equal seeds give equal parameters."""
        more = () if self.network == "model" else (row.bottleneck,)
        variables = self.classifier.init(key(row.seed, "classifier"), self.example[0], *more)
        return self._first_state(row, dict(variables), self.config.classifier, self.classifier)

    def warm_start(self, state: TrainState, autoencoders: Any) -> TrainState:
        """Puts the weights of a trained encoder into the first state of one trial's classifier, which is one.

        Args:
          state: from `classifier_init`.
          autoencoders: variables [1+F,...] of the trial's autoencoders, the one trained on the whole train split first.
        """
        trained = jax.tree.map(lambda leaf: leaf[0], autoencoders)
        variables = {
            kind: {
                part: _those_of(own, trained[kind]) if part == "encoder" else own
                for part, own in parts.items()
            }
            for kind, parts in {"params": state.params, **state.model_state}.items()
        }
        row = state.hyperparameters
        return self._first_state(row, variables, self.config.classifier, self.classifier)

    @property
    def autoencoder_step(self) -> Callable[..., Any]:
        """(state, None, batch) -> (state, metrics) of one trial."""
        training = self.config.autoencoder
        augmentation = None
        if training.flip or training.shift:
            augmentation = Augmentation(
                flip="random" if training.flip else "none",
                shift=training.shift,
                stream="autoencoder augmentation",
            )
        return partial(
            steps.autoencoder_train_step,
            model=self.autoencoder,
            augmentation=augmentation,
            loss=training.loss,
            denoising=training.denoising,
            beta=training.variational,
            **self._how(training, self.autoencoder),
        )

    def classifier_step(self, view: steps.ApplyView) -> Callable[..., Any]:
        """Returns (state, view parameters, batch) -> (state, metrics) of one trial."""
        training, weights = self.config.classifier, None
        if training.class_weights == "balanced":
            weights = jnp.asarray(losses.balanced_weights(np.array(self.data.class_counts)))
        augmentation = Augmentation(
            self.data.num_images, training.flip, training.shift, training.cutout
        )
        return partial(
            steps.classifier_train_step,
            model=self.classifier,
            view=view,
            augmentation=augmentation,
            loss=partial(
                losses.cross_entropy, smoothing=training.label_smoothing, class_weights=weights
            ),
            **self._how(training, self.classifier),
        )

    def _first_state(
        self,
        row: Hyperparameters,
        variables: dict[str, Any],
        training: TrainingConfig,
        model: nn.Module,
    ) -> TrainState:
        optimizer = self._optimizer(training, model)
        return first_state(row, variables, optimizer=optimizer, averaged=training.average_decay > 0)

    def _optimizer(self, training: TrainingConfig, model: nn.Module) -> MakeOptimizer:
        frozen = isinstance(model, EncoderClassifier) and model.frozen
        steps = self.num_steps(training)
        return make_optimizer(training, steps, ("encoder",) if frozen else ())

    def _how(self, training: TrainingConfig, model: Any) -> dict[str, Any]:
        """Returns the arguments of a training step that both kinds of model have."""
        optimizer = self._optimizer(training, model)
        return {
            "update": partial(update, optimizer=optimizer, average_decay=training.average_decay),
            "microbatches": self._microbatches(training, model),
            "together": together(training, model),
        }

    def _microbatches(self, training: TrainingConfig, model: Any) -> int:
        """`auto`: 1 on accelerators, on CPU the fewest pieces whose largest activations stay in the cache.

        No more than there are parts of the batch that are never cut.
        """
        asked_for, most = self.config.compute.microbatches, _parts(training, model)
        if asked_for != "auto":
            return min(asked_for, most)
        activations = self._activation_bytes(training, model)
        if self.platform != "cpu" or activations is None:
            return 1
        pieces = (n for n in range(1, most + 1) if most % n == 0)
        return next((n for n in pieces if activations // n <= CACHE_BYTES), most)

    def _activation_bytes(self, training: TrainingConfig, model: Any) -> int | None:
        """Returns the size of the largest activations of a batch; None where the model does not say."""
        channels = getattr(model, "full_size_channels", None)
        if channels is None:
            return None
        height, width, _ = self.data.image_shape
        image = height * width * channels * jnp.dtype(training.dtype).itemsize
        return fitted(training.batch_size) * image


def together(training: TrainingConfig, model: Any) -> int:
    """Returns how many images of each batch are never cut."""
    return images_together(model, fitted(training.batch_size))


def _parts(training: TrainingConfig, model: Any) -> int:
    """Returns the most pieces that a batch can be cut into."""
    return fitted(training.batch_size) // together(training, model)


def _those_of(own: Any, trained: Any) -> Any:
    """Returns the parts of a tree of trained variables that another tree has."""
    if not isinstance(own, Mapping):
        return trained
    return {name: _those_of(part, trained[name]) for name, part in own.items()}
