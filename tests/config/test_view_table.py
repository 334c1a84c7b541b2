"""The table of views: every set of names follows from its rows."""

import pytest

from blurjax.config import loading
from blurjax.config.view_table import VIEWS, ViewSpec, in_order, named, register_view
from blurjax.runtime.errors import UserError


def test_names_are_chosen_by_what_their_rows_say():
    assert named(check=True) == ("identity", "reseeded", "shuffled")
    assert named(compared=True) == ("blur", "pca", "downsample", "spectrum", "jpeg", "webp")
    assert named(control=True) == ("spectrum", "identity", "reseeded", "shuffled")
    assert named(compared=True, needs_autoencoder=False) == ("pca", "downsample")
    assert named(needs_folds=True, testable=True) == ("crossfit",)
    assert named(main=True) == ("original", "reconstruction", "crossfit", "mixed")
    assert named() == tuple(VIEWS)
    assert named(colour="no such colour") == ()


def test_names_are_sorted_as_the_table_lists_them():
    assert in_order({"pca", "shuffled", "original", "blur"}) == [
        "original",
        "blur",
        "pca",
        "shuffled",
    ]
    assert in_order(list(VIEWS)[::-1]) == list(VIEWS)


def test_classifiers_of_a_view_that_cannot_be_tested_on_are_tested_on_another():
    own = {name: spec.own_test_view for name, spec in VIEWS.items()}
    others = {
        "infold": "crossfit",
        "mixed": "reconstruction",
        **dict.fromkeys(("identity", "reseeded", "shuffled"), "original"),
        **dict.fromkeys(("encoder", "encoder_frozen", "encoder_scratch"), "original"),
    }
    assert own == {name: name for name in VIEWS} | others
    assert set(others) == {*named(testable=False)}
    assert {VIEWS[name].testable for name in own.values()} == {True}


def test_every_row_explains_its_view_in_a_sentence_under_its_own_name():
    for name, spec in VIEWS.items():
        assert spec.name == name
        assert spec.explanation[0].isupper()
        assert spec.explanation.endswith(".")


def test_views_that_show_what_autoencoders_make_depend_on_the_code():
    for name in {*named(needs_autoencoder=True), *named(needs_folds=True)}:
        assert VIEWS[name].needs_code, name


def test_a_registered_view_can_be_named_in_settings(registries):
    asked_for = {"views.train": ["original", "negative"], "views.test": ["negative"]}
    with pytest.raises(UserError, match="there is no view of that name"):
        loading.load(None, asked_for)
    register_view(ViewSpec("negative", lambda parameters, images, indices: 1 - images, "Inverted."))
    loaded = loading.load(None, asked_for)
    assert loaded.train_views == ("original", "negative")
    assert loaded.test_views == ("negative",)
    assert list(VIEWS)[-1] == "negative"
    with pytest.raises(
        UserError, match=r"cannot be 'negativ': .* did you mean negative, or .* \(--import\)\?"
    ):
        loading.load(None, {"views.train": ["negativ"]})


def test_a_registered_view_that_is_not_testable_is_refused_as_a_test_view(registries):
    spec = ViewSpec("half", "blurjax.views.functions:original", "Half.", testable=False)
    register_view(spec)
    with pytest.raises(UserError, match="cannot be 'half': classifiers are tested on one of orig"):
        loading.load(None, {"views.test": ["half"]})
