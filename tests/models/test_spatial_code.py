"""Codes that are small maps: where their floats lie, whole channels of them, what they begin as."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import images, init, output

from blurjax.models.autoencoders import ConvAutoencoder, floats_of, map_of
from blurjax.models.linear_code import LinearAutoencoder, ResidualAutoencoder

KINDS = {"conv": ConvAutoencoder, "residual": ResidualAutoencoder}
both_kinds = pytest.mark.parametrize("kind", KINDS)


def spatial(kind, shape=(8, 8, 1), max_bottleneck=48, width=2, **options):
    return KINDS[kind](shape, max_bottleneck, width=width, code="spatial", **options)


@pytest.fixture(scope="module")
def trained():
    """Kind -> its parameters with what is zero at the beginning drawn at random, as after some training."""

    def params(kind):
        first = init(spatial(kind), images(), 48)
        leaves, tree = jax.tree.flatten(first)
        keys = jax.random.split(jax.random.key(1), len(leaves))
        drawn = [0.2 * jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(tree, [a + b for a, b in zip(leaves, drawn, strict=True)])

    return {kind: params(kind) for kind in KINDS}


def test_floats_lie_channel_after_channel():
    code = jnp.arange(2.0 * 48).reshape(2, 48)
    pixels = map_of(code, 4)
    assert pixels.shape == (2, 4, 4, 3)
    np.testing.assert_array_equal(pixels[1, :, :, 2], code[1, 32:].reshape(4, 4))
    np.testing.assert_array_equal(floats_of(pixels), code)


@pytest.mark.parametrize(
    ("size", "side"), [(8, 4), (9, 3), (13, 4), (28, 4), (33, 3), (64, 4), (100, 4)]
)
@pytest.mark.parametrize("channels", [1, 3])
@both_kinds
def test_any_size_gives_images_of_the_same_shape(kind, size, side, channels):
    batch = jax.ShapeDtypeStruct((2, size, size, channels), jnp.float32)
    model = spatial(kind, batch.shape[1:], 5 * side**2)
    assert model.code_side == side
    reconstructed, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), batch, 8)
    assert reconstructed == batch
    encode = lambda v, x: model.apply(v, x, 8, method="encode")  # noqa: E731
    assert jax.eval_shape(encode, variables, batch).shape == (2, 5 * side**2)


@both_kinds
def test_narrower_codes_are_the_first_channels(kind, trained):
    model, batch = spatial(kind), images()
    code, all_of_it = (output(model, trained[kind], batch, n, method="encode") for n in (32, 48))
    np.testing.assert_array_equal(map_of(code, 4), map_of(all_of_it, 4).at[..., 2:].set(0))
    assert np.any(np.asarray(all_of_it[:, 32:]) != 0)
    decoded = output(model, trained[kind], code, method="decode")
    np.testing.assert_array_equal(decoded, output(model, trained[kind], batch, 32))
    blank = output(model, trained[kind], batch, 0)
    np.testing.assert_array_equal(blank[0], blank[1])


def test_a_masked_code_has_the_gradients_of_a_narrower_model(trained):
    batch, wide = images(), trained["conv"]
    narrow = wide | {
        "to_code": {name: leaf[..., :2] for name, leaf in wide["to_code"].items()},
        "from_code": wide["from_code"] | {"kernel": wide["from_code"]["kernel"][:, :, :2]},
    }

    def gradient(model, params):
        return jax.grad(lambda p: jnp.square(output(model, p, batch, 32) - batch).mean())(params)

    masked, own = gradient(spatial("conv"), wide), gradient(spatial("conv", (8, 8, 1), 32), narrow)
    for name in ("to_code", "encoder_0", "decoder_0", "to_image"):
        if name in own:
            of_both = masked[name]["kernel"][..., : own[name]["kernel"].shape[3]]
            np.testing.assert_allclose(of_both, own[name]["kernel"], rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(masked["to_code"]["kernel"][..., 2:], 0)
    np.testing.assert_array_equal(masked["from_code"]["kernel"][:, :, 2:], 0)


def test_before_training_each_pixel_of_the_code_is_the_linear_code_of_its_block():
    model, batch = spatial("residual", (32, 32, 3), 80), images((32, 32, 3))
    code = map_of(output(model, init(model, batch, 80), batch, 80, method="encode"), 4)
    block, of_block = batch[:, 8:16, 24:32], LinearAutoencoder((8, 8, 3), 5)
    expected = output(of_block, init(of_block, block, 5), block, 5, method="encode")
    np.testing.assert_allclose(code[:, 1, 3], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "block"), [((8, 8, 1), 2), ((13, 13, 3), 4)])
def test_before_training_a_code_of_whole_blocks_loses_nothing(shape, block):
    batch, floats = images(shape), (4 * block) ** 2 * shape[2]
    model = spatial("residual", shape, floats)
    reconstructed = output(model, init(model, batch, floats), batch, floats)
    np.testing.assert_allclose(reconstructed, batch, atol=1e-5)


@pytest.mark.parametrize(("kind", "lowering"), [("conv", "patches"), ("residual", "auto")])
def test_lowerings_and_vmap_change_nothing_but_rounding(kind, lowering, trained):
    batch = images()

    def loss(model):
        def of_one(params, bottleneck):
            return jnp.square(output(model, params, batch, bottleneck) - batch).mean()

        return jax.value_and_grad(of_one)

    plain = jax.jit(loss(spatial(kind, lowering="lax")))
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.9 * leaf]), trained[kind])
    bottlenecks = jnp.array([16, 48])
    ours = jax.jit(jax.vmap(loss(spatial(kind, lowering=lowering))))(two, bottlenecks)
    for i in range(2):
        alone = plain(jax.tree.map(lambda leaf, i=i: leaf[i], two), bottlenecks[i])
        mapped = jax.tree.map(lambda leaf, i=i: leaf[i], ours)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), mapped, alone
        )


@both_kinds
def test_bfloat16_keeps_parameters_and_outputs_in_float32(kind):
    model, batch = spatial(kind, dtype=jnp.bfloat16), images()
    params = init(model, batch, 48)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    for method, tolerance in ((None, 0.05), ("encode", 0.1)):
        narrow = output(model, params, batch, 48, method=method)
        assert narrow.dtype == jnp.float32
        full = output(model.clone(dtype=jnp.float32), params, batch, 48, method=method)
        np.testing.assert_allclose(narrow, full, atol=tolerance)
