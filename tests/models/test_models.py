"""Models: a narrowed code is a narrower model, every size and channel count works, and they learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from blurjax.models.autoencoder import Autoencoder, map_sizes
from blurjax.models.classifier import Classifier

from blurjax.models import forward


def autoencoder(max_bottleneck=8, shape=(8, 8, 1), width=4, **options):
    return Autoencoder(image_shape=shape, max_bottleneck=max_bottleneck, width=width, **options)


def images(shape=(8, 8, 1), count=3, seed=0):
    return jax.random.uniform(jax.random.key(seed), (count, *shape))


def init(model, *inputs, seed=0):
    return jax.jit(model.init)(jax.random.key(seed), *inputs)["params"]


@pytest.mark.parametrize(
    "size", [8, 9, 13, 28, 32, 64, 100, pytest.param(256, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_gives_images_of_the_same_shape_that_depend_on_the_code(size, channels):
    shape = (size, size, channels)
    model = autoencoder(shape=shape, width=2)
    batch = images(shape, 2)
    params = init(model, batch, 8)
    paint = jax.jit(lambda bottleneck: forward(model, params, batch, bottleneck))
    painted, blank = paint(8), paint(0)
    assert painted.shape == batch.shape
    assert painted.dtype == jnp.float32
    np.testing.assert_array_equal(
        blank[0], blank[1]
    )  # no float of the code in use: the same picture for all
    assert not np.allclose(painted[0], painted[1])
    logits = jax.jit(Classifier(5, width=2, dense=4).init_with_output)(jax.random.key(0), batch)[0]
    assert logits.shape == (2, 5)


def test_map_sizes_halve_rounding_up():
    assert map_sizes(100) == [100, 50, 25, 13, 7, 4]
    assert map_sizes(8) == [8, 4]


def test_the_code_is_zero_beyond_the_bottleneck_and_gradients_too():
    model, batch = autoencoder(), images()
    params = init(model, batch, 8)
    code = model.apply({"params": params}, batch, 3, method="encode")
    assert np.all(np.asarray(code[:, :3]) != 0)
    np.testing.assert_array_equal(code[:, 3:], 0)
    grads = jax.grad(lambda p: forward(model, p, batch, 3).sum())(params)
    np.testing.assert_array_equal(grads["to_code"]["kernel"][:, 3:], 0)
    np.testing.assert_array_equal(grads["from_code"]["kernel"][3:], 0)
    assert np.any(np.asarray(grads["from_code"]["kernel"][:3]) != 0)


def test_a_masked_code_trains_like_a_narrower_model():
    wide, narrow, batch = autoencoder(8), autoencoder(3), images(count=16)
    wide_params = init(wide, batch, 3)
    narrow_params = dict(wide_params)
    narrow_params["to_code"] = {
        "kernel": wide_params["to_code"]["kernel"][:, :3],
        "bias": wide_params["to_code"]["bias"][:3],
    }
    narrow_params["from_code"] = wide_params["from_code"] | {
        "kernel": wide_params["from_code"]["kernel"][:3]
    }

    def losses(model, params):
        optimizer = optax.adam(1e-2)
        state = optimizer.init(params)

        @jax.jit
        def step(params, state):
            loss, grads = jax.value_and_grad(
                lambda p: jnp.square(forward(model, p, batch, 3) - batch).mean()
            )(params)
            updates, state = optimizer.update(grads, state)
            return optax.apply_updates(params, updates), state, loss

        found = []
        for _ in range(20):
            params, state, loss = step(params, state)
            found.append(float(loss))
        return found

    np.testing.assert_allclose(losses(wide, wide_params), losses(narrow, narrow_params), atol=1e-6)


def test_the_decoder_paints_no_checkerboard_from_a_constant_map():
    """Pixels away from the border see the same, so they are equal; kernels that overlap unevenly would alternate."""
    model = autoencoder(shape=(8, 8, 1))
    params = init(model, images(count=1), 8)
    constant = jnp.abs(params["from_code"]["kernel"].reshape(8, 16, -1)[:, :1])
    params["from_code"]["kernel"] = jnp.tile(constant, (1, 16, 1)).reshape(8, -1)
    painted = np.asarray(model.apply({"params": params}, jnp.ones((1, 8)), method="decode"))[0]
    assert abs(painted[4, 4] - 0.5) > 1e-3
    np.testing.assert_allclose(
        painted[1:-1, 1:-1], np.broadcast_to(painted[4, 4], (6, 6, 1)), rtol=1e-5
    )


def test_bfloat16_keeps_parameters_and_outputs_in_float32():
    batch = images()
    for model, inputs in (
        (autoencoder(dtype=jnp.bfloat16), (batch, 8)),
        (Classifier(3, 4, 8, jnp.bfloat16), (batch,)),
    ):
        params = init(model, *inputs)
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
        output = forward(model, params, *inputs)
        assert output.dtype == jnp.float32
        full = forward(model.clone(dtype=jnp.float32), params, *inputs)
        np.testing.assert_allclose(output, full, atol=0.05)


def test_the_classifier_fits_a_fixed_batch():
    model, batch = Classifier(4, width=4, dense=16), images(count=16)
    labels = jnp.arange(16) % 4
    params, optimizer = init(model, batch), optax.adam(1e-2)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        loss, grads = jax.value_and_grad(
            lambda p: optax.softmax_cross_entropy_with_integer_labels(
                forward(model, p, batch), labels
            ).mean()
        )(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, loss

    first = step(params, state)[2]
    for _ in range(200):
        params, state, loss = step(params, state)
    assert loss < 0.05 < first
