"""Every lowering computes the same convolution; vmap, loops and devices change only the speed."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, PartitionSpec
from jax.test_util import check_grads

from blurjax.models import contractions, layers, lowering
from blurjax.models.layers import (
    Conv,
    average_pool_2x2,
    convolution,
    max_pool_2x2,
    upsample_2x,
    upsample_convolution,
)
from blurjax.models.pieces import micro_batches

BY_HAND = ("hybrid", "patches")
FLOAT32 = 1e-5
BFLOAT16 = 2e-2  # eight bits of mantissa; kernels summed for upsampling are rounded once more


def random(seed, *shape, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def assert_close(actual, expected, tolerance=FLOAT32):
    """Relative to the largest entry: a sum of products has no better bound."""
    actual, expected = (np.asarray(x, np.float64) for x in (actual, expected))
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


def value_and_gradients(function, images, kernel, seed=2):
    """The value, the images' gradient and the kernel's gradient for a random cotangent."""
    value, pull_back = jax.vjp(function, images, kernel)
    cotangent = random(seed, *value.shape, dtype=value.dtype)
    return value, *pull_back(cotangent + 0 * value)  # varying over the same mesh axes


value_and_gradients_at_once = jax.jit(value_and_gradients, static_argnums=0)


def with_lax(images, kernel):
    return lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    batch=st.sampled_from([1, 2, 6]),
    height=st.integers(1, 17),
    width=st.integers(1, 17),
    channels=st.sampled_from([1, 3, 8, 32]),
    features=st.sampled_from([1, 3, 8, 32]),
    size=st.sampled_from([(1, 1), (3, 3), (5, 5), (1, 3)]),
    how=st.sampled_from([*BY_HAND, "winograd", "accelerator"]),
)
def test_lowerings_equal_lax(batch, height, width, channels, features, size, how):
    assume(how != "winograd" or size == (3, 3))
    images, kernel = random(0, batch, height, width, channels), random(1, *size, channels, features)
    padding = ((size[0] // 2,) * 2, (size[1] // 2,) * 2)

    def by_hand(images, kernel):
        return lowering.convolve(images, kernel, padding, how, None)

    expected = value_and_gradients_at_once(with_lax, images, kernel)
    for a, e in zip(value_and_gradients_at_once(by_hand, images, kernel), expected, strict=True):
        assert_close(a, e)


@pytest.mark.parametrize("how", ["auto", "lax", *BY_HAND])
def test_public_lowerings_equal_lax(how):
    images, kernel = random(0, 6, 17, 17, 8), random(1, 3, 3, 8, 16)
    actual = value_and_gradients_at_once(
        lambda x, k: convolution(x, k, lowering=how), images, kernel
    )
    for a, e in zip(actual, value_and_gradients_at_once(with_lax, images, kernel), strict=True):
        assert_close(a, e)


@pytest.mark.parametrize(
    "padding", [((1, 1), (1, 1)), ((0, 2), (1, 0))], ids=["to the same size", "uneven"]
)
@pytest.mark.parametrize("shape", [(6, 16, 16), (2, 7, 5), (3, 1, 2)], ids=str)
def test_winograd_equals_lax(shape, padding):
    """Even and odd sizes, in several micro-batches and in one."""
    images, kernel = random(0, *shape, 8), random(1, 3, 3, 8, 16)

    def by_hand(images, kernel):
        return lowering.convolve(images, kernel, padding, "winograd", None)

    expected = value_and_gradients_at_once(
        lambda x, k: contractions.lax_forward(x, k, padding, None), images, kernel
    )
    for a, e in zip(value_and_gradients_at_once(by_hand, images, kernel), expected, strict=True):
        assert_close(a, e)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about the choice for CPUs")
def test_winograd_rounds_like_an_ordinary_convolution():
    """Against double precision, at most twice the error (root mean square) of XLA's convolution."""
    images, kernel = random(0, 4, 8, 8, 64), random(1, 3, 3, 64, 64)
    cotangent = random(2, 4, 8, 8, 64)

    def by_winograd(images, kernel):
        return lowering.convolve(images, kernel, ((1, 1), (1, 1)), "winograd", None)

    def computed(function, *arrays):
        value, pull_back = jax.vjp(function, *arrays[:2])
        return [np.asarray(x, np.float64) for x in (value, *pull_back(arrays[2]))]

    arrays = images, kernel, cotangent
    plain, fast = computed(with_lax, *arrays), computed(by_winograd, *arrays)
    with jax.enable_x64(True):
        exact = computed(with_lax, *(jnp.asarray(np.asarray(x, np.float64)) for x in arrays))
    for e, p, f in zip(exact, plain, fast, strict=True):
        errors = [np.sqrt(np.mean((x - e) ** 2)) for x in (p, f)]
        assert 0 < errors[1] < 2 * errors[0]


@pytest.mark.parametrize(
    ("shape", "kernel", "dtype", "expected"),
    [
        ((16, 16, 32), (3, 3, 32, 64), "float32", "winograd"),
        ((4, 4, 256), (3, 3, 256, 256), "float32", "winograd"),
        ((16, 16, 16), (3, 3, 16, 64), "float32", "hybrid"),
        ((16, 16, 64), (5, 5, 64, 64), "float32", "hybrid"),
        ((16, 16, 64), (2, 2, 64, 64), "float32", "hybrid"),
        ((16, 16, 64), (3, 3, 64, 64), "bfloat16", "hybrid"),
        ((4, 4, 32), (3, 3, 32, 64), "float32", "hybrid"),
        ((3, 3, 256), (3, 3, 256, 256), "float32", "patches"),
    ],
    ids=str,
)
def test_the_choice_on_cpus(shape, kernel, dtype, expected):
    images = jax.ShapeDtypeStruct((2, *shape), dtype)
    assert layers._resolved("cpu", images, jax.ShapeDtypeStruct(kernel, dtype)) == expected


@pytest.mark.parametrize(("batch", "pieces"), [(6, 2), (7, 1), (3, 1), (13, 13), (12, 4)])
def test_micro_batches_cover_the_batch(batch, pieces):
    pixels = jnp.arange(batch * 13 * 13).reshape(batch, 13, 13, 1)
    (cut,) = micro_batches(pixels)
    assert cut.shape[0] == pieces
    np.testing.assert_array_equal(cut.ravel(), np.arange(batch * 13 * 13))


@pytest.mark.parametrize("how", BY_HAND)
@pytest.mark.parametrize(("channels", "features"), [(3, 8), (8, 3), (8, 16)])
def test_bfloat16_is_close_to_float32(how, channels, features):
    images, kernel = random(0, 6, 17, 17, channels), random(1, 3, 3, channels, features)
    narrow = images.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    actual = value_and_gradients_at_once(lambda x, k: convolution(x, k, lowering=how), *narrow)
    expected = value_and_gradients_at_once(with_lax, images, kernel)
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == jnp.bfloat16
        assert_close(a, e, BFLOAT16)


@pytest.mark.parametrize("channels", [8, 32])
def test_a_batch_of_no_images_has_a_value(channels):
    images, kernel = jnp.zeros((0, 16, 16, channels)), random(1, 3, 3, channels, 32)
    assert convolution(images, kernel).shape == (0, 16, 16, 32)


def test_gradients_agree_with_finite_differences():
    images, kernel = random(0, 2, 5, 4, 5), random(1, 3, 3, 5, 6)
    check_grads(convolution, (images, kernel), order=1, modes=["rev"], atol=1e-2, rtol=1e-2)
    check_grads(
        upsample_convolution, (images, kernel), order=1, modes=["rev"], atol=1e-2, rtol=1e-2
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "how"),
    [
        *itertools.product((convolution, upsample_convolution), (*BY_HAND, "accelerator")),
        (convolution, "winograd"),
    ],
)
@pytest.mark.parametrize(
    ("trials", "axes"), [(1, (0, 0)), (3, (0, None)), (3, (None, 0)), (3, (1, 3))]
)
def test_vmap_equals_one_trial_after_another(monkeypatch, function, how, axes, trials):
    monkeypatch.setattr(layers, "_resolved", lambda *_: how)

    def run(images, kernel):
        return value_and_gradients(function, images, kernel)

    images, kernel = random(0, trials, 2, 5, 6, 5), random(1, trials, 3, 3, 5, 7)
    arguments = [
        x[0] if axis is None else jnp.moveaxis(x, 0, axis)
        for x, axis in zip((images, kernel), axes, strict=True)
    ]
    mapped, alone = jax.jit(jax.vmap(run, axes))(*arguments), jax.jit(run)
    for t in range(trials):
        one = alone(
            *(x[0 if a is None else t] for x, a in zip((images, kernel), axes, strict=True))
        )
        for a, e in zip(mapped, one, strict=True):
            assert_close(a[t], e)


def test_a_kernel_shared_by_trials_sums_their_gradients():
    images, kernel = random(0, 3, 2, 5, 5, 8), random(1, 3, 3, 8, 8)

    def total(kernel, one):
        return jnp.sum(jax.vmap(one, (0, None))(images, kernel) ** 2)

    assert_close(jax.grad(total)(kernel, convolution), jax.grad(total)(kernel, with_lax))


def test_nested_vmap_equals_a_loop():
    images, kernel = random(0, 2, 3, 1, 4, 4, 5), random(1, 2, 3, 3, 3, 5, 6)
    mapped = jax.vmap(jax.vmap(convolution))(images, kernel)
    for i in range(2):
        for j in range(3):
            assert_close(mapped[i, j], with_lax(images[i, j], kernel[i, j]))


def program_text(function, *arguments):
    return jax.jit(function).lower(*arguments).compile().as_text()


def test_vmap_over_one_trial_is_the_program_of_no_vmap():
    images, kernel = random(0, 2, 8, 8, 8), random(1, 3, 3, 8, 8)

    def run(images, kernel):
        return value_and_gradients(convolution, images, kernel)

    alone = program_text(run, images, kernel)
    mapped = program_text(jax.vmap(run), images[None], kernel[None])
    for operation in (" while(", " convolution(", " dot("):
        assert mapped.count(operation) == alone.count(operation)


def test_vmap_over_kernels_makes_no_grouped_convolution():
    images, kernel = random(0, 3, 2, 8, 8, 8), random(1, 3, 3, 3, 8, 8)
    text = program_text(
        jax.vmap(lambda x, k: value_and_gradients(convolution, x, k)), images, kernel
    )
    assert " convolution(" in text
    assert "group_count" not in text


def steps(count, kernel, images):
    """Gradient descent on the kernel, as a loop whose length may be traced."""

    def step(_, kernel):
        loss = lambda k: jnp.mean(convolution(images, k) ** 2)  # noqa: E731
        return kernel - 0.1 * jax.grad(loss)(kernel)

    return lax.fori_loop(0, count, step, kernel)


def test_loops_of_any_kind_equal_one_step_after_another():
    images, kernel = random(0, 6, 16, 16, 8), random(1, 3, 3, 8, 8) / 8
    expected = kernel
    for _ in range(3):
        loss = lambda k: jnp.mean(with_lax(images, k) ** 2)  # noqa: E731
        expected = expected - 0.1 * jax.grad(loss)(expected)
    assert_close(jax.jit(steps)(3, kernel, images), expected)
    assert_close(jax.jit(steps, static_argnums=0)(3, kernel, images), expected)
    mapped = jax.jit(lambda k: lax.map(lambda k: steps(3, k, images), k))(kernel[None])
    assert_close(mapped[0], expected)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about XLA's CPU backend")
def test_a_loop_holds_only_convolutions_that_cpu_runs_fast():
    """XLA's kernel gradient (batch and channels exchanged) takes 90 times longer in a loop."""
    images, kernel = random(0, 6, 16, 16, 8), random(1, 3, 3, 8, 8)
    text = program_text(steps, 3, kernel, images)
    labels = {
        line.split("dim_labels=")[1].split(",")[0]
        for line in text.splitlines()
        if " convolution(" in line
    }
    assert labels <= {"b01f_01io->b01f"}


@pytest.mark.parametrize("channels", [8, 32])
def test_under_shard_map_over_trials(channels):
    mesh = jax.make_mesh((2,), ("trial",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    images, kernel = random(0, 2, 6, 16, 16, channels), random(1, 2, 3, 3, channels, channels)

    def run(images, kernel):
        return lax.map(lambda a: value_and_gradients(convolution, *a), (images, kernel))

    trial = PartitionSpec("trial")
    sharded = jax.shard_map(run, mesh=mesh, in_specs=(trial, trial), out_specs=trial)
    for a, e in zip(jax.jit(sharded)(images, kernel), jax.jit(run)(images, kernel), strict=True):
        assert_close(a, e)


@pytest.mark.parametrize(
    ("how", "channels", "products"),
    [("lax", 8, 3), ("hybrid", 8, 3), ("patches", 8, 3), ("cpu", 128, 3 * 16)],
)
def test_precision_reaches_every_product(how, channels, products):
    """Of the value and of two gradients; "cpu" is Winograd's way here."""
    images, kernel = random(0, 2, 4, 4, channels), random(1, 3, 3, channels, channels)

    def run(images, kernel):
        return value_and_gradients(
            lambda x, k: convolution(x, k, lowering=how, precision="highest"), images, kernel
        )

    text = jax.jit(run).lower(images, kernel).as_text()
    assert text.count("HIGHEST") == 2 * products  # both operands


@pytest.mark.parametrize(
    ("shapes", "how", "message"),
    [
        (
            ((1, 4, 4, 3), (3, 3, 3, 2)),
            "fast",
            "auto, cpu, accelerator, lax, hybrid or patches, not 'fast'",
        ),
        (((1, 4, 4, 3), (3, 3, 4, 2)), "auto", r"do not fit: \(1, 4, 4, 3\), \(3, 3, 4, 2\)"),
        (((4, 4, 3), (3, 3, 3, 2)), "auto", "do not fit"),
        (((1, 4, 4, 3), (2, 3, 3, 2)), "auto", r"must be odd, not \(2, 3\)"),
    ],
)
def test_convolution_says_what_is_wrong(shapes, how, message):
    with pytest.raises(ValueError, match=message):
        convolution(*map(jnp.zeros, shapes), lowering=how)


def test_upsample_convolution_takes_only_3x3():
    with pytest.raises(ValueError, match=r"must be 3x3, not \(5, 5\)"):
        upsample_convolution(jnp.zeros((1, 4, 4, 3)), jnp.zeros((5, 5, 3, 2)))


@pytest.mark.parametrize("how", ["auto", "lax", *BY_HAND])
@pytest.mark.parametrize(
    "shape", [(6, 17, 13, 8, 16), (2, 1, 1, 5, 3), (3, 4, 2, 3, 1), (1, 3, 1, 1, 32)]
)
def test_upsample_convolution_equals_its_two_steps(how, shape):
    batch, height, width, channels, features = shape
    images, kernel = random(0, batch, height, width, channels), random(1, 3, 3, channels, features)
    actual = value_and_gradients_at_once(
        lambda x, k: upsample_convolution(x, k, lowering=how), images, kernel
    )
    expected = value_and_gradients_at_once(lambda x, k: with_lax(upsample_2x(x), k), images, kernel)
    for a, e in zip(actual, expected, strict=True):
        assert_close(a, e)


def test_upsample_convolution_in_bfloat16():
    images, kernel = random(0, 2, 5, 4, 8), random(1, 3, 3, 8, 8)
    narrow = images.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    expected = value_and_gradients_at_once(lambda x, k: with_lax(upsample_2x(x), k), images, kernel)
    for a, e in zip(
        value_and_gradients_at_once(upsample_convolution, *narrow), expected, strict=True
    ):
        assert_close(a, e, BFLOAT16)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_bias": False},
        {"kernel_size": (1, 1)},
        {"kernel_size": (5, 3)},
        {"kernel_size": (2, 2)},
        {"strides": 2},
        {"padding": "VALID"},
        {"padding": "CIRCULAR"},
        {"padding": 2},
        {"kernel_dilation": 2},
        {"input_dilation": 2, "padding": 1},
        {"feature_group_count": 2},
    ],
    ids=str,
)
def test_conv_is_flax_conv(options):
    options = {"kernel_size": (3, 3), **options}
    images = random(0, 2, 7, 6, 4)
    ours, theirs = Conv(6, **options), nn.Conv(6, **options)
    parameters = jax.jit(theirs.init)(jax.random.key(0), images)
    mine = jax.jit(ours.init)(jax.random.key(0), images)
    jax.tree.map(np.testing.assert_array_equal, mine, parameters)

    def with_gradients(model):
        def loss(parameters, images):
            value = model.apply(parameters, images)
            return jnp.sum(jnp.sin(value)), value

        return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(parameters, images)

    jax.tree.map(assert_close, with_gradients(ours), with_gradients(theirs))


def test_conv_takes_images_without_a_batch_axis_or_with_two():
    for shape in [(7, 6, 4), (2, 3, 7, 6, 4)]:
        images = random(0, *shape)
        parameters = Conv(5).init(jax.random.key(0), images)
        expected = nn.Conv(5, (3, 3)).apply(parameters, images)
        assert_close(Conv(5).apply(parameters, images), expected)


def test_equal_convs_compare_equal():
    """Modules are static arguments of jit: unequal ones would compile again."""
    assert Conv(3) == Conv(3)
    assert Conv(3) != Conv(3, lowering="patches")


@pytest.mark.parametrize(
    "options", [{}, {"kernel_size": (5, 5)}, {"lowering": "lax"}, {"strides": 2}]
)
def test_conv_upsamples_first(options):
    images = random(0, 2, 4, 3, 5)
    after = Conv(6, **options)
    parameters = after.init(jax.random.key(0), upsample_2x(images))
    fused = Conv(6, upsample=True, **options)
    jax.tree.map(np.testing.assert_array_equal, fused.init(jax.random.key(0), images), parameters)
    assert_close(fused.apply(parameters, images), after.apply(parameters, upsample_2x(images)))


def windows(x):
    """[B,H,W,C] -> [B,P,Q,4,C] with NaN beyond the edge."""
    x = np.pad(
        x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)), constant_values=np.nan
    )
    return np.stack([x[:, a::2, b::2] for a in (0, 1) for b in (0, 1)], axis=3)


@pytest.mark.parametrize("height", [1, 2, 5, 8])
@pytest.mark.parametrize("width", [1, 3, 4])
def test_pools_cover_what_is_there(height, width):
    x = np.asarray(random(0, 2, height, width, 3))
    assert_close(max_pool_2x2(jnp.asarray(x)), np.nanmax(windows(x), axis=3), 0)
    assert_close(average_pool_2x2(jnp.asarray(x)), np.nanmean(windows(x), axis=3), 1e-6)


@pytest.mark.parametrize("pool", [max_pool_2x2, average_pool_2x2])
@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (2, 5, 3, 3), (1, 1, 1, 1)])
def test_pool_gradients_keep_their_sum(pool, shape):
    x = jnp.round(random(0, *shape))  # rounded, so that entries tie
    y, pull_back = jax.vjp(pool, x)
    dy = random(1, *y.shape)
    (dx,) = pull_back(dy)
    sums = np.nansum(windows(np.asarray(dx)), axis=3)
    np.testing.assert_allclose(sums, dy, rtol=1e-5, atol=1e-6)


def test_max_pool_gradient_goes_to_the_maximum_and_ties_share_it():
    x = jnp.array([[1.0, 4.0, 2.0, 2.0], [3.0, 0.0, 2.0, 1.0]]).reshape(1, 2, 4, 1)
    dx = jax.grad(lambda x: (max_pool_2x2(x) * jnp.array([5.0, 6.0]).reshape(1, 1, 2, 1)).sum())(x)
    np.testing.assert_allclose(dx[0, :, :, 0], [[0, 5, 2, 2], [0, 0, 2, 0]], rtol=1e-6)


@pytest.mark.parametrize("function", [max_pool_2x2, average_pool_2x2, upsample_2x])
def test_pool_and_upsample_gradients_do_not_scatter(function):
    x = random(0, 2, 5, 6, 3)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(function(x) ** 2)))
    assert "scatter" not in gradient.lower(x).as_text()
    check_grads(function, (x,), order=1, modes=["rev"], atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("function", [max_pool_2x2, average_pool_2x2, upsample_2x])
def test_pools_and_upsampling_keep_bfloat16(function):
    assert function(random(0, 1, 3, 3, 2, dtype=jnp.bfloat16)).dtype == jnp.bfloat16


def test_upsampling_repeats_pixels():
    x = random(0, 2, 3, 4, 2)
    np.testing.assert_array_equal(upsample_2x(x), x.repeat(2, axis=1).repeat(2, axis=2))
