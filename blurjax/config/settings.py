"""All settings of an experiment: validated together, loaded from YAML, overridden key by key, fitted to the data.

`config.yaml` in a run directory holds the fitted values.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ValidationError, model_validator

from blurjax.config.sections import (
    AUTOENCODERS,
    CLASSIFIERS,
    AutoencoderConfig,
    ClassifierConfig,
    ComputeConfig,
    DataConfig,
    ModelConfig,
    ReportConfig,
    Section,
    SweepConfig,
    ViewsConfig,
)
from blurjax.config.view_table import VIEWS, named
from blurjax.runtime.errors import UserError

CONTROLS = named(by_default=False)
"""Views that `views.controls` adds."""


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
        controls = CONTROLS if self.views.controls else ()
        return tuple(dict.fromkeys((*self.views.train, *controls)))

    @property
    def test_views(self) -> tuple[str, ...]:
        """views.test, and the controls that can be tested on where controls are asked for."""
        controls = [v for v in CONTROLS if self.views.controls and VIEWS[v].testable]
        return tuple(dict.fromkeys((*self.views.test, *controls)))

    @property
    def seeds(self) -> tuple[int, ...]:
        """One seed a trial."""
        return tuple(range(self.sweep.first_seed, self.sweep.first_seed + self.sweep.num_seeds))


def fields(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted key, pydantic FieldInfo) of every setting, in order, those of all registered models too."""
    for name, field in model.model_fields.items():
        key = prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            if not issubclass(field.annotation, ModelConfig):
                yield from fields(field.annotation, f"{key}.")
                continue
            yield key, field
            kinds = AUTOENCODERS if prefix == "autoencoder." else CLASSIFIERS
            own = {k: f for spec in kinds.values() for k, f in fields(spec.settings, f"{key}.")}
            yield from ((k, f) for k, f in own.items() if k != f"{key}.name")
        else:
            yield key, field


def mesh_shape(mesh: str) -> tuple[int, int]:
    """The two numbers of compute.mesh."""
    rows, columns = mesh.split("x")
    return int(rows), int(columns)


def presets() -> dict[str, Path]:
    """Name -> file of every preset; they lie in the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parents[1]
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
    """Validates settings by section with the dotted keys set; a mistake is a UserError of one sentence."""
    for key in sorted(
        overrides, key=lambda key: key.count(".")
    ):  # a model's name before its settings
        *sections, name = key.split(".")
        values: dict[str, Any] = settings
        for section in sections:
            inner = values.setdefault(section, {})
            if isinstance(inner, str):
                inner = values[section] = {"name": inner}
            if not isinstance(inner, dict):
                break  # no model: the validation refuses it
            values = inner
        else:
            old = values.get(name)
            if not (isinstance(old, dict) and old.get("name") == overrides[key]):
                values[name] = overrides[key]
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise UserError(_sentence(error)) from None


def to_yaml(config: Config) -> str:
    """The settings as YAML text that `load` reads back to an equal Config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def flat(config: Config) -> dict[str, Any]:
    """Returns dotted key -> JSON value of all settings."""

    def walk(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in values.items():
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{name}.")
            else:
                yield prefix + name, value

    return dict(walk(config.model_dump(mode="json"), ""))


def fit_to_data(config: Config, *, shape: tuple[int, int, int], train_examples: int) -> Config:
    """Fills what the settings leave to the data.

    The code gets about as many floats as the square root of the number of pixel values, a power of two (8 for 8x8
    grey, 64 for 32x32 RGB, 128 for 64x64 RGB); training lasts about 2,500 steps for autoencoders and 1,500 for
    classifiers, at least 5 and at most 60 epochs.
    """

    def epochs(steps: int, batch_size: int) -> int:
        return min(60, max(5, round(steps / math.ceil(train_examples / batch_size))))

    code = 2 ** round(math.log2(math.prod(shape)) / 2)
    code = min(code, config.autoencoder.max_bottleneck or code)
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


def _sentence(error: ValidationError, prefix: str = "") -> str:
    """Returns the first thing that is wrong in one sentence; keys begin with the prefix."""
    first = error.errors(include_url=False)[0]
    key = prefix + ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
    known = [name for name, _ in fields()]
    if first["type"] == "nested":  # settings of a model
        return _sentence(first.get("ctx", {})["error"], f"{key}.")
    if first["type"] == "invalid_key":  # a number
        key = f"{key}.{first['input']}".removeprefix(".")
    if first["type"] in ("extra_forbidden", "invalid_key"):
        return unknown_key(key, known + sorted({name.split(".")[0] for name in known}))
    if first["type"] == "value_error":
        message = first["msg"].removeprefix("Value error, ")
        return f"{key} {message}".lstrip() + ("" if message.endswith("?") else ".")
    key = max((name for name in known if key.startswith(name)), key=len, default=key)
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{key} cannot be {first['input']!r}: {message}."
