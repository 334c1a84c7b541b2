"""The settings, section by section: fields, what they may be, defaults; frozen.

This is the one place where defaults live; what stands below a field is the help of the command line. Fields whose
default is None are fitted to the data by `config.fit_to_data`, so that a data set brought without a preset trains
sensibly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

SPLITS: tuple[str, ...] = ("train", "validation", "test")
"""Of every data set, in the order of its images in memory."""
TrainView = Literal[
    "original",
    "reconstruction",
    "crossfit",
    "infold",
    "mixed",
    "blur",
    "pca",
    "downsample",
    "spectrum",
    "identity",
    "reseeded",
    "shuffled",
]
TestView = Literal[
    "original", "reconstruction", "crossfit", "blur", "pca", "downsample", "spectrum"
]
CONTROLS: tuple[TrainView, ...] = ("spectrum", "identity", "reseeded", "shuffled")
"""What `views.controls` adds to views.train; of these, spectrum also to views.test."""
ImageSize = Annotated[int, Field(ge=8, le=256)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Auto = Literal["auto"]
Mesh = Annotated[str, Field(pattern=r"^(auto|[1-9]\d*x[1-9]\d*)$")]
T = TypeVar("T")


def _none_from_text(value: object) -> object:
    return None if isinstance(value, str) and value.lower() in ("none", "null") else value


def _check_distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(values)) < len(values):
        raise ValueError("names a value twice")
    return values


def _check_some(values: tuple[T, ...]) -> tuple[T, ...]:
    if not values:
        raise ValueError("must name at least one")
    return values


OrNone = Annotated[T | None, BeforeValidator(_none_from_text)]
"""A field that may be unset, for which the command line says `none`."""
Distinct = Annotated[tuple[T, ...], AfterValidator(_check_distinct)]
"""A list without repetitions."""
Some = Annotated[Distinct[T], AfterValidator(_check_some)]
"""One that is not empty."""


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )


class DataConfig(Section):
    """Which images, at which size, split how."""

    source: str = "digits"
    """digits | npz:FILE | folder:PATH | tfds:NAME[/CONFIG]"""
    data_dir: OrNone[Path] = None
    """where prepared TFDS data sets lie (default: TFDS's own)"""
    train_split: str = "train"
    """TFDS name of the train split"""
    validation_split: OrNone[str] = None
    """TFDS name of the validation split; none: a part of train"""
    test_split: OrNone[str] = "test"
    """TFDS name of the test split; none: a part of train"""
    image_size: OrNone[ImageSize] = None
    """height and width in pixels; none: fitted to the data"""
    channels: OrNone[Literal[1, 3]] = None
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
    on_bad_image: Literal["error", "skip"] = "error"
    """an unreadable image ends the run, or is skipped and counted"""
    duplicates: Literal["keep", "drop"] = "keep"
    """drop leaves out of train what is in another split, repeated, or labelled twice"""
    resident_limit: NonNegativeFloat = 2.0
    """GiB of decoded images kept on each device; larger data are streamed"""
    cache_dir: OrNone[Path] = None
    """where decoded images are cached (default: the user's cache)"""


class TrainingConfig(Section):
    """What the two kinds of model have in common: how long and how they are trained."""

    epochs: OrNone[PositiveInt] = None
    """passes over the train split; none: fitted to its size"""
    batch_size: PositiveInt = 64
    """images a step"""
    width: PositiveInt = 32
    """channels of the first convolution"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """of activations; parameters stay float32"""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """sgd has Nesterov momentum 0.9"""
    learning_rate: PositiveFloat = 1e-3
    """peak of the schedule"""
    weight_decay: NonNegativeFloat = 0.0
    """decoupled"""
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """part of the steps over which the rate rises; then a cosine falls to 0"""
    gradient_clip: PositiveFloat = 1.0
    """largest global norm of a gradient"""


class AutoencoderConfig(TrainingConfig):
    """The autoencoder that paints reconstructions."""

    learning_rate: PositiveFloat = 3e-3
    """peak of the schedule"""
    bottleneck: OrNone[PositiveInt] = None
    """floats of the code in use; none: fitted to the image size"""
    max_bottleneck: OrNone[PositiveInt] = None
    """floats of the code as built; none: the largest bottleneck"""
    folds: Annotated[int, Field(ge=2, le=20)] = 2
    """cross-fitting folds, where a view needs them"""


class ClassifierConfig(TrainingConfig):
    """The classifier trained on each view, and its augmentation."""

    dense: PositiveInt = 128
    """units of the hidden dense layer"""
    flip: bool = False
    """mirror half of the training images left to right"""
    shift: NonNegativeInt = 0
    """shift training images by up to this many pixels"""


class ViewsConfig(Section):
    """Which views of the images classifiers are trained and tested on."""

    train: Some[TrainView] = tuple(view for view in get_args(TrainView) if view not in CONTROLS)
    """a classifier of each trial is trained on each"""
    test: Some[TestView] = tuple(view for view in get_args(TestView) if view not in CONTROLS)
    """and tested on each of these"""
    controls: bool = Field(
        default=False, description=f"also train on the controls {', '.join(CONTROLS)}"
    )


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


class ComputeConfig(Section):
    """How, not what: free to change between runs on one directory (bits may differ)."""

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
    """how convolutions are lowered"""
    chunk_steps: PositiveInt = 512
    """most steps between two looks at the running program"""
    checkpoint_seconds: NonNegativeFloat = 30.0
    """least time between checkpoints"""
    cache_programs: bool = True
    """keep compiled programs in the user's cache"""
    deterministic: bool = False
    """only GPU kernels that give the same bits every time; slower"""


class ReportConfig(Section):
    """How results are judged and shown: free to change."""

    margin: Annotated[float, Field(gt=0, lt=100)] = 1.0
    """accuracy difference, in points, below which two views are equivalent"""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """level of the intervals"""
    gallery: Annotated[int, Field(ge=2, le=32)] = 10
    """images in the gallery"""
