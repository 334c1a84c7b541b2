"""Settings of models: each kind has its own, and people can add kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PositiveInt,
    SerializeAsAny,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from blurjax.config.registry import Registry

Code = Literal["vector", "spatial"]


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _list_single_values(cls, values: Any) -> Any:
        """Makes lists of one of single values where several may stand."""
        if not isinstance(values, dict):
            return values
        fields = cls.model_fields
        return {
            name: (value,)
            if name in fields
            and isinstance(fields[name].default, tuple)
            and isinstance(value, str | int | float)
            else value
            for name, value in values.items()
        }


class ModelConfig(Section):
    """Settings of a model of its own kind: subclass it with a `name` and what the model needs, and register it.

    class ResNet(ModelConfig):
        name: Literal["resnet"] = "resnet"
        width: PositiveInt = 16
    """

    name: str


@dataclass(frozen=True)
class ModelSpec:
    """A kind of model that settings can name.

    Attributes:
      settings: the subclass of ModelConfig with its settings and their defaults.
      build: (settings, ModelContext) -> flax module (see `blurjax.models`), or its place as "package.module:function".
    """

    settings: type[ModelConfig]
    build: str | Callable[..., Any]


class Cnn(ModelConfig):
    """3x3 convolutions with ReLU and max pooling, one hidden dense layer."""

    name: Literal["cnn"] = "cnn"
    width: PositiveInt = 32
    """channels of the first convolution; doubled per level, up to four times"""
    dense: PositiveInt = 128
    """units of the hidden dense layer"""


class ResNet(ModelConfig):
    """A fast residual network: 3x3 convolutions of stride 1, GELU, max pooling, no hidden dense layer."""

    name: Literal["resnet"] = "resnet"
    width: PositiveInt = 64
    """channels of the first level; doubled per level, up to four times"""


class MlpClassifier(ModelConfig):
    """Dense layers with ReLU on the pixels."""

    name: Literal["mlp"] = "mlp"
    width: PositiveInt = 512
    """units of each hidden layer"""
    depth: PositiveInt = 2
    """hidden layers"""


class LinearClassifier(ModelConfig):
    """Multinomial logistic regression on the pixels."""

    name: Literal["linear"] = "linear"


class Conv(ModelConfig):
    """3x3 convolutions with GELU, average pooling on the way down, repetition of pixels on the way up."""

    name: Literal["conv"] = "conv"
    width: PositiveInt = 32
    """channels of the first convolution; doubled per level, up to eight times"""
    code: Code = "vector"
    """vector | spatial: a small map of the image, without dense layers"""


class LinearAutoencoder(ModelConfig):
    """A linear map to the code and one back, which begin as a cosine transform without its high frequencies."""

    name: Literal["linear"] = "linear"


class ResidualAutoencoder(ModelConfig):
    """The linear autoencoder, and convolutions that learn what it lacks."""

    name: Literal["residual"] = "residual"
    width: PositiveInt = 32
    """channels of the first convolution; doubled per level, up to four times"""
    code: Code = "vector"
    """vector | spatial: a small map of the image, without dense layers"""


class MlpAutoencoder(ModelConfig):
    """Dense layers with GELU from the pixels to the code, and back."""

    name: Literal["mlp"] = "mlp"
    width: PositiveInt = 512
    """units of each hidden layer"""
    depth: PositiveInt = 2
    """hidden layers on either side of the code"""


AUTOENCODERS: Registry[ModelSpec] = Registry("autoencoder")
CLASSIFIERS: Registry[ModelSpec] = Registry("classifier")
for _registry, _settings, _build in (
    (AUTOENCODERS, Conv, "autoencoders:build_conv"),
    (AUTOENCODERS, ResidualAutoencoder, "linear_code:build_residual"),
    (AUTOENCODERS, LinearAutoencoder, "linear_code:build_linear"),
    (AUTOENCODERS, MlpAutoencoder, "autoencoders:build_mlp"),
    (CLASSIFIERS, Cnn, "classifiers:build_cnn"),
    (CLASSIFIERS, ResNet, "classifiers:build_resnet"),
    (CLASSIFIERS, MlpClassifier, "classifiers:build_mlp"),
    (CLASSIFIERS, LinearClassifier, "classifiers:build_linear"),
):
    _name = _settings.model_fields["name"].default
    _registry.register(_name, ModelSpec(_settings, f"blurjax.models.{_build}"))


def _named_model(registry: Registry[ModelSpec], default: str) -> Callable[[Any], ModelConfig]:
    """Returns a validator of {"name": ..., settings of that model}; a name alone stands for the model's defaults."""

    def validate(value: Any) -> ModelConfig:
        if isinstance(value, ModelConfig):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping):
            raise ValueError(f"cannot be {value!r}: name a model, such as {default}")
        name = registry.check(str(value.get("name", default)))
        try:
            return registry[name].settings.model_validate({**value, "name": name})
        except ValidationError as error:
            # Its sentence is written where the key of this field is known.
            details = {"error": error, "settings": registry[name].settings}
            raise PydanticCustomError("nested", "not valid", details) from None

    return validate


AutoencoderModel = Annotated[
    SerializeAsAny[ModelConfig], BeforeValidator(_named_model(AUTOENCODERS, "conv"))
]
ClassifierModel = Annotated[
    SerializeAsAny[ModelConfig], BeforeValidator(_named_model(CLASSIFIERS, "cnn"))
]
