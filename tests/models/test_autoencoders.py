"""Autoencoders: a narrowed code is a narrower model, every size and channel count works."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.fft
from networks import images, init, output
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from blurjax.models.autoencoders import ConvAutoencoder, MlpAutoencoder, map_sizes
from blurjax.models.linear_code import (
    LinearAutoencoder,
    ResidualAutoencoder,
    cosines,
    from_channels,
    to_channels,
)


def of_kind(kind, shape=(8, 8, 1), max_bottleneck=8):
    if kind == "conv":
        return ConvAutoencoder(shape, max_bottleneck, width=2)
    if kind == "residual":
        return ResidualAutoencoder(shape, max_bottleneck, width=2)
    if kind == "mlp":
        return MlpAutoencoder(shape, max_bottleneck, (12, 6))
    return LinearAutoencoder(shape, max_bottleneck)


every_kind = pytest.mark.parametrize("kind", ["conv", "residual", "linear", "mlp"])


def autoencoder(max_bottleneck=8, shape=(8, 8, 1), width=4, **options):
    return ConvAutoencoder(shape, max_bottleneck, width=width, **options)


@pytest.mark.parametrize("size", [8, 9, 13, 28, 32, 64, 100, 256])
@pytest.mark.parametrize("channels", [1, 3])
@every_kind
def test_any_size_gives_images_of_the_same_shape(kind, size, channels):
    batch = jax.ShapeDtypeStruct((2, size, size, channels), jnp.float32)
    model = of_kind(kind, batch.shape[1:])
    reconstructed, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), batch, 8)
    assert reconstructed == batch


@pytest.mark.parametrize("shape", [(8, 8, 1), (13, 13, 3)])
@every_kind
def test_images_depend_on_the_code(kind, shape):
    model, batch = of_kind(kind, shape), images(shape, 2)
    params = init(model, batch, 8)
    reconstruct = jax.jit(lambda bottleneck: output(model, params, batch, bottleneck))
    reconstructed, blank = reconstruct(8), reconstruct(0)
    # Without a float of the code in use, all images become the same.
    np.testing.assert_array_equal(blank[0], blank[1])
    assert not np.allclose(reconstructed[0], reconstructed[1])


def test_map_sizes_halve_rounding_up():
    assert map_sizes(100) == [100, 50, 25, 13, 7, 4]
    assert map_sizes(8) == [8, 4]


@every_kind
def test_the_code_is_zero_beyond_the_bottleneck(kind):
    model, batch = of_kind(kind), images()
    params = init(model, batch, 8)
    code, all_of_it = (output(model, params, batch, n, method="encode") for n in (3, 8))
    np.testing.assert_array_equal(code, all_of_it.at[:, 3:].set(0))
    assert np.any(np.asarray(all_of_it[:, 3:]) != 0)
    decoded = output(model, params, code, method="decode")
    np.testing.assert_array_equal(decoded, output(model, params, batch, 3))


def test_gradients_are_zero_beyond_the_bottleneck():
    model, batch = autoencoder(), images()
    params = init(model, batch, 8)
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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["conv", "residual", "mlp"])
def test_bfloat16_keeps_parameters_and_outputs_in_float32(kind):
    model, batch = of_kind(kind).clone(dtype=jnp.bfloat16), images()
    params = init(model, batch, 8)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    narrow = output(model, params, batch, 8)
    assert narrow.dtype == jnp.float32
    full = output(model.clone(dtype=jnp.float32), params, batch, 8)
    np.testing.assert_allclose(narrow, full, atol=0.05)


# Linear codes


def trained(model, batch, bottleneck, steps, learning_rate):
    """Parameters and mean squared errors of full batches under Adam with a cosine schedule."""
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    params = init(model, batch, bottleneck)

    def step(carry, _):
        params, state = carry
        loss, grads = jax.value_and_grad(
            lambda p: jnp.square(output(model, p, batch, bottleneck) - batch).mean()
        )(params)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state), loss

    train = jax.jit(lambda carry: jax.lax.scan(step, carry, length=steps))
    (params, _), losses = train((params, optimizer.init(params)))
    return params, losses


@pytest.fixture(scope="module")
def digits():
    return jnp.asarray(load_digits().images[..., None] / 16, jnp.float32)


def test_a_linear_autoencoder_reaches_the_principal_subspace(digits):
    pixels = np.asarray(digits).reshape(len(digits), -1)
    pca = PCA(8).fit(pixels)
    least = np.square(pca.inverse_transform(pca.transform(pixels)) - pixels).mean()
    model = LinearAutoencoder((8, 8, 1), 8)
    params, losses = trained(model, digits, 8, steps=3000, learning_rate=0.1)
    assert losses[0] > 2 * least
    assert least * (1 - 1e-4) < losses[-1] < 1.02 * least
    # What it can reconstruct are the principal components: the largest angle between the two spaces.
    whole = jnp.eye(8)
    decoded = output(model, params, whole, method="decode").reshape(8, -1)
    decoded = decoded - output(model, params, jnp.zeros((1, 8)), method="decode").reshape(1, -1)
    own, _ = np.linalg.qr(np.asarray(decoded).T)
    cosine = np.linalg.svd(own.T @ pca.components_.T, compute_uv=False)
    assert cosine[:6].min() > 0.99


def test_a_residual_autoencoder_leaves_a_linear_one_behind(digits):
    few = digits[:128]
    linear = trained(LinearAutoencoder((8, 8, 1), 8), few, 8, steps=200, learning_rate=0.01)[1]
    model = ResidualAutoencoder((8, 8, 1), 8, width=8)
    residual = trained(model, few, 8, steps=200, learning_rate=0.01)[1]
    np.testing.assert_allclose(residual[0], linear[0], rtol=1e-5)
    assert residual[-1] < 0.8 * linear[-1]


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("linear", (8, 8, 1)),
        ("linear", (13, 13, 3)),
        ("linear", (40, 40, 3)),
        ("residual", (8, 8, 1)),
    ],
)
def test_before_training_it_keeps_the_lowest_frequencies(kind, shape):
    batch = images(shape)
    floats = 3 * shape[2]  # of every colour, the mean and the two lowest waves are among them
    model = of_kind(kind, shape, max_bottleneck=4 * floats)
    params = init(model, batch, 1)
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None]
    wave = np.cos(np.pi * (2 * rows + 1) / (2 * shape[0])) + 0 * columns
    smooth = jnp.asarray(0.5 + 0.3 * wave, jnp.float32)[None, :, :, None]
    smooth = jnp.broadcast_to(smooth, (1, *shape))
    np.testing.assert_allclose(output(model, params, smooth, 4 * floats), smooth, atol=1e-5)
    rough = jnp.asarray((rows + columns) % 2, jnp.float32)[None, :, :, None]
    blank = output(model, params, jnp.broadcast_to(rough, (1, *shape)), 4 * floats)
    assert blank.std() < 0.3 * rough.std()


def test_a_code_as_wide_as_the_image_loses_nothing():
    batch = images((8, 8, 3))
    model = LinearAutoencoder((8, 8, 3), 200)
    params = init(model, batch, 200)
    np.testing.assert_allclose(output(model, params, batch, 192), batch, atol=1e-5)


def test_cosines_are_those_of_scipy():
    transformed = scipy.fft.dct(np.eye(10), norm="ortho", axis=0)
    np.testing.assert_allclose(cosines(4, 10), transformed[:4], atol=1e-6)


def test_windows_go_into_the_channels_and_back():
    x = jnp.arange(4.0 * 6 * 2).reshape(1, 4, 6, 2)
    folded = to_channels(x)
    np.testing.assert_array_equal(folded[0, 1, 2], x[0, 2:4, 4:6].reshape(-1))
    np.testing.assert_array_equal(from_channels(folded), x)
    odd = to_channels(x[:, :3, :5])
    assert odd.shape == (1, 2, 3, 8)
    np.testing.assert_array_equal(from_channels(odd)[:, :3, :5], x[:, :3, :5])
