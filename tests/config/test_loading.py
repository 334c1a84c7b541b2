"""Settings: one sentence for every mistake, and what is written is what was read."""

from pathlib import Path

import pytest

from blurjax.config import loading as config
from blurjax.runtime.errors import UserError


def message(**overrides):
    with pytest.raises(UserError) as caught:
        config.load(None, {key.replace("__", "."): value for key, value in overrides.items()})
    return str(caught.value)


def test_every_preset_loads_and_says_what_it_is_for():
    for name, path in config.presets().items():
        config.load(name)
        header = path.read_text().split("\n\n")[0]
        assert header.startswith("#"), name
        assert f"blurjax run {name}" in header


def test_presets_are_the_four_named():
    assert set(config.presets()) == {"digits", "scenes", "cifar10", "fashion_mnist"}


def test_overrides_win_over_the_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("sweep: {num_seeds: 3}\nclassifier: {epochs: 7}\n")
    loaded = config.load(path, {"classifier.epochs": "9"})
    assert (loaded.sweep.num_seeds, loaded.classifier.epochs) == (3, 9)


def test_text_is_parsed_by_the_type_of_the_field():
    loaded = config.load(
        None,
        {
            "classifier.learning_rate": "1e-4",
            "classifier.flip": "true",
            "data.image_size": "none",
            "views.train": ["original"],
            "compute.trials_per_vmap": "4",
        },
    )
    assert loaded.classifier.learning_rate == 1e-4
    assert loaded.classifier.flip == "random"  # true and false are its older values
    assert loaded.data.image_size is None
    assert loaded.views.train == ("original",)
    assert loaded.compute.trials_per_vmap == 4


def test_yaml_reads_back_equal(tmp_path):
    loaded = config.load("digits", {"sweep.bottleneck": [4, 8], "data.data_dir": "/somewhere"})
    (tmp_path / "config.yaml").write_text(config.to_yaml(loaded))
    assert config.load(tmp_path / "config.yaml") == loaded


def test_unknown_key_names_the_nearest():
    assert message(classifier__epoch=3) == (
        "There is no setting classifier.epoch; did you mean classifier.epochs?"
    )


def test_unknown_key_in_a_file_names_the_nearest(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("sweep: {num_seed: 3}\n")
    with pytest.raises(UserError, match=r"no setting sweep.num_seed; did you mean sweep.num_seeds"):
        config.load(path)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("classifier.epochs", "many", "classifier.epochs cannot be 'many'"),
        ("classifier.epochs", 0, "classifier.epochs cannot be 0"),
        ("data.image_size", 4, "data.image_size cannot be 4"),
        ("data.validation_fraction", 1.5, "data.validation_fraction cannot be 1.5"),
        ("classifier.flip", "always", "classifier.flip cannot be 'always': input should be 'none'"),
        ("classifier.optimizer", "adam", "classifier.optimizer cannot be 'adam'"),
        ("views.train", ["orginal"], "views.train cannot be 'orginal'"),
        ("views.test", [], "views.test must name at least one"),
        ("sweep.bottleneck", [8, 8], "sweep.bottleneck names a value twice"),
        ("compute.trials_per_vmap", 0, "compute.trials_per_vmap cannot be 0"),
        ("compute.mesh", "4", "compute.mesh cannot be '4'"),
    ],
)
def test_wrong_values_are_refused_in_one_sentence(key, value, says):
    with pytest.raises(UserError) as caught:
        config.load(None, {key: value})
    text = str(caught.value)
    assert text.startswith(says)
    assert "\n" not in text


def test_a_bottleneck_wider_than_the_code_is_refused():
    text = message(autoencoder__bottleneck=32, autoencoder__max_bottleneck=16)
    assert text.startswith("autoencoder.max_bottleneck is 16, less than the bottleneck 32")


def test_images_that_trials_see_more_often_are_not_mirrored_in_turn():
    config.load(None, {"sweep.train_examples": ["all"], "classifier.flip": "alternating"})
    few = {"sweep.train_examples": [20], "classifier.flip": "alternating"}
    with pytest.raises(UserError, match=r"classifier\.flip cannot be alternating .* use random\.$"):
        config.load(None, few)
    assert config.load(None, few | {"classifier.flip": "random"}).classifier.flip == "random"


def test_missing_preset_and_file_are_named():
    with pytest.raises(UserError, match="no preset digit; choose one of"):
        config.load("digit")
    with pytest.raises(UserError, match=r"settings file nowhere.yaml does not exist"):
        config.load("nowhere.yaml")
    with pytest.raises(UserError, match="no preset xxx"):
        config.load("x" * 300)  # more than a file's name can have


def test_a_file_that_is_no_yaml_is_refused(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("a: [1")
    with pytest.raises(UserError, match="cannot be read"):
        config.load(path)
    path.write_text("data: {source: 2020-13-45}")
    with pytest.raises(UserError, match="cannot be read: month must be in"):
        config.load(path)
    path.write_text("data: {1: 2}")
    with pytest.raises(UserError, match=r"There is no setting data\.1; "):
        config.load(path)
    path.write_text("just text")
    with pytest.raises(UserError, match="must hold sections"):
        config.load(path)


def test_sections_without_settings_are_empty(tmp_path):
    path = tmp_path / "commented.yaml"
    path.write_text("data:\n#  source: digits\nclassifier:\n  epochs: 3\nviews:\n")
    assert config.load(path) == config.load(None, {"classifier.epochs": 3})


def test_yaml_tags_run_no_code(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text("data: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(UserError, match="cannot be read"):
        config.load(path)


@pytest.mark.parametrize(
    ("shape", "bottleneck"),
    [((8, 8, 1), 8), ((28, 28, 1), 32), ((32, 32, 3), 64), ((64, 64, 3), 128)],
)
def test_the_code_is_fitted_to_the_image_size(shape, bottleneck):
    fitted = config.fit_to_data(config.load(), shape=shape, train_examples=5000)
    assert fitted.autoencoder.bottleneck == bottleneck
    assert fitted.autoencoder.max_bottleneck == bottleneck
    assert (fitted.data.image_size, fitted.data.channels) == (shape[0], shape[2])


@pytest.mark.parametrize(
    ("images", "bottleneck"), [(6, 4), (29, 4), (42, 8), (300, 64), (511, 64), (512, 128)]
)
def test_few_images_have_a_smaller_code(images, bottleneck):
    fitted = config.fit_to_data(config.load(), shape=(64, 64, 3), train_examples=images)
    assert fitted.bottlenecks == (bottleneck,)


@pytest.mark.parametrize(
    ("images", "batch_size", "autoencoder_epochs", "classifier_epochs"),
    [
        (6, 8, 30, 30),
        (42, 8, 30, 30),
        (300, 32, 30, 30),
        (511, 32, 30, 30),
        (512, 64, 60, 60),
        (5000, 64, 32, 19),
        (50000, 64, 5, 5),
    ],
)
def test_few_images_have_smaller_batches_and_fewer_epochs(
    images, batch_size, autoencoder_epochs, classifier_epochs
):
    fitted = config.fit_to_data(config.load(), shape=(32, 32, 3), train_examples=images)
    assert fitted.autoencoder.batch_size == fitted.classifier.batch_size == batch_size
    assert fitted.autoencoder.epochs == autoencoder_epochs
    assert fitted.classifier.epochs == classifier_epochs


def test_the_code_is_fitted_to_its_limit():
    given = config.load(None, {"autoencoder.max_bottleneck": 16})
    fitted = config.fit_to_data(given, shape=(32, 32, 3), train_examples=5000)
    assert (fitted.autoencoder.bottleneck, fitted.autoencoder.max_bottleneck) == (16, 16)


def test_what_was_set_is_not_fitted():
    given = config.load(None, {"sweep.bottleneck": [4, 16], "classifier.epochs": 3})
    fitted = config.fit_to_data(given, shape=(32, 32, 3), train_examples=640)
    assert fitted.classifier.epochs == 3
    assert fitted.autoencoder.max_bottleneck == 16
    assert fitted.autoencoder.bottleneck is None
    assert fitted.autoencoder.epochs == 60  # 2,500 steps of ten an epoch would be 250 epochs


def test_duplicate_keys_are_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("sweep:\n  num_seeds: 3\n  bottleneck: [4]\n  num_seeds: 5\n")
    with pytest.raises(UserError, match="num_seeds stands there twice, again in line 4"):
        config.load(path)


def test_sections_may_be_merged_as_in_yaml(tmp_path):
    path = tmp_path / "merged.yaml"
    path.write_text(
        "autoencoder: &both {epochs: 3, batch_size: 8}\n"
        "classifier: &own {<<: *both, epochs: 5}\n"
        "sweep: {num_seeds: 3}\n"
    )
    loaded = config.load(path)
    assert (loaded.autoencoder.epochs, loaded.classifier.epochs) == (3, 5)
    assert loaded.autoencoder.batch_size == loaded.classifier.batch_size == 8


def test_a_key_that_is_no_name_is_refused_with_its_place(tmp_path):
    path = tmp_path / "template.yaml"
    path.write_text("data:\n  source: {{ src }}\n")
    with pytest.raises(UserError, match=r"cannot be read: .* unhashable key .*line 2, column 12"):
        config.load(path)


def test_one_value_is_a_list_of_one(tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text("sweep: {bottleneck: 8, train_examples: all}\nviews: {train: original}\n")
    loaded = config.load(path, {"views.test": "blur"})
    assert loaded.sweep.bottleneck == (8,)
    assert loaded.views.train == ("original",)
    assert loaded.views.test == ("blur",)
    assert loaded == config.load(
        None,
        {
            "sweep.bottleneck": [8],
            "sweep.train_examples": ["all"],
            "views.train": ["original"],
            "views.test": ["blur"],
        },
    )


def test_excluded_views_are_left_out_of_both_lists():
    loaded = config.load(None, {"views.exclude": "pca", "views.controls": True})
    default = config.load(None, {"views.controls": True})
    for name in ("train_views", "test_views"):
        views = getattr(default, name)
        assert "pca" in views
        assert getattr(loaded, name) == tuple(view for view in views if view != "pca")
    assert "views.exclude" in message(views__train="original", views__exclude="original")
    assert "pcaa" in message(views__exclude="pcaa")


@pytest.mark.parametrize("name", config.MEANT)
def test_other_names_of_settings_are_known(name):
    meant = config.MEANT[name]
    assert meant in dict(config.fields())
    assert message(**{name: 3}) == f"There is no setting {name}; did you mean {meant}?"


def test_commented_yaml_reads_back_equal(tmp_path):
    overrides = {
        "sweep.bottleneck": [4, 8],
        "data.data_dir": "/a: dir # of mine",
        "classifier.model": "mlp",
        "views.exclude": ["pca"],
    }
    loaded = config.load("digits", overrides)
    text = config.to_commented_yaml(loaded)
    (tmp_path / "mine.yaml").write_text(text)
    assert config.load(tmp_path / "mine.yaml") == loaded
    lines = text.splitlines()
    assert lines[lines.index("  num_seeds: 8") - 1] == "  # independent trials of each point"


def test_relative_paths_in_a_file_are_relative_to_the_file(tmp_path, monkeypatch):
    folder = tmp_path / "settings"
    folder.mkdir()
    path = folder / "mine.yaml"
    path.write_text("data: {source: 'folder:photos', data_dir: tfds, cache_dir: none}\n")
    monkeypatch.chdir(tmp_path)
    loaded = config.load("settings/mine.yaml").data
    assert (loaded.source, loaded.data_dir) == ("folder:settings/photos", Path("settings/tfds"))
    assert loaded.cache_dir is None
    typed = config.load(path, {"data.source": "npz:a.npz", "data.data_dir": "here"}).data
    assert (typed.source, typed.data_dir) == ("npz:a.npz", Path("here"))


@pytest.mark.parametrize(
    "source", ["digits", "tfds:mnist", "folder:/photos", "folder:~/photos", "npz:~x/a.npz"]
)
def test_other_sources_stay_as_they_are(source, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"data: {{source: '{source}'}}\n")
    assert config.load(path).data.source == source


@pytest.mark.parametrize("value", ["3", 3])
def test_channels_may_be_text_as_on_the_command_line(value):
    assert config.load(None, {"data.channels": value}).data.channels == 3
