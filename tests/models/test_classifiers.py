"""Classifiers: every size and channel count works, they learn, and an image's logits depend on that image alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import images, init, output

from blurjax.models import apply
from blurjax.models.classifiers import CnnClassifier, DenseClassifier, ResNetClassifier
from blurjax.models.layers import StandardizedConv, convolution

MODELS = {
    "cnn": CnnClassifier(4, width=4, dense=16),
    "resnet": ResNetClassifier(4, width=4),
    "mlp": DenseClassifier(4, (32, 16)),
    "linear": DenseClassifier(4),
}
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
    params = init(narrow, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    logits = output(narrow, params, batch)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, output(model, params, batch), rtol=0.03, atol=0.05)


@pytest.mark.slow
@every_model
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_fits_64_random_images(model, dtype):
    """Random labels of random images: what can only be learned by heart."""
    model, batch = model.clone(dtype=jnp.dtype(dtype)), images((9, 9, 3), count=64)
    labels = jax.random.randint(jax.random.key(1), (64,), 0, 4)
    params, optimizer = init(model, batch), optax.adam(1e-2)

    def step(carry, _):
        params, state = carry
        loss, grads = jax.value_and_grad(
            lambda p: optax.softmax_cross_entropy_with_integer_labels(
                output(model, p, batch), labels
            ).mean()
        )(params)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state), loss

    train = jax.jit(lambda carry: jax.lax.scan(step, carry, length=300))
    (params, _), losses = train((params, optimizer.init(params)))
    assert losses[-1] < 0.1 < losses[0]
    assert (jnp.argmax(output(model, params, batch), axis=1) == labels).all()


@every_model
@pytest.mark.parametrize("train", [False, True])
def test_logits_depend_on_the_image_alone(model, train):
    """So that it does not matter how batches are cut or spread over devices."""
    batch = images((13, 13, 3), count=4)
    variables = {"params": init(model, batch)}
    together = apply(model, variables, batch, train=train)[0]
    alone = [apply(model, variables, image[None], train=train)[0][0] for image in batch]
    np.testing.assert_allclose(together, jnp.stack(alone), rtol=1e-5, atol=1e-5)


def test_no_hidden_layer_is_logistic_regression():
    batch = images()
    params = init(MODELS["linear"], batch)
    assert params.keys() == {"Dense_0"}
    by_hand = (batch - 0.5).reshape(3, -1) @ params["Dense_0"]["kernel"]
    np.testing.assert_allclose(output(MODELS["linear"], params, batch), by_hand, rtol=1e-5)


def test_standardized_kernels_keep_the_variance_of_activations():
    """Through GELU, and whatever the size and the mean of the parameters."""
    x = jax.nn.gelu(jax.random.normal(jax.random.key(0), (8, 32, 32, 32)))
    x = (x - x.mean()) * 1.7
    conv = StandardizedConv(64)
    params = jax.jit(conv.init)(jax.random.key(1), x)["params"]
    params = params | {"kernel": 5 * params["kernel"] + 3}
    y = conv.apply({"params": params}, x)
    np.testing.assert_allclose(jax.nn.gelu(y).std() * 1.7, 1.7, atol=0.2)
    # The mean over inputs and places of what a kernel sees is taken away from it.
    constant = conv.apply({"params": params}, jnp.ones((1, 5, 5, 32)))
    np.testing.assert_allclose(constant[:, 1:-1, 1:-1], 0, atol=1e-3)


def test_a_standardized_kernel_by_hand():
    x, kernel = images((5, 5, 2), 1), jax.random.normal(jax.random.key(3), (3, 3, 2, 4))
    params = {"kernel": kernel, "gain": jnp.arange(4.0), "bias": jnp.ones(4)}
    flat = np.asarray(kernel).reshape(18, 4)
    standard = (flat - flat.mean(0)) / np.sqrt(flat.var(0) * 18 + 1e-4) * 1.7 * np.arange(4)
    expected = convolution(x, jnp.asarray(standard.reshape(3, 3, 2, 4), jnp.float32)) + 1
    np.testing.assert_allclose(
        StandardizedConv(4).apply({"params": params}, x), expected, rtol=1e-4, atol=1e-5
    )
