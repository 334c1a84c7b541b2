"""Settings of models: named, nested, refused where they are another model's, and read back as written."""

import pytest
import yaml
from networks import NormalizedSettings, build_normalized

from blurjax.config import loading
from blurjax.config.model_settings import Cnn, Conv
from blurjax.models import register
from blurjax.runtime.errors import UserError


def classifier(preset=None, **overrides):
    """The settings of the classifier's model; `model__width` stands for classifier.model.width."""
    given = {f"classifier.{key.replace('__', '.')}": value for key, value in overrides.items()}
    return loading.load(preset, given).classifier.model


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("classifier: {model: {name: cnn, width: 16, dense: 64}}\n")
    return path


def test_defaults_are_those_of_the_models_of_the_package():
    loaded = loading.load()
    assert loaded.classifier.model == Cnn(width=32, dense=128)
    assert loaded.autoencoder.model == Conv(width=32)


def test_a_setting_of_a_model_is_set_alone(written):
    assert classifier(model__width="8") == Cnn(width=8)
    assert classifier(written, model__width=8) == Cnn(width=8, dense=64)
    assert classifier("digits", model__dense=8) == Cnn(width=16, dense=8)


def test_the_name_of_the_same_model_keeps_its_settings(written):
    assert classifier(written, model="cnn") == Cnn(width=16, dense=64)
    assert classifier(written, model="cnn", model__width=3) == Cnn(width=3, dense=64)


def test_the_name_of_another_model_brings_its_own_defaults(written, registries):
    register("classifier", NormalizedSettings, build_normalized)
    assert classifier(model="normalized") == NormalizedSettings(width=6)
    assert classifier(written, model="normalized") == NormalizedSettings(width=6)
    either = {"model__width": 9, "model": "normalized"}
    assert classifier(written, **either) == NormalizedSettings(width=9)
    assert classifier(written, **dict(reversed(either.items()))) == NormalizedSettings(width=9)
    with pytest.raises(UserError, match=r"dense is a setting of cnn alone; .* classifier\.model\."):
        classifier(model="normalized", model__dense=3)
    with pytest.raises(UserError, match=r"code is a setting of conv and residual alone; name such"):
        loading.load(overrides={"autoencoder.model": "mlp", "autoencoder.model.code": "spatial"})


def test_a_file_may_name_a_model_or_its_settings_alone(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("classifier: {model: cnn}\nautoencoder: {model: {width: 5}}\n")
    assert classifier(path, model__width=7) == Cnn(width=7)
    assert loading.load(path).autoencoder.model == Conv(width=5)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"model": "cn"}, "classifier.model cannot be 'cn': there is no classifier of that name; "
            "did you mean cnn, or is the module that registers it not imported (--import)?"),
        ({"model": "vit"}, "classifier.model cannot be 'vit': there is no classifier of that name; "
            "choose one of cnn, resnet, mlp, linear, or import the module that registers it (--import)."),
        ({"model": "conv"}, "classifier.model cannot be 'conv': there is no classifier of that "
            "name; did you mean cnn, or is the module that registers it not imported (--import)?"),
        ({"model": 5}, "classifier.model cannot be 5: name a model, such as cnn."),
        ({"model__widht": 3}, "There is no setting classifier.model.widht; did you mean "
            "classifier.model.width?"),
        ({"model": {"name": "cnn", "widht": 3}}, "There is no setting classifier.model.widht; did "
            "you mean classifier.model.width?"),
        ({"model__width": 0}, "classifier.model.width cannot be 0: input should be greater than 0."),
    ],
    ids=str,
)  # fmt: skip
def test_mistakes_are_refused_in_one_sentence(overrides, sentence):
    with pytest.raises(UserError) as caught:
        classifier(**overrides)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("value", ["", "5", "[cnn]"])
def test_a_file_with_no_model_where_one_belongs_is_refused(tmp_path, value):
    path = tmp_path / "mine.yaml"
    path.write_text(f"classifier:\n  model: {value}\n")
    for overrides in ({}, {"model__width": 3}):
        with pytest.raises(UserError, match=r"^classifier\.model cannot be "):
            classifier(path, **overrides)


def test_models_read_back_from_yaml_as_they_were_written(tmp_path, registries):
    register("classifier", NormalizedSettings, build_normalized)
    loaded = loading.load(
        None,
        {
            "classifier.model": "normalized",
            "classifier.model.width": 9,
            "autoencoder.model.width": 3,
        },
    )
    text = loading.to_yaml(loaded)
    assert yaml.safe_load(text)["classifier"]["model"] == {"name": "normalized", "width": 9}
    (tmp_path / "config.yaml").write_text(text)
    assert loading.load(tmp_path / "config.yaml") == loaded
    assert loading.flat(loaded)["classifier.model.width"] == 9
    assert loading.flat(loaded)["autoencoder.model.name"] == "conv"


def test_overriding_other_settings_keeps_the_model(registries):
    register("classifier", NormalizedSettings, build_normalized)
    loaded = loading.load(None, {"classifier.model": "normalized", "classifier.model.width": 9})
    later = loading.override(loaded, {"classifier.epochs": 3})
    assert later.classifier.model == NormalizedSettings(width=9)


def test_fields_list_the_settings_of_all_registered_models(registries):
    def of_models():
        return [key for key, _ in loading.fields() if ".model" in key]

    described = dict(loading.fields())["classifier.model.width"].description
    assert described.startswith("cnn: channels of the first convolution; doubled per level")
    assert (
        "; resnet: channels of the first level; doubled per level, up to four times [64]"
        in described
    )
    own = of_models()
    settings = ["width", "code", "depth"]
    assert own[:4] == ["autoencoder.model", *(f"autoencoder.model.{name}" for name in settings)]
    assert own[4:7] == ["classifier.model", "classifier.model.width", "classifier.model.dense"]

    class Deep(NormalizedSettings):
        name: str = "deep"
        blocks: int = 3
        """how many layers"""

    class Deeper(Deep):
        name: str = "deeper"

    register("classifier", Deep, build_normalized)
    assert of_models() == [*own, "classifier.model.blocks"]
    described = dict(loading.fields())["classifier.model.blocks"]
    assert described.description == "deep: how many layers [3]"
    width = dict(loading.fields())["classifier.model.width"]
    assert width.description.endswith("; deep: units of the hidden layer [6]")
    register("classifier", Deeper, build_normalized)
    described = dict(loading.fields())["classifier.model.blocks"]
    assert described.description == "deep, deeper: how many layers [3]"
    assert len({key for key, _ in loading.fields()}) == len([*loading.fields()])
