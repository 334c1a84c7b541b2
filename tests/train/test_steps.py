"""How a batch is gone through changes nothing but rounding and memory."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blurjax.models.autoencoder import Autoencoder
from blurjax.models.classifier import Classifier

from blurjax.engine.memory import live_bytes
from blurjax.models import forward
from blurjax.train import losses
from blurjax.train.steps import mean_gradient

IMAGES = jax.random.uniform(jax.random.key(0), (12, 16, 16, 3))
MASK = jnp.arange(12) < 10
MODELS = {
    "autoencoder": (partial(Autoencoder, (16, 16, 3), max_bottleneck=8, width=8), (jnp.int32(5),)),
    "classifier": (partial(Classifier, num_classes=3, width=8, dense=16), ()),
}


def losses_of(params, images, model, more):
    output = forward(model, params, images, *more)
    if output.ndim == 4:
        return losses.squared_error(output, images)
    return losses.cross_entropy(output, jnp.arange(len(images)) % 3 * 0)


def gradient_of(name, microbatches=1, rematerialize=False):
    make, more = MODELS[name]
    model = make(**({"rematerialize": True} if rematerialize else {}))
    params = model.init(jax.random.key(1), IMAGES, *more)["params"]
    losses = partial(losses_of, model=model, more=more)
    of_mean = partial(mean_gradient, losses, microbatches=microbatches)
    return of_mean, (params, IMAGES, MASK)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "how",
    [
        {"microbatches": 3},
        {"microbatches": 12},
    ],
    ids=str,
)
def test_microbatches_change_nothing_but_rounding(name, how):
    assert_equal_gradients(name, how)


@pytest.mark.parametrize("microbatches", [1, 4])
def test_rematerialization_changes_nothing_but_rounding(microbatches):
    assert_equal_gradients("autoencoder", {"microbatches": microbatches, "rematerialize": True})


def assert_equal_gradients(name, how):
    plain, arguments = gradient_of(name)
    other, _ = gradient_of(name, **how)
    for one, two in zip(
        jax.tree.leaves(jax.jit(plain)(*arguments)),
        jax.tree.leaves(jax.jit(other)(*arguments)),
        strict=True,
    ):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-6)


def test_the_mean_is_over_the_examples_that_count():
    in_pieces, (params, images, mask) = gradient_of("classifier", microbatches=4)
    at_once, _ = gradient_of("classifier")
    masked = in_pieces(params, images.at[10:].set(0.5), mask)
    fewer = at_once(params, images[:10], jnp.ones(10, bool))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), masked, fewer)


def test_both_take_less_memory():
    def needed(**how):
        function, arguments = gradient_of("autoencoder", **how)
        return live_bytes(function, *arguments)

    assert needed(microbatches=4) < 0.6 * needed()
    assert needed(rematerialize=True) < 0.8 * needed()
