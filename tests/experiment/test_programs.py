"""The compiled programs: how trials are grouped and spread changes nothing but rounding, and each is traced once."""

import re
from operator import itemgetter

import jax
import numpy as np
import pytest
from tiny import config, write_stripes

from blurjax.config.trials import autoencoder_trials, classifier_trials
from blurjax.experiment import programs as module
from blurjax.experiment.calls import make_programs
from blurjax.experiment.preparation import prepare
from blurjax.experiment.rendering import training_feed
from blurjax.models import layers
from blurjax.runtime.errors import Interrupted
from blurjax.train import feed
from blurjax.views.functions import AXES, Autoencoders, ViewParameters

STEPS = 10


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_stripes(tmp_path_factory.mktemp("data") / "stripes.npz", num_examples=240)


def programs(source, **changes):
    return make_programs(*prepare(config(source, compute__chunk_steps=STEPS, **changes)))


def view_parameters(made, view, trials, autoencoders):
    stacked = jax.tree.map(lambda leaf: leaf[:, None], autoencoders)
    networks = Autoencoders(stacked, made.networks.autoencoder)
    return ViewParameters(made.view_index(view), trials.seed, trials.bottleneck, networks)


def autoencoders_of(made):
    return made.place(autoencoder_trials(made.config), made.config.autoencoder)


def classifiers_of(made):
    trials = classifier_trials(made.config, "reconstruction")
    return made.place(trials, made.config.classifier)


def after_ten_steps(made):
    """The states of autoencoders and of classifiers on their reconstructions."""
    trials = autoencoders_of(made)
    states = made.init_autoencoder(trials)
    order = made.autoencoder_order(states, 0)
    (chunk,) = list(made.feed.chunks(order))[:1]
    autoencoders, _ = made.train_autoencoder(states, None, chunk.data, chunk.positions, 0, STEPS)
    views = view_parameters(made, "reconstruction", trials, autoencoders.variables)
    states = made.init_classifier(classifiers_of(made))
    chunk = next(iter(training_feed(made, views).chunks(made.classifier_order(states, 0))))
    classifiers, _ = made.train_classifier(states, views, chunk.data, chunk.positions, 0, STEPS)
    return jax.device_get((autoencoders, classifiers))


@pytest.fixture(scope="module")
def reference(source):
    return after_ten_steps(programs(source))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"compute__trials_per_vmap": 2},
        {"compute__trials_per_vmap": 3, "compute__devices": 1},
        {"compute__mesh": "1x2"},
        {"compute__mesh": "1x2", "compute__trials_per_vmap": 2},
        {"compute__convolution": "patches"},
        {"compute__convolution": "lax", "compute__devices": 1},
        {"data__resident_limit": 2e-5},
    ],
    ids=[
        "side by side",
        "all side by side",
        "batches over devices",
        "batches over devices, side by side",
        "patches",
        "lax on one device",
        "views made of every batch",
    ],
)
def test_ten_steps_agree_whatever_the_grouping_devices_and_lowering(source, reference, changes):
    for one, other in zip(after_ten_steps(programs(source, **changes)), reference, strict=True):
        for trial in range(3):
            jax.tree.map(
                lambda a, b, trial=trial: np.testing.assert_allclose(
                    a[trial], b[trial], rtol=1e-3, atol=1e-5
                ),
                one.params,
                other.params,
            )


def test_each_trial_is_trained_on_its_images_in_the_view(source):
    made = programs(source)
    trials = autoencoders_of(made)
    variables = made.init_autoencoder(trials).variables
    images, train = made.dataset.images, made.dataset.splits["train"]
    np.testing.assert_array_equal(train, np.arange(len(train)))  # those of other splits come after
    for view in ("original", "reconstruction", "mixed"):
        views = view_parameters(made, view, trials, variables)
        order = made.autoencoder_order(made.init_autoencoder(trials), 0)
        (chunk, *_) = training_feed(made, views).chunks(order)
        found = np.asarray(chunk.data["image"])[:, : len(train)]
        for trial in range(3):
            own = [None if axis is None else trial for axis in AXES[:4]]
            parts = zip(views[:4], own, strict=True)
            one = ViewParameters(
                *(p if row is None else jax.tree.map(itemgetter(trial), p) for p, row in parts)
            )
            expected = made.apply_view(one, images[train], train)
            assert np.abs(found[trial].astype(int) - np.asarray(expected, int)).max() <= 1
        assert (found[0] != found[1]).any() == (view != "original")


def test_views_are_made_once_where_there_is_room_for_a_copy_for_each_trial_of_a_device(source):
    """Two trials on each of two devices; of 240 images, 173 are trained on, in batches of 16."""
    images = 240 + 2 * 176
    for count, renders, streamed in (
        (images, True, False),
        (images - 1, False, False),
        (239, False, True),
    ):
        made = programs(source, data__resident_limit=count * 8 * 8 / 2**30)
        assert (made.rendering is not None, made.streamed) == (renders, streamed)


def test_images_put_into_a_view_in_one_call_are_bounded(source, monkeypatch):
    fitted, dataset = prepare(config(source, compute__chunk_steps=100_000))
    made = make_programs(fitted, dataset)
    assert made.rendering.capacity == 11  # as many as there are
    monkeypatch.setattr(feed, "STREAM_BYTES", 3 * 2 * 16 * 64)  # 3 batches of two trials
    assert made.rendering.capacity == 3


def test_views_have_the_same_bits_whatever_devices_share_a_batch(source):
    found = []
    for mesh in ("2x1", "1x2", "1x1"):
        made = programs(source, compute__mesh=mesh)
        trials = autoencoders_of(made)
        views = view_parameters(
            made, "reconstruction", trials, made.init_autoencoder(trials).variables
        )
        order = made.autoencoder_order(made.init_autoencoder(trials), 0)
        (chunk, *_) = training_feed(made, views).chunks(order)
        found.append(np.asarray(chunk.data["image"])[:3, :173])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_a_stop_is_heeded_while_views_are_made(source):
    made = programs(source)
    trials = autoencoders_of(made)
    views = view_parameters(made, "mixed", trials, made.init_autoencoder(trials).variables)
    with pytest.raises(Interrupted):
        training_feed(made, views, interrupted=lambda: True)


@pytest.mark.slow
def test_devices_that_share_batches_change_no_bit(source):
    changes = {
        "sweep__num_seeds": 1,
        "compute__microbatches": 4,
        "classifier__batch_size": 128,
        "classifier__model": {"name": "resnet", "width": 4},
    }
    changes |= {"classifier__flip": "alternating", "classifier__shift": 1, "classifier__cutout": 2}
    changes |= {
        "autoencoder__flip": True,
        "autoencoder__denoising": 0.1,
        "autoencoder__variational": 0.01,
    }
    alone = after_ten_steps(programs(source, compute__mesh="1x1", **changes))
    shared = after_ten_steps(programs(source, compute__mesh="1x2", **changes))
    jax.tree.map(np.testing.assert_array_equal, shared, alone)


@pytest.mark.slow
def test_a_trial_has_the_same_bits_alone_by_winograds_algorithm_too(source, monkeypatch):
    """Which networks as small as these do not use otherwise."""
    ways, resolved = [], layers._resolved
    monkeypatch.setattr(layers, "FEWEST_WINOGRAD_CHANNELS", 1)
    monkeypatch.setattr(layers, "FEWEST_WINOGRAD_PRODUCTS", 1)
    monkeypatch.setattr(layers, "_resolved", lambda *of: ways.append(resolved(*of)) or ways[-1])
    changes = {"classifier__model": {"name": "resnet", "width": 4}, "compute__mesh": "1x1"}
    alone = after_ten_steps(programs(source, sweep__num_seeds=1, **changes))
    several = after_ten_steps(programs(source, **changes | {"compute__mesh": "2x1"}))
    assert ways.count("winograd") > len(ways) / 2
    for one, other in zip(alone, several, strict=True):
        jax.tree.map(
            lambda a, b: np.testing.assert_array_equal(a[0], b[0]), one.params, other.params
        )


@pytest.mark.parametrize(
    ("seeds", "width", "batch_size", "deterministic", "expected"),
    [
        (1, 256, 16, False, {"trial": 1, "data": 2}),  # 1 MiB of activations, in one piece
        (1, 256, 16, True, {"trial": 1}),
        (1, 1024, 32, True, {"trial": 1, "data": 2}),  # in two pieces
        (1, 4, 16, False, {"trial": 1}),  # too small to share
        (1, 256, 15, False, {"trial": 1}),  # not even
        (2, 256, 16, False, {"trial": 2}),
        (1, 1024, 48, True, {"trial": 1}),  # in three pieces
        (
            3,
            256,
            16,
            False,
            {"trial": 1, "data": 2},
        ),  # a core each for two, and one would idle for the third
        (3, 4, 16, False, {"trial": 2}),
        (4, 256, 16, False, {"trial": 2}),
    ],
)
def test_devices_that_would_idle_share_batches(
    source, seeds, width, batch_size, deterministic, expected
):
    changes = {"sweep__num_seeds": seeds, "compute__deterministic": deterministic}
    for section in ("autoencoder", "classifier"):
        changes |= {f"{section}__batch_size": batch_size, f"{section}__model__width": width}
    assert dict(programs(source, **changes).layout.mesh.shape) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"classifier__model__width": 256}, {"trial": 1, "data": 2}),
        ({"classifier__model": "linear"}, {"trial": 1}),
        ({"classifier__model__width": 256, "compute__deterministic": True}, {"trial": 1}),
    ],
)
def test_models_that_do_not_say_how_large_they_are_leave_it_to_the_others(
    source, changes, expected
):
    made = programs(source, sweep__num_seeds=1, autoencoder__model="linear", **changes)
    assert dict(made.layout.mesh.shape) == expected


@pytest.mark.parametrize(
    ("batch_size", "expected"), [(32, {"trial": 1}), (64, {"trial": 1, "data": 2})]
)
def test_devices_share_batches_of_which_each_has_what_is_normalised_together(
    source, batch_size, expected
):
    changes = {"classifier__model": {"name": "resnet", "width": 256}}
    for section in ("autoencoder", "classifier"):
        changes |= {f"{section}__batch_size": batch_size}
    made = programs(source, sweep__num_seeds=1, autoencoder__model__width=256, **changes)
    assert dict(made.layout.mesh.shape) == expected


@pytest.mark.parametrize("asked_for", ["auto", 8])
def test_micro_batches_hold_what_is_normalised_together(source, asked_for):
    """However little the cache holds: 1 MiB of activations for each image."""
    model = {"name": "resnet", "width": 4096}
    changes = {"classifier__batch_size": 64, "compute__microbatches": asked_for}
    networks = programs(source, classifier__model=model, **changes).networks
    assert networks._how(networks.config.classifier, networks.classifier)["microbatches"] == 2


def compiled(made):
    """The two training programs, as text."""
    trials = autoencoders_of(made)
    autoencoders = made.init_autoencoder(trials)
    classifiers = made.init_classifier(trials)
    views = view_parameters(made, "reconstruction", trials, autoencoders.variables)
    chunk = next(iter(made.feed.chunks(made.autoencoder_order(autoencoders, 0))))
    batches = chunk.positions, 0, STEPS
    yield made.train_autoencoder.lower(autoencoders, None, chunk.data, *batches).compile().as_text()
    chunk = next(iter(training_feed(made, views).chunks(chunk.positions)))
    yield made.train_classifier.lower(classifiers, views, chunk.data, *batches).compile().as_text()


COLLECTIVE = re.compile(
    "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast"
)


def test_trials_on_different_devices_do_not_communicate(source):
    made = programs(source)
    assert made.layout.mesh.size == 2
    for text in compiled(made):
        assert not COLLECTIVE.search(text)


def test_devices_that_share_batches_do(source):
    for text in compiled(programs(source, compute__mesh="1x2")):
        assert COLLECTIVE.search(text)


def test_seeds_differ_and_padding_repeats_the_last(reference):
    for states in reference:
        for leaf in jax.tree.leaves(states.params):
            assert (leaf[0] != leaf[1]).any()
            np.testing.assert_array_equal(leaf[2], leaf[3])


def test_auto_runs_trials_one_after_another_on_cpu(source):
    made = programs(source)
    assert made.layout.trials_per_vmap == 1
    assert made.layout.padded(3) == 4


def test_one_program_serves_all_views_and_all_lengths(source, reference):
    del reference
    made = programs(source)
    trials = classifiers_of(made)
    autoencoders = made.init_autoencoder(trials).variables
    states = made.init_classifier(trials)
    order = made.classifier_order(states, 0)
    for view in ("original", "reconstruction", "mixed"):
        views = view_parameters(made, view, trials, autoencoders)
        for chunk in training_feed(made, views).chunks(order):
            states, _ = made.train_classifier(
                states, views, chunk.data, chunk.positions, chunk.start, chunk.length
            )
    assert order.shape[1] % STEPS != 0
    assert made.train_classifier._cache_size() == 1  # pyright: ignore


def test_logits_are_left_out_where_they_would_be_too_many(source, monkeypatch):
    made = programs(source)
    trials = classifiers_of(made)
    variables = made.init_classifier(trials).variables
    views = view_parameters(made, "original", trials, made.init_autoencoder(trials).variables)
    chunk = next(iter(made.feed.chunks(np.zeros((1, 16), np.int32))))
    arguments = (variables, views, chunk.data, chunk.positions, 0, 1)
    assert "logits" in jax.eval_shape(made.evaluate_classifier, *arguments)
    monkeypatch.setattr(module, "LOGITS_LIMIT", 1)
    assert "logits" not in jax.eval_shape(programs(source).evaluate_classifier, *arguments)
