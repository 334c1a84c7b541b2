"""Extending settings adds to their lists and takes nothing away."""

import re

import pytest

from blurjax.config.extending import extended
from blurjax.config.loading import fit_to_data, load
from blurjax.runtime import UserError


def fitted(**settings):
    named = {key.replace("__", "."): value for key, value in settings.items()}
    return fit_to_data(load(None, named), shape=(8, 8, 1), train_examples=1000)


def test_a_single_value_becomes_the_first_of_a_list():
    more = extended(fitted(), {"sweep.bottleneck": ["4", "8"], "sweep.num_seeds": "12"})
    assert more.bottlenecks == (8, 4)
    assert len(more.seeds) == 12
    more = extended(fitted(), {"sweep.train_examples": "100", "sweep.learning_rate": [0.01]})
    assert more.label_counts == (None, 100)
    assert more.learning_rates == (fitted().classifier.learning_rate, 0.01)


def test_lists_grow():
    held = fitted(sweep__bottleneck=[8, 4], views__train=["original", "blur"])
    more = extended(held, {"sweep.bottleneck": [2, 4], "views.train": ["pca", "blur"]})
    assert more.bottlenecks == (8, 4, 2)
    assert more.train_views == ("original", "blur", "pca")
    assert more.test_views == held.test_views


def test_a_view_that_was_left_out_can_be_added():
    held = fitted(views__exclude=["pca", "blur"])
    more = extended(held, {"views.train": ["pca"]})
    assert {*more.train_views} - {*held.train_views} == {"pca"}
    assert {*more.test_views} - {*held.test_views} == {"pca"}


def test_nothing_named_is_nothing_changed():
    held = fitted(sweep__bottleneck=[8, 4], views__exclude=["pca"])
    assert extended(held, {}) == held


@pytest.mark.parametrize("bottleneck", ["sweep.bottleneck", "autoencoder.bottleneck"])
def test_a_code_wider_than_the_networks_is_another_experiment(bottleneck):
    message = "built for codes of at most 8 floats, and those for 16 would begin from other weights"
    with pytest.raises(UserError, match=re.escape(message)):
        extended(fitted(), {bottleneck: 16})
    wide = fitted(autoencoder__max_bottleneck=16, autoencoder__bottleneck=8)
    assert extended(wide, {"sweep.bottleneck": 16}).bottlenecks == (8, 16)
