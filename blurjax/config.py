"""Settings: frozen, validated, loaded from YAML, overridden field by field.

This is the one place where defaults live; what stands below a field is the help of the command line. Fields whose
default is None are fitted to the data by `fit_to_data`, so that a data set brought without a preset trains sensibly;
`config.yaml` in a run directory holds the fitted values.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import yaml
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
    ValidationError,
    model_validator,
)

from blurjax.errors import UserError

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
            if microbatches != "auto" and batch_size % microbatches:
                raise ValueError(
                    f"{section}.batch_size is {batch_size}, not a multiple of compute.microbatches {microbatches}"
                )
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
    def train_views(self) -> tuple[str, ...]:
        """views.train, and the controls where they are asked for."""
        return (*self.views.train, *self._controls(self.views.train, CONTROLS))

    @property
    def test_views(self) -> tuple[str, ...]:
        """views.test, and the control that is tested on where controls are asked for."""
        return (*self.views.test, *self._controls(self.views.test, ("spectrum",)))

    def _controls(self, named: tuple[str, ...], controls: tuple[str, ...]) -> list[str]:
        return [view for view in controls if self.views.controls and view not in named]

    @property
    def seeds(self) -> tuple[int, ...]:
        """One seed a trial."""
        return tuple(range(self.sweep.first_seed, self.sweep.first_seed + self.sweep.num_seeds))


def fields(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted key, pydantic FieldInfo) of every setting, in order."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def mesh_shape(mesh: str) -> tuple[int, int]:
    """The two numbers of compute.mesh."""
    rows, columns = mesh.split("x")
    return int(rows), int(columns)


def presets() -> dict[str, Path]:
    """Name -> file of every preset; they lie in the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parent
    directory = here / "configs" if (here / "configs").is_dir() else here.parent / "configs"
    return {path.stem: path for path in sorted(directory.glob("*.yaml"))}


def load(preset: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """Loads settings.

    Args:
      preset: name of a preset, a YAML file, or None for the defaults.
      overrides: dotted key -> value (text or typed), winning over the file.

    Raises:
      UserError: unknown preset or key (naming the nearest), wrong type, impossible combination.
    """
    settings = {} if preset is None else _read_yaml(_find(str(preset)))
    known = [key for key, _ in fields()]
    for key in overrides or {}:
        if key not in known:
            raise UserError(unknown_key(key, known))
    return _validated(settings, overrides or {})


def override(config: Config, overrides: Mapping[str, Any]) -> Config:
    """A copy of config with the dotted keys set, validated again."""
    return _validated(config.model_dump(), overrides)


def _validated(settings: dict[str, Any], overrides: Mapping[str, Any]) -> Config:
    """Settings by section, with the dotted keys set -> Config, or a UserError of one sentence."""
    for key, value in overrides.items():
        section, name = key.split(".")
        settings.setdefault(section, {})[name] = value
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise UserError(_sentence(error)) from None


def to_yaml(config: Config) -> str:
    """The settings as YAML text that `load` reads back to an equal Config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def fit_to_data(config: Config, *, shape: tuple[int, int, int], train_examples: int) -> Config:
    """Fills what the settings leave to the data.

    The code gets about as many floats as the square root of the number of pixel values, a power of two (8 for 8x8
    grey, 64 for 32x32 RGB, 128 for 64x64 RGB); training lasts about 2,500 steps for autoencoders and 1,500 for
    classifiers, at least 5 and at most 60 epochs.
    """

    def epochs(steps: int, batch_size: int) -> int:
        return min(60, max(5, round(steps / math.ceil(train_examples / batch_size))))

    code = 2 ** round(math.log2(math.prod(shape)) / 2)
    fitted = {
        "autoencoder.bottleneck": None if config.sweep.bottleneck else code,
        "autoencoder.max_bottleneck": max(config.bottlenecks, default=code),
        "autoencoder.epochs": epochs(2500, config.autoencoder.batch_size),
        "classifier.epochs": epochs(1500, config.classifier.batch_size),
    }
    unset = {key: value for key, value in fitted.items() if attrgetter(key)(config) is None}
    return override(config, {"data.image_size": shape[0], "data.channels": shape[2]} | unset)


def unknown_key(key: str, known: list[str]) -> str:
    """The sentence for a key that is not a setting, naming the nearest."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "`blurjax run --help` lists them all."
    return f"There is no setting {key}; {hint}"


def _find(preset: str) -> Path:
    if preset in presets():
        return presets()[preset]
    path = Path(preset)
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml"):
        raise UserError(f"The settings file {preset} does not exist.")
    raise UserError(
        f"There is no preset {preset}; choose one of {', '.join(presets())}, or name a YAML file."
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(
            f"The settings file {path} cannot be read: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(settings, dict) or not all(isinstance(v, dict) for v in settings.values()):
        raise UserError(
            f"The settings file {path} must hold sections (data:, classifier:, ...) with settings in them."
        )
    return settings


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong, in one sentence."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
    known = [name for name, _ in fields()]
    if first["type"] == "invalid_key":  # a number
        key = f"{key}.{first['input']}".removeprefix(".")
    if first["type"] in ("extra_forbidden", "invalid_key"):
        return unknown_key(key, known + sorted({name.split(".")[0] for name in known}))
    if first["type"] == "value_error":
        return f"{key} {first['msg'].removeprefix('Value error, ')}.".lstrip()
    key = next((name for name in known if key.startswith(name)), key)
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{key} cannot be {first['input']!r}: {message}."
