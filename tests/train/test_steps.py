"""How a batch is gone through changes nothing but rounding and memory, unless the model carries something."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import Normalized

from blurjax.engine import make_mesh, share_batches, sweep
from blurjax.engine.random import key
from blurjax.models import apply
from blurjax.models.autoencoders import ConvAutoencoder
from blurjax.models.classifiers import CnnClassifier
from blurjax.models.linear_code import ResidualAutoencoder
from blurjax.runtime import UserError
from blurjax.train import losses
from blurjax.train.augmentation import Augmentation
from blurjax.train.gradients import mean_gradient
from blurjax.train.steps import classifier_eval_step, classifier_train_step
from blurjax.views.functions import ViewParameters

IMAGES = jax.random.uniform(jax.random.key(0), (12, 16, 16, 3))
MASK = jnp.arange(12) < 10
KEY = jax.random.key(2)
MODELS = {
    "autoencoder": (
        partial(ConvAutoencoder, (16, 16, 3), max_bottleneck=8, width=8),
        (jnp.int32(5),),
    ),
    "residual autoencoder": (
        partial(ResidualAutoencoder, (16, 16, 3), max_bottleneck=8, width=8),
        (jnp.int32(5),),
    ),
    "spatial autoencoder": (
        partial(ConvAutoencoder, (16, 16, 3), max_bottleneck=32, width=8, code="spatial"),
        (jnp.int32(16),),
    ),
    "classifier": (partial(CnnClassifier, num_classes=3, width=8, dense=16), ()),
}


def losses_of(params, model_state, images, key, model, more):
    variables = {"params": params, **model_state}
    output, model_state = apply(model, variables, images, *more, train=True, key=key)
    if output.ndim == 4:
        return losses.squared_error(output, images), model_state
    return losses.cross_entropy(output, jnp.arange(len(images)) % 3 * 0), model_state


def gradient_of(name, microbatches=1, rematerialize=False):
    make, more = MODELS[name]
    model = make(**({"rematerialize": True} if rematerialize else {}))
    params = model.init(jax.random.key(1), IMAGES, *more)["params"]
    loss_fn = partial(losses_of, model=model, more=more)

    def of_mean(params, images, mask):
        return mean_gradient(loss_fn, params, {}, images, mask, KEY, microbatches=microbatches)

    return of_mean, (params, IMAGES, MASK)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["autoencoder", "residual autoencoder"])
@pytest.mark.parametrize("microbatches", [1, 4])
def test_rematerialization_changes_nothing_but_rounding(name, microbatches):
    assert_equal_gradients(name, {"microbatches": microbatches, "rematerialize": True})


def assert_equal_gradients(name, how):
    plain, arguments = gradient_of(name)
    other, _ = gradient_of(name, **how)
    for one, two in zip(
        jax.tree.leaves(jax.jit(plain)(*arguments)),
        jax.tree.leaves(jax.jit(other)(*arguments)),
        strict=True,
    ):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_the_mean_is_over_the_examples_that_count():
    in_pieces, (params, images, mask) = gradient_of("classifier", microbatches=4)
    at_once, _ = gradient_of("classifier")
    masked = in_pieces(params, images.at[10:].set(0.5), mask)
    fewer = at_once(params, images[:10], jnp.ones(10, bool))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), masked, fewer)


def test_both_take_less_memory():
    def needed(**how):
        function, arguments = gradient_of("autoencoder", **how)
        compiled = jax.jit(function).lower(*arguments).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert needed(microbatches=4) < 0.6 * needed()
    assert needed(rematerialize=True) < 0.97 * needed()  # XLA for CPUs makes little of it


# Models with batch statistics and dropout

NORMALIZED = Normalized()
FEW = IMAGES[:, :8, :8]
VARIABLES = NORMALIZED.init(jax.random.key(1), FEW)
PARAMS, STATE = VARIABLES["params"], {"batch_stats": VARIABLES["batch_stats"]}
normalized_losses = partial(losses_of, model=NORMALIZED, more=())


def assert_close(ours, theirs):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), ours, theirs)


@jax.jit
def in_two_pieces(params, state, images, key):
    mask = jnp.ones(len(images), bool)
    return mean_gradient(normalized_losses, params, state, images, mask, key, microbatches=2)


def test_every_microbatch_begins_with_the_same_state_and_has_a_key_of_its_own():
    loss, grads, state = in_two_pieces(PARAMS, STATE, FEW, KEY)

    def by_hand(params):
        total, states = 0.0, []
        for number, half in enumerate((FEW[:6], FEW[6:])):
            own_key = jax.random.fold_in(KEY, number)
            values, state = normalized_losses(params, STATE, half, own_key)
            total = total + values.sum() / 12
            states.append(state)
        return total, jax.tree.map(lambda a, b: (a + b) / 2, *states)

    (expected_loss, expected_state), expected_grads = jax.value_and_grad(by_hand, has_aux=True)(
        PARAMS
    )
    assert_close(state, expected_state)
    assert_close((loss, grads), (expected_loss, expected_grads))


@pytest.mark.parametrize(("microbatches", "together", "sizes"), [
    (1, 4, [12]), (2, 4, [4] * 3), (2, 6, [6] * 2), (12, 4, [4] * 3), (5, 3, [3] * 4), (8, 12, [12])
])  # fmt: skip
def test_examples_that_stay_together_are_never_cut(microbatches, together, sizes):
    seen = []

    def loss_fn(params, state, images, key):
        jax.debug.callback(lambda first: seen.append(len(images)), images[0, 0, 0, 0])
        return images.mean(axis=(1, 2, 3)) * params, state

    how = {"microbatches": microbatches, "together": together}
    mean_gradient(loss_fn, jnp.float32(1), {}, FEW, jnp.ones(12, bool), KEY, **how)
    jax.effects_barrier()
    assert seen == sizes


def test_what_is_not_a_float_in_the_state_is_as_after_the_first_piece():
    """Counts, bits of keys that would overflow if they were added, and flags."""
    state = {"steps": jnp.int32(6), "bits": jnp.uint32(2**32 - 6), "begun": jnp.array(False)}

    def loss_fn(params, state, images, key):
        del key
        changed = {
            "steps": state["steps"] + 1,
            "bits": state["bits"] + 1,
            "begun": ~state["begun"],
        }
        return images.mean(axis=(1, 2, 3)) * params, changed

    for microbatches in (1, 3):
        arguments = jnp.float32(1), state, FEW, jnp.ones(12, bool), KEY
        found = mean_gradient(loss_fn, *arguments, microbatches=microbatches)[2]
        values = {name: leaf.item() for name, leaf in found.items()}
        assert values == {"steps": 7, "bits": 2**32 - 5, "begun": True}
        assert jax.tree.map(jnp.dtype, found) == jax.tree.map(jnp.dtype, state)


def test_model_state_is_the_mean_of_those_of_the_devices_that_share_a_batch():
    def of_part(params, images):
        mask = jnp.ones(len(images), bool)
        return mean_gradient(normalized_losses, params, STATE, images, mask, KEY, microbatches=1)[2]

    mesh = make_mesh(1, jax.devices(), data_devices=2)
    stacked = jax.tree.map(lambda leaf: leaf[None], PARAMS)
    shared = sweep(share_batches(of_part, (None, 0), None), (0, None), mesh=mesh)(stacked, FEW)
    one, other = (
        normalized_losses(PARAMS, STATE, half, jax.random.fold_in(KEY, number))[1]
        for number, half in enumerate((FEW[:6], FEW[6:]))
    )
    assert_close(shared, jax.tree.map(lambda a, b: (a + b)[None] / 2, one, other))


def test_a_device_without_a_whole_part_of_a_batch_is_refused():
    def of_part(params, images):
        how = {"microbatches": 1, "together": 4}
        mask = jnp.ones(len(images), bool)
        return mean_gradient(normalized_losses, params, STATE, images, mask, KEY, **how)[0]

    mesh = make_mesh(1, jax.devices(), data_devices=2)
    stacked = jax.tree.map(lambda leaf: leaf[None], PARAMS)
    shared = sweep(share_batches(of_part, (None, 0), None), (0, None), mesh=mesh)
    with pytest.raises(UserError, match="a device has 6 images, and a model normalises 4 together"):
        shared(stacked, FEW)


def test_every_microbatch_draws_a_dropout_of_its_own():
    seen = []

    def loss_fn(params, state, images, key):
        jax.debug.callback(lambda bits: seen.append(bits.tobytes()), jax.random.key_data(key))
        return images.mean(axis=(1, 2, 3)) * params, state

    mean_gradient(loss_fn, jnp.float32(1), {}, FEW, jnp.ones(12, bool), KEY, microbatches=4)
    jax.effects_barrier()
    assert len(seen) == len(set(seen)) == 4


def test_a_step_draws_its_dropout_from_seed_and_step():
    drawn = []

    def update(state, loss, grads, model_state):
        drawn.append((float(loss), model_state))
        return state

    class State:
        params, model_state = PARAMS, STATE

        class hyperparameters:  # noqa: N801
            seed = jnp.uint32(7)

    step = partial(
        classifier_train_step,
        model=NORMALIZED,
        view=lambda parameters, images, indices: images,
        augmentation=Augmentation(),
        loss=losses.cross_entropy,
        update=update,
        microbatches=1,
    )
    batch = {
        "image": FEW,
        "label": jnp.arange(12) % 3,
        "index": jnp.arange(12),
        "mask": jnp.ones(12, bool),
    }
    state, parameters = State(), ViewParameters(None, None, None, None)  # pyright: ignore
    for position in (3, 3, 4):
        state.step = jnp.int32(position)
        step(state, parameters, batch)
    (first, own_state), (again, _), (later, _) = drawn
    assert first == again != later
    logits, expected = apply(
        NORMALIZED, VARIABLES, FEW, train=True, key=key(jnp.uint32(7), "dropout", 3)
    )
    assert first == pytest.approx(float(losses.cross_entropy(logits, batch["label"]).mean()))
    assert_close(own_state, expected)


def test_mirrored_evaluation_takes_the_mean_of_both_logits():
    batch = {"image": FEW, "label": jnp.arange(12) % 3, "index": jnp.arange(12)}

    def evaluate(images, mirror):
        return classifier_eval_step(
            VARIABLES,
            None,  # pyright: ignore[reportArgumentType]
            batch | {"image": images},  # pyright: ignore[reportArgumentType]
            model=NORMALIZED,
            view=lambda parameters, images, indices: images,
            keep_logits=True,
            mirror=mirror,
        )

    both, of_image, of_mirror = (
        evaluate(FEW, True),
        evaluate(FEW, False),
        evaluate(FEW[:, :, ::-1], False),
    )
    mean = (of_image["logits"] + of_mirror["logits"]) / 2
    np.testing.assert_allclose(both["logits"], mean, rtol=1e-6)
    assert (np.abs(of_image["logits"] - of_mirror["logits"]) > 1e-3).any()
    assert both["loss"] == pytest.approx(losses.cross_entropy(mean, batch["label"]))
    np.testing.assert_array_equal(both["prediction"], mean.argmax(axis=1))
