"""Models by name: registered, built of settings, and applied with all that they carry beside parameters."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import InvalidRngError
from networks import Normalized, NormalizedSettings, build_normalized, images

from blurjax.config import loading
from blurjax.config.model_settings import Cnn, ModelConfig
from blurjax.models import ModelContext, apply, build, register
from blurjax.models.autoencoders import ConvAutoencoder
from blurjax.models.classifiers import CnnClassifier
from blurjax.runtime.errors import UserError

MODEL, BATCH = Normalized(), images(count=5)
VARIABLES = MODEL.init(jax.random.key(0), BATCH)
KEY = jax.random.key(1)
CONTEXT = ModelContext((8, 8, 1), num_classes=3, max_bottleneck=4)


def assert_equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_training_moves_batch_statistics_by_those_of_the_batch():
    _, state = apply(MODEL, VARIABLES, BATCH, train=True, key=KEY)
    hidden = BATCH.reshape(5, -1) @ VARIABLES["params"]["Dense_0"]["kernel"]
    assert state.keys() == {"batch_stats"}
    statistics = state["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(statistics["mean"], 0.1 * hidden.mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * hidden.var(axis=0), rtol=1e-4)


def test_training_draws_dropout_from_its_key():
    first, again, other = (
        apply(MODEL, VARIABLES, BATCH, train=True, key=key)[0]
        for key in (KEY, KEY, jax.random.key(2))
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    with pytest.raises(InvalidRngError):
        apply(MODEL, VARIABLES, BATCH, train=True)


def test_evaluation_changes_no_variable_and_is_of_each_image_alone():
    logits, state = apply(MODEL, VARIABLES, BATCH)
    assert_equal(state, {"batch_stats": VARIABLES["batch_stats"]})
    np.testing.assert_array_equal(logits, apply(MODEL, VARIABLES, BATCH, key=KEY)[0])
    alone = jnp.concatenate([apply(MODEL, VARIABLES, image[None])[0] for image in BATCH])
    np.testing.assert_allclose(logits, alone, rtol=1e-5, atol=1e-6)


def test_what_is_carried_keeps_its_dtype():
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), VARIABLES["batch_stats"])
    variables = {"params": VARIABLES["params"], "batch_stats": narrow}
    _, state = apply(MODEL, variables, BATCH, train=True, key=KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype("bfloat16")}


def test_a_model_without_state_trains_without_a_key():
    model = CnnClassifier(3, width=2, dense=4)
    variables = model.init(jax.random.key(0), BATCH)
    logits, state = apply(model, variables, BATCH, train=True)
    assert state == {}
    np.testing.assert_array_equal(logits, apply(model, variables, BATCH)[0])


def test_a_method_is_applied_by_name():
    model = ConvAutoencoder((8, 8, 1), max_bottleneck=4, width=2)
    variables = model.init(jax.random.key(0), BATCH, 4)
    code, _ = apply(model, variables, BATCH, 4, method="encode")
    decoded, _ = apply(model, variables, code, method="decode")
    np.testing.assert_array_equal(decoded, apply(model, variables, BATCH, 4)[0])


def test_settings_build_the_model_that_they_name(registries):
    register("classifier", NormalizedSettings, build_normalized)
    asked_for = {"classifier.model": "normalized", "classifier.model.width": 9}
    loaded = loading.load(None, asked_for | {"autoencoder.model.width": 5})
    assert build("classifier", loaded.classifier.model, CONTEXT) == Normalized(3, 9)
    assert build("autoencoder", loaded.autoencoder.model, CONTEXT) == ConvAutoencoder(
        (8, 8, 1), max_bottleneck=4, width=5
    )


def test_the_context_reaches_the_models_of_the_package():
    context = ModelContext((9, 9, 3), 7, 6, "bfloat16", "patches", rematerialize=True)
    classifier = build("classifier", Cnn(width=2, dense=5), context)
    assert classifier == CnnClassifier(7, 2, 5, jnp.dtype("bfloat16"), "patches")
    autoencoder = build("autoencoder", loading.load().autoencoder.model, context)
    assert autoencoder == ConvAutoencoder(
        (9, 9, 3), 6, 32, jnp.dtype("bfloat16"), "patches", rematerialize=True
    )


def test_a_name_is_given_to_one_model_of_a_kind(registries):
    class Other(ModelConfig):
        name: Literal["normalized"] = "normalized"

    register("classifier", NormalizedSettings, build_normalized)
    register(
        "classifier", NormalizedSettings, build_normalized
    )  # the same once more, as by a second import
    with pytest.raises(ValueError, match="there is another classifier named normalized"):
        register("classifier", Other, build_normalized)
    register("autoencoder", Other, build_normalized)


def test_registrations_of_tests_are_undone():
    with pytest.raises(UserError, match="there is no classifier of that name"):
        loading.load(None, {"classifier.model": "normalized"})
