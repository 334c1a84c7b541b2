"""Classifiers: every size and channel count works, and they learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import images, init, output

from blurjax.models.classifiers import CnnClassifier


@pytest.mark.parametrize(
    "size", [8, 9, 13, 28, 32, 64, 100, pytest.param(256, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_gives_a_logit_for_each_class(size, channels):
    model, batch = CnnClassifier(5, width=2, dense=4), images((size, size, channels), 2)
    logits = jax.jit(model.init_with_output)(jax.random.key(0), batch)[0]
    assert logits.shape == (2, 5)


def test_bfloat16_keeps_parameters_and_logits_in_float32():
    model, batch = CnnClassifier(3, 4, 8, jnp.bfloat16), images()
    params = init(model, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    logits = output(model, params, batch)
    assert logits.dtype == jnp.float32
    full = output(model.clone(dtype=jnp.float32), params, batch)
    np.testing.assert_allclose(logits, full, atol=0.05)


def test_the_classifier_fits_a_fixed_batch():
    model, batch = CnnClassifier(4, width=4, dense=16), images(count=16)
    labels = jnp.arange(16) % 4
    params, optimizer = init(model, batch), optax.adam(1e-2)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        loss, grads = jax.value_and_grad(
            lambda p: optax.softmax_cross_entropy_with_integer_labels(
                output(model, p, batch), labels
            ).mean()
        )(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, loss

    first = step(params, state)[2]
    for _ in range(200):
        params, state, loss = step(params, state)
    assert loss < 0.05 < first
