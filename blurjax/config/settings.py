"""The settings, section by section: fields, what they may be, defaults; frozen.

This is the one place where defaults live; the text below a field is the help of the command line. Fields whose default
is None are fitted to the data by `fit_to_data`, so that a data set brought without a preset trains sensibly.

A setting of the sections `data`, `autoencoder` and `classifier` is part of a run's identity: a run directory made with
another value is refused. Those marked `Free` may change between runs on one directory, like everything in the sections
`views`, `sweep`, `compute` and `report`; values of trials (seeds, bottlenecks,
learning rates) make trials of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from blurjax.config.field_types import (
    Auto,
    Channels,
    Distinct,
    Fraction,
    Free,
    ImageSize,
    Mesh,
    NonEmpty,
    OrNone,
    Seed,
)
from blurjax.config.model_settings import AutoencoderModel, ClassifierModel, Cnn, Conv, Section
from blurjax.config.registry import Registry
from blurjax.config.view_table import VIEWS, named

SPLITS: tuple[str, ...] = ("train", "validation", "test")
PROBES = ("linear", "mlp")
"""Classifiers of the code itself."""
OPTIMIZERS: Registry[str | Callable[..., Any]] = Registry("optimizer")
"""Name -> a function that returns the optax transformation of a gradient to a direction, or its place."""
OPTIMIZERS.register("adamw", "blurjax.train.optimizers:adam")
OPTIMIZERS.register("sgd", "blurjax.train.optimizers:nesterov")
OPTIMIZERS.register("muon", "blurjax.train.optimizers:muon")
CONTROLS = named(control=True)
"""Views of this package that `views.controls` adds."""


def flip_in_words(value: object) -> object:
    """Returns today's word for a value that `classifier.flip` had while it was true or false."""
    words = {"false": "none", "true": "random"}
    return words.get(str(value).lower(), value) if isinstance(value, bool | str) else value


def _check_testable(name: str) -> str:
    if not VIEWS[VIEWS.check(name)].testable:
        testable = ", ".join(named(testable=True))
        raise ValueError(f"cannot be {name!r}: classifiers are tested on one of {testable}")
    return name


TrainView = Annotated[str, AfterValidator(VIEWS.check)]
TestView = Annotated[str, AfterValidator(_check_testable)]


def fitted(value: int | None) -> int:
    """Returns a setting that is fitted to the data, and by now must be."""
    assert value is not None, "the settings have not been fitted to the data"
    return value


class DataConfig(Section):
    """The images, their size and their splits."""

    source: Free[str] = "digits"
    """digits | npz:FILE | folder:PATH | tfds:NAME[/CONFIG] | hf:PATH; relative to the settings file that names it"""
    data_dir: Free[OrNone[Path]] = None
    """where prepared TFDS data sets lie (default: TFDS's own)"""
    train_split: Free[str] = "train"
    """name of the train split in TFDS or Hugging Face"""
    validation_split: Free[OrNone[str]] = None
    """name of the validation split in TFDS or Hugging Face; none: what Hugging Face ships, else a part of train"""
    test_split: Free[OrNone[str]] = "test"
    """name of the test split in TFDS or Hugging Face; none: a part of train"""
    image_size: OrNone[ImageSize] = None
    """height and width in pixels; none: fitted to the data"""
    channels: OrNone[Channels] = None
    """1 grey, 3 RGB; none: as the data are"""
    train_examples: OrNone[PositiveInt] = None
    """train on a stratified subset of this many images; none: all"""
    validation_fraction: Fraction = 0.1
    """part of train, where none ships"""
    test_fraction: Fraction = 0.2
    """part of all images, where none ships"""
    split_seed: Seed = 0
    """draws splits, subsets and folds; one for all trials"""
    seed: Seed = 0
    """the order of streamed images, one for all trials"""
    on_bad_image: Free[Literal["error", "skip"]] = "error"
    """an unusable image ends the run, or is skipped and counted"""
    max_pixels: Free[PositiveInt] = 300_000_000
    """an image of more is unusable; decoding one takes 8 to 24 bytes a pixel"""
    duplicates: Literal["keep", "drop"] = "keep"
    """drop leaves out of train what is in another split, repeated, or labelled twice"""
    drop_blurry: OrNone[Annotated[float, Field(gt=0, le=1)]] = None
    """leave training images out that are blurry with at least this probability, such as 0.9; none: keep all"""
    resident_limit: Free[NonNegativeFloat] = 2.0
    """GiB of decoded images kept on each device; larger data are streamed"""
    cache_dir: Free[OrNone[Path]] = None
    """where decoded images are cached (default: the user's cache)"""


class TrainingConfig(Section):
    """Settings of training that both kinds of model have."""

    epochs: OrNone[PositiveInt] = None
    """passes over the train split; none: fitted to its size"""
    batch_size: OrNone[PositiveInt] = None
    """images a step; none: 64, fewer where the train split has fewer than 512"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """of activations, float32 | bfloat16; parameters stay float32"""
    optimizer: Annotated[str, AfterValidator(OPTIMIZERS.check)] = "adamw"
    """adamw | sgd, with Nesterov momentum 0.9 | muon, for which rates are as large as for adamw"""
    learning_rate: PositiveFloat = 1e-3
    """peak of the schedule"""
    weight_decay: NonNegativeFloat = 0.0
    """decoupled"""
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """part of the steps over which the rate rises linearly"""
    schedule: Literal["cosine", "triangular"] = "cosine"
    """how the rate then falls to 0: along a cosine, or linearly"""
    gradient_clip: OrNone[PositiveFloat] = 1.0
    """largest global norm of a gradient; none: as large as it is"""
    average_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """evaluate a moving average of the weights with this decay a step; 0: the weights themselves"""
    check: Free[bool] = False
    """train the first two trials again for twice the epochs, to see what more training would give"""


class AutoencoderConfig(TrainingConfig):
    """The autoencoder that makes reconstructions."""

    model: AutoencoderModel = Conv()
    """kind of autoencoder"""
    learning_rate: PositiveFloat = 3e-3
    """peak of the schedule"""
    bottleneck: Free[OrNone[PositiveInt]] = None
    """floats of the code in use; none: fitted to the image size"""
    max_bottleneck: OrNone[PositiveInt] = None
    """floats of the code as built; none: the largest bottleneck"""
    loss: Literal["mse", "l1", "ssim", "mix"] = "mse"
    """what training minimises: squared or absolute error, 1 - SSIM, or 0.84 (1 - SSIM) + 0.16 l1; curves show mse"""
    flip: bool = False
    """mirror half of each batch of training images left to right"""
    shift: NonNegativeInt = 0
    """shift training images by up to this many pixels"""
    denoising: NonNegativeFloat = 0.0
    """standard deviation of Gaussian noise that is added to training images, and is to be removed; 0: none"""
    variational: NonNegativeFloat = 0.0
    """beta: weight of the divergence of a random code from a standard normal; 0: the code is not random"""
    folds: Annotated[int, Field(ge=2, le=20)] = 2
    """cross-fitting folds, where a view needs them"""


class ClassifierConfig(TrainingConfig):
    """The classifier trained on each view, and its augmentation."""

    model: ClassifierModel = Cnn()
    """kind of classifier"""
    learning_rate: Free[PositiveFloat] = 1e-3
    """peak of the schedule"""
    weight_decay: Free[NonNegativeFloat] = 0.0
    """decoupled"""
    flip: Annotated[Literal["none", "random", "alternating"], BeforeValidator(flip_in_words)] = (
        "none"
    )
    """mirror training images left to right: half of each batch, or each image every second time"""
    shift: NonNegativeInt = 0
    """shift training images by up to this many pixels"""
    cutout: NonNegativeInt = 0
    """side in pixels of a grey square at a random place in training images; 0: none"""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """part of the training target that is spread evenly over all classes"""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: a class counts in the training loss by how rare it is in train"""
    mirror_test: bool = False
    """evaluate the mean of the logits of an image and of its mirror image"""
    select: Literal["last", "best"] = "last"
    """evaluate the last epoch's weights, or those of the epoch with the best validation accuracy in its own view"""


class ViewsConfig(Section):
    """The views that classifiers are trained and tested on."""

    train: NonEmpty[TrainView] = named(by_default=True)
    """a classifier of each trial is trained on each"""
    test: NonEmpty[TestView] = named(by_default=True, testable=True)
    """and tested on each of these"""
    exclude: Distinct[TrainView] = ()
    """leave these out of both lists"""
    controls: bool = False
    """also train on the controls: a filter of equal spectrum, and checks of the experiment itself"""


class SweepConfig(Section):
    """Trials: seeds crossed with lists of values; an empty list means the single value of its section."""

    num_seeds: PositiveInt = 8
    """independent trials of each point"""
    first_seed: Seed = 0
    """seeds are first_seed, first_seed + 1, ..."""
    bottleneck: Distinct[PositiveInt] = ()
    """autoencoder.bottleneck of each point"""
    learning_rate: Distinct[PositiveFloat] = ()
    """classifier.learning_rate of each point"""
    weight_decay: Distinct[NonNegativeFloat] = ()
    """classifier.weight_decay of each point"""
    train_examples: Distinct[PositiveInt | Literal["all"]] = ()
    """labelled images that classifiers are trained on, such as 100 1000 all; each seed draws its own"""


class ComputeConfig(Section):
    """Devices, memory and programs: free to change between runs on one directory (bits may differ)."""

    trials_per_vmap: PositiveInt | Auto = "auto"
    """trials trained side by side on a device: 1 on CPU, more on accelerators"""
    devices: OrNone[PositiveInt] = None
    """how many devices to spread trials over; none: all"""
    mesh: Mesh = "auto"
    """devices as TRIALSxDATA, such as 4x2: trials spread over 4, each trial's batches over 2"""
    microbatches: PositiveInt | Auto = "auto"
    """pieces a batch is cut into, whose gradients are added: less memory; on CPU as the cache holds"""
    rematerialize: bool = False
    """compute the autoencoders' activations again for the gradient: less memory, slower"""
    convolution: Literal["auto", "lax", "hybrid", "patches"] = "auto"
    """how convolutions are computed: lax and hybrid have no Winograd algorithm; auto: what suits the device"""
    chunk_steps: PositiveInt = 512
    """most steps in one call of the compiled program"""
    checkpoint_seconds: NonNegativeFloat = 30.0
    """least time between checkpoints"""
    cache_programs: bool = True
    """keep compiled programs in the user's cache"""
    deterministic: bool = False
    """the same bits every time on a GPU, and on any number of CPU devices; slower"""

    @property
    def mesh_shape(self) -> tuple[int, int] | None:
        """The two numbers of `mesh`; None where it is `auto`."""
        if self.mesh == "auto":
            return None
        rows, columns = self.mesh.split("x")
        return int(rows), int(columns)


class ReportConfig(Section):
    """Settings of statistics and of the page: free to change."""

    margin: Annotated[float, Field(gt=0, lt=100)] = 1.0
    """accuracy difference, in points, below which two views are equivalent"""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """level of the intervals"""
    gallery: Annotated[int, Field(ge=2, le=32)] = 10
    """images in the gallery"""


class Config(Section):
    """Everything that defines an experiment."""

    data: DataConfig = DataConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    views: ViewsConfig = ViewsConfig()
    sweep: SweepConfig = SweepConfig()
    compute: ComputeConfig = ComputeConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        widest, built = max(self.bottlenecks, default=0), self.autoencoder.max_bottleneck
        if built is not None and built < widest:
            raise ValueError(
                f"autoencoder.max_bottleneck is {built}, less than the bottleneck {widest} asked for"
            )
        microbatches = self.compute.microbatches
        for section in ("autoencoder", "classifier"):
            batch_size = getattr(self, section).batch_size
            if microbatches != "auto" and batch_size is not None and batch_size % microbatches:
                raise ValueError(
                    f"{section}.batch_size is {batch_size}, not a multiple of compute.microbatches {microbatches}"
                )
        if any(self.label_counts) and self.classifier.flip == "alternating":
            raise ValueError(
                "classifier.flip cannot be alternating where sweep.train_examples gives trials images of their own, "
                "which they see more often; use random"
            )
        if not (self.train_views and self.test_views):
            raise ValueError("views.exclude leaves no view to train on, or none to test on")
        if self.sweep.first_seed + self.sweep.num_seeds > 2**31:
            raise ValueError("sweep.first_seed + sweep.num_seeds must be at most 2147483648")
        return self

    @property
    def bottlenecks(self) -> tuple[int, ...]:
        """The swept bottlenecks, or the single one; empty while it is not fitted to the data."""
        single = self.autoencoder.bottleneck
        return self.sweep.bottleneck or (() if single is None else (single,))

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """The classifier's swept learning rates, or the single one."""
        return self.sweep.learning_rate or (self.classifier.learning_rate,)

    @property
    def weight_decays(self) -> tuple[float, ...]:
        """The classifier's swept weight decays, or the single one."""
        return self.sweep.weight_decay or (self.classifier.weight_decay,)

    @property
    def label_counts(self) -> tuple[int | None, ...]:
        """The swept numbers of labelled images; None is the whole train split."""
        return tuple(None if n == "all" else n for n in self.sweep.train_examples) or (None,)

    @property
    def train_views(self) -> tuple[str, ...]:
        """views.train, and the controls where they are asked for, without views.exclude."""
        controls = CONTROLS if self.views.controls else ()
        return self._included(*self.views.train, *controls)

    @property
    def test_views(self) -> tuple[str, ...]:
        """views.test, and the controls that can be tested on where controls are asked for, without views.exclude."""
        controls = [v for v in CONTROLS if self.views.controls and VIEWS[v].testable]
        return self._included(*self.views.test, *controls)

    def _included(self, *views: str) -> tuple[str, ...]:
        return tuple(view for view in dict.fromkeys(views) if view not in self.views.exclude)

    @property
    def seeds(self) -> tuple[int, ...]:
        """One seed a trial."""
        return tuple(range(self.sweep.first_seed, self.sweep.first_seed + self.sweep.num_seeds))
