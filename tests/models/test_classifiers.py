"""Classifiers: every size and channel count works, they learn, and an image's logits depend on that image alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import images

from blurjax.models import apply
from blurjax.models.classifiers import (
    CnnClassifier,
    DenseClassifier,
    ResNetClassifier,
    whitening_kernel,
)
from blurjax.train import losses as losses_of
from blurjax.train.gradients import mean_gradient

MODELS = {
    "cnn": CnnClassifier(4, width=4, dense=16),
    "resnet": ResNetClassifier(4, width=4),
    "mlp": DenseClassifier(4, (32, 16)),
    "linear": DenseClassifier(4),
}


def init(model, batch):
    return jax.jit(model.init)(jax.random.key(0), batch)


every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


@pytest.mark.parametrize("size", [8, 9, 13, 28, 32, 64, 100, 256])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["cnn", "resnet"])
def test_any_size_gives_a_logit_for_each_class(kind, size, channels):
    batch = jax.ShapeDtypeStruct((2, size, size, channels), jnp.float32)
    model = MODELS[kind].clone(width=2)
    logits, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), batch)
    assert logits.shape == (2, 4)


@pytest.mark.slow
@every_model
def test_bfloat16_keeps_parameters_and_logits_in_float32(model):
    narrow, batch = model.clone(dtype=jnp.bfloat16), images()
    variables = init(narrow, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    logits = apply(narrow, variables, batch)[0]
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, apply(model, variables, batch)[0], rtol=0.03, atol=0.05)


@pytest.mark.slow
@every_model
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_fits_64_random_images(model, dtype):
    """Random labels of random images: what can only be learned by heart."""
    model, batch = model.clone(dtype=jnp.dtype(dtype)), images((9, 9, 3), count=64)
    labels = jax.random.randint(jax.random.key(1), (64,), 0, 4)
    variables, optimizer = init(model, batch), optax.adam(1e-2)

    def loss_of(params, variables):
        logits, state = apply(model, variables | {"params": params}, batch, train=True)
        return losses_of.cross_entropy(logits, labels).mean(), state

    def step(carry, _):
        variables, state = carry
        params = variables["params"]
        (loss, moved), grads = jax.value_and_grad(loss_of, has_aux=True)(params, variables)
        updates, state = optimizer.update(grads, state)
        return ({"params": optax.apply_updates(params, updates), **moved}, state), loss

    train = jax.jit(lambda carry: jax.lax.scan(step, carry, length=300))
    (variables, _), losses = train((variables, optimizer.init(variables["params"])))
    assert losses[-1] < 0.1 < losses[0]
    assert (jnp.argmax(apply(model, variables, batch)[0], axis=1) == labels).all()


@every_model
def test_logits_depend_on_the_image_alone(model):
    batch = images((13, 13, 3), count=4)
    variables = init(model, batch)
    together = apply(model, variables, batch)[0]
    alone = [apply(model, variables, image[None])[0][0] for image in batch]
    np.testing.assert_allclose(together, jnp.stack(alone), rtol=1e-5, atol=1e-5)


def test_no_hidden_layer_is_logistic_regression():
    batch = images()
    variables = init(MODELS["linear"], batch)
    assert variables.keys() == {"params"}
    assert variables["params"].keys() == {"Dense_0"}
    by_hand = (batch - 0.5).reshape(3, -1) @ variables["params"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(apply(MODELS["linear"], variables, batch)[0], by_hand, rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_first_layer_whitens_photographs(channels):
    """Fields whose neighbours are correlated as it expects; of the features, every second half is the negative."""
    kernel = whitening_kernel(channels)
    assert kernel.shape == (3, 3, channels, 8 * channels)
    pixels = [np.subtract.outer(np.arange(n), np.arange(n)) for n in (2, 2, channels)]
    covariance = functools.reduce(np.kron, [0.95 ** np.abs(distance) for distance in pixels])
    features = kernel[:2, :2].reshape(4 * channels, -1)
    found = features.T @ (0.25**2 * covariance) @ features
    half = 4 * channels
    np.testing.assert_allclose(features[:, half:], -features[:, :half])
    variance = np.diag(found)
    correlations = found / np.sqrt(np.outer(variance, variance))
    assert np.abs(correlations[:half, :half] - np.eye(half)).max() < 0.08
    assert variance.max() < 1
    strongest = np.sort(variance[:half])[-(5 if channels == 3 else 3) :]
    assert strongest.min() > 0.92
    assert not kernel[2].any()
    assert not kernel[:, 2].any()


def test_micro_batches_change_neither_gradient_nor_statistics():
    """Where a batch is cut between the parts that are normalised together."""
    model, batch = ResNetClassifier(4, width=4), images((8, 8, 3), count=128)
    variables = model.init(jax.random.key(0), batch)
    state = {"batch_stats": variables["batch_stats"]}

    def losses(params, state, images, key):
        logits, state = apply(model, {"params": params, **state}, images, train=True)
        return losses_of.cross_entropy(logits, jnp.zeros(len(images), jnp.int32)), state

    found = [
        mean_gradient(
            losses,
            variables["params"],
            state,
            batch,
            jnp.ones(128, bool),
            jax.random.key(0),
            microbatches=count,
        )
        for count in (1, 2, 4)
    ]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    for other in found[1:]:
        jax.tree.map(close, other, found[0])
    moved = found[0][2]["batch_stats"]["GhostBatchNorm_0"]["mean"]
    assert (moved != 0).all()
