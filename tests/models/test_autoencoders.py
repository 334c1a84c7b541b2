"""Autoencoders: a narrowed code is a narrower model, every size and channel count works."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import images, init, output

from blurjax.models.autoencoders import ConvAutoencoder, map_sizes


def autoencoder(max_bottleneck=8, shape=(8, 8, 1), width=4, **options):
    return ConvAutoencoder(shape, max_bottleneck, width=width, **options)


@pytest.mark.parametrize(
    "size", [8, 9, 13, 28, 32, 64, 100, pytest.param(256, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_gives_images_of_the_same_shape_that_depend_on_the_code(size, channels):
    shape = (size, size, channels)
    model = autoencoder(shape=shape, width=2)
    batch = images(shape, 2)
    params = init(model, batch, 8)
    reconstruct = jax.jit(lambda bottleneck: output(model, params, batch, bottleneck))
    reconstructed, blank = reconstruct(8), reconstruct(0)
    assert reconstructed.shape == batch.shape
    assert reconstructed.dtype == jnp.float32
    np.testing.assert_array_equal(
        blank[0], blank[1]
    )  # no float of the code in use: the same picture for all
    assert not np.allclose(reconstructed[0], reconstructed[1])


def test_map_sizes_halve_rounding_up():
    assert map_sizes(100) == [100, 50, 25, 13, 7, 4]
    assert map_sizes(8) == [8, 4]


def test_the_code_is_zero_beyond_the_bottleneck_and_gradients_too():
    model, batch = autoencoder(), images()
    params = init(model, batch, 8)
    code = output(model, params, batch, 3, method="encode")
    assert np.all(np.asarray(code[:, :3]) != 0)
    np.testing.assert_array_equal(code[:, 3:], 0)
    grads = jax.grad(lambda p: output(model, p, batch, 3).sum())(params)
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
                lambda p: jnp.square(output(model, p, batch, 3) - batch).mean()
            )(params)
            updates, state = optimizer.update(grads, state)
            return optax.apply_updates(params, updates), state, loss

        found = []
        for _ in range(20):
            params, state, loss = step(params, state)
            found.append(float(loss))
        return found

    np.testing.assert_allclose(losses(wide, wide_params), losses(narrow, narrow_params), atol=1e-6)


def test_the_decoder_makes_no_checkerboard_of_a_constant_map():
    """Pixels away from the border see the same, so they are equal; kernels that overlap unevenly would alternate."""
    model = autoencoder(shape=(8, 8, 1))
    params = init(model, images(count=1), 8)
    constant = jnp.abs(params["from_code"]["kernel"].reshape(8, 16, -1)[:, :1])
    params["from_code"]["kernel"] = jnp.tile(constant, (1, 16, 1)).reshape(8, -1)
    decoded = np.asarray(output(model, params, jnp.ones((1, 8)), method="decode"))[0]
    assert abs(decoded[4, 4] - 0.5) > 1e-3
    np.testing.assert_allclose(
        decoded[1:-1, 1:-1], np.broadcast_to(decoded[4, 4], (6, 6, 1)), rtol=1e-5
    )


def test_bfloat16_keeps_parameters_and_outputs_in_float32():
    model, batch = autoencoder(dtype=jnp.bfloat16), images()
    params = init(model, batch, 8)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    narrow = output(model, params, batch, 8)
    assert narrow.dtype == jnp.float32
    full = output(model.clone(dtype=jnp.float32), params, batch, 8)
    np.testing.assert_allclose(narrow, full, atol=0.05)
