"""Settings loaded from YAML, overridden key by key, and fitted to the data.

`config.yaml` in a run directory holds the fitted values.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from blurjax.config.model_settings import AUTOENCODERS, CLASSIFIERS, ModelConfig, ModelSpec, Section
from blurjax.config.paths import rebase
from blurjax.config.settings import Config, TrainingConfig
from blurjax.runtime.errors import UserError
from blurjax.runtime.run_directory import is_run_directory

MEANT = {
    "seeds": "sweep.num_seeds",
    "trials": "sweep.num_seeds",
    "n_seeds": "sweep.num_seeds",
    "bottlenecks": "sweep.bottleneck",
    "latent_dim": "autoencoder.bottleneck",
    "code": "autoencoder.bottleneck",
    "lr": "classifier.learning_rate",
    "wd": "classifier.weight_decay",
    "data": "data.source",
    "dataset": "data.source",
    "resolution": "data.image_size",
    "labels": "sweep.train_examples",
    "gpus": "compute.devices",
}
"""What else a setting is called -> its key."""


def described(field: FieldInfo) -> str:
    """Returns the description of a setting, and its default."""
    default = getattr(field.default, "name", field.default)  # of a model, its name
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return str(field.description) + (f" [{shown}]" if shown not in (None, "") else "")


def fields(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yields (dotted key, pydantic FieldInfo) of every setting, in order, those of all registered models too.

    The description of a model's setting says which models have it, and their defaults.
    """
    for name, field in model.model_fields.items():
        key = prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            if not issubclass(field.annotation, ModelConfig):
                yield from fields(field.annotation, f"{key}.")
                continue
            yield key, field
            kinds = AUTOENCODERS if prefix == "autoencoder." else CLASSIFIERS
            yield from _fields_of_models(kinds, key)
        else:
            yield key, field


def _fields_of_models(kinds: Mapping[str, ModelSpec], key: str) -> Iterator[tuple[str, FieldInfo]]:
    models_of: dict[str, dict[str, list[str]]] = {}
    is_list: dict[str, bool] = {}
    for model, spec in kinds.items():
        for name, field in fields(spec.settings, f"{key}."):
            models_of.setdefault(name, {}).setdefault(described(field), []).append(model)
            is_list[name] = isinstance(field.default, tuple)
    for name, texts in models_of.items():
        if name != f"{key}.name":
            parts = (f"{', '.join(models)}: {text}" for text, models in texts.items())
            default = () if is_list[name] else None
            yield name, FieldInfo(default=default, description="; ".join(parts))


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
    path = None if preset is None else _find(str(preset))
    settings = {} if path is None else _read_yaml(path)
    if path is not None and path not in presets().values() and not is_run_directory(path.parent):
        settings["data"] = rebase(settings.get("data", {}), path.parent)
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
    # The name of a model before its settings.
    for key in sorted(overrides, key=lambda key: key.count(".")):
        *sections, name = key.split(".")
        values: dict[str, Any] = settings
        for section in sections:
            inner = values.setdefault(section, {})
            values[section] = values = inner if isinstance(inner, dict) else {"name": inner}
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


def to_commented_yaml(config: Config) -> str:
    """The same, each setting under a comment that says what it is."""
    return "\n".join(_commented(config, ""))


def _commented(section: Section, indent: str) -> Iterator[str]:
    values = section.model_dump(mode="json")
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield f"{indent}{name}:"
            yield from _commented(value, f"{indent}  ")
        else:
            if field.description:
                yield f"{indent}# {field.description}"
            text = yaml.safe_dump(values[name], default_flow_style=True, width=math.inf)
            text = text.removesuffix("...\n").rstrip()  # the end that YAML marks after a bare value
            yield f"{indent}{name}: {text}"


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
    grey, 64 for 32x32 RGB, 128 for 64x64 RGB), but at most one for every four images of the train split, of which there
    are no more principal components than images. A batch has 64 images, or for fewer than 512 images a power
    of two of about an eighth of them, at least 8. Training lasts about 2,500 steps for autoencoders and 1,500 for
    classifiers, at least 5 epochs and at most 60, or 30 for fewer than 512 images, which are soon known by heart.
    """
    batch = min(64, 2 ** int(math.log2(max(64, train_examples)) - 3))
    most_epochs = 60 if batch == 64 else 30

    def epochs(training: TrainingConfig, steps: int) -> int:
        steps_per_epoch = math.ceil(train_examples / (training.batch_size or batch))
        return min(most_epochs, max(5, round(steps / steps_per_epoch)))

    code = 2 ** round(math.log2(math.prod(shape)) / 2)
    few = 2 ** int(math.log2(max(4, train_examples)) - 2)
    code = min(code, max(few, 4))  # 4: one for each channel and a power of two
    code = min(code, config.autoencoder.max_bottleneck or code)
    fitted = {
        "autoencoder.bottleneck": None if config.sweep.bottleneck else code,
        "autoencoder.max_bottleneck": max(config.bottlenecks, default=code),
        "autoencoder.batch_size": batch,
        "classifier.batch_size": batch,
        "autoencoder.epochs": epochs(config.autoencoder, 2500),
        "classifier.epochs": epochs(config.classifier, 1500),
    }
    unset = {key: value for key, value in fitted.items() if attrgetter(key)(config) is None}
    return override(config, {"data.image_size": shape[0], "data.channels": shape[2]} | unset)


def unknown_key(key: str, known: list[str]) -> str:
    """The sentence for a key that is not a setting, naming the nearest."""
    meant = MEANT.get(key.rpartition(".")[2].replace("-", "_"))
    near = [meant] if meant in known else difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "`blurjax run --help` lists them all."
    return f"There is no setting {key}; {hint}"


def _find(preset: str) -> Path:
    if preset in presets():
        return presets()[preset]
    path = Path(preset)
    if os.path.isfile(path):  # noqa: PTH113 (Path.is_file raises where a folder may not be entered)
        return path
    if path.suffix in (".yaml", ".yml"):
        raise UserError(f"The settings file {preset} does not exist.")
    raise UserError(
        f"There is no preset {preset}; choose one of {', '.join(presets())}, or name a YAML file."
    )


class _NoDuplicates(yaml.SafeLoader):
    """Refuses a key that a section has twice, of which YAML would take the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node, seen = super().compose_mapping_node(anchor), set()
        # As the keys stand in the file: a key wins over the same one of a section merged by <<.
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"{key.value} stands there twice, again in line {line}")
            seen.add(key.value)
        return node


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), _NoDuplicates) or {}
    except (yaml.YAMLError, ValueError, OSError) as error:  # ValueError: no UTF-8, no date
        raise UserError(
            f"The settings file {path} cannot be read: {' '.join(str(error).split())}"
        ) from None
    if isinstance(settings, dict):
        empty = [name for name in Config.model_fields if settings.get(name, ...) is None]
        settings = {name: settings[name] for name in settings if name not in empty}
    if not isinstance(settings, dict) or not all(isinstance(v, dict) for v in settings.values()):
        raise UserError(
            f"The settings file {path} must hold sections (data:, classifier:, ...) with settings in them."
        )
    return settings


def _sentence(error: ValidationError, model: type[BaseModel] = Config, prefix: str = "") -> str:
    """Returns the first thing that is wrong in one sentence; keys begin with the prefix."""
    first = error.errors(include_url=False)[0]
    key = prefix + ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
    known = [name for name, _ in fields(model, prefix)]
    if first["type"] == "nested":  # settings of a model
        details = first.get("ctx", {})
        return _sentence(details["error"], details["settings"], f"{key}.")
    if first["type"] == "invalid_key":  # a number
        key = f"{key}.{first['input']}".removeprefix(".")
    if key not in known and key in dict(fields()):
        model_key = prefix.removesuffix(".")
        kinds = AUTOENCODERS if model_key == "autoencoder.model" else CLASSIFIERS
        having = [n for n, spec in kinds.items() if key in dict(fields(spec.settings, prefix))]
        return f"{key} is a setting of {' and '.join(having)} alone; name such a model with {model_key}."
    if first["type"] in ("extra_forbidden", "invalid_key"):
        return unknown_key(key, known + sorted({name.split(".")[0] for name in known}))
    if first["type"] == "value_error":
        message = first["msg"].removeprefix("Value error, ")
        return f"{key} {message}".lstrip() + ("" if message.endswith("?") else ".")
    key = max((name for name in known if key.startswith(name)), key=len, default=key)
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{key} cannot be {first['input']!r}: {message}."
