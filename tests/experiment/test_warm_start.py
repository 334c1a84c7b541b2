"""Classifiers that begin as the autoencoder's encoder: their weights, what stays frozen, resumed, alone, read back."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import NormalizedSettings, build_normalized
from networks import images as random_images
from same import assert_same_run, final_states
from tiny import config

from blurjax import export_view, load_run, run_experiment
from blurjax.config.loading import fit_to_data
from blurjax.config.trials import Trial
from blurjax.experiment.fingerprints import code_hashes
from blurjax.experiment.networks import Networks, TrainingData, hyperparameters_of
from blurjax.experiment.preparation import prepare
from blurjax.models import ModelConfig, apply, classifiers, register
from blurjax.models.autoencoders import in_use
from blurjax.runtime.errors import Interrupted, UserError
from blurjax.runtime.files import read_npz
from blurjax.views.functions import Autoencoders, ViewParameters

WARM = ("encoder", "encoder_frozen")
VIEWS = {
    "views__train": ["original", *WARM, "encoder_scratch"],
    "views__test": ["original", "reconstruction"],
    "sweep__bottleneck": [2, 4],
    "sweep__num_seeds": 2,
    "classifier__epochs": 2,
    "classifier__weight_decay": 0.1,
}
SHAPE = (8, 8, 1)


class NormalizedAutoencoder(nn.Module):
    """Dense layers with batch statistics and dropout on both sides of the code."""

    floats: int

    def setup(self):
        self.norm, self.dropout = nn.BatchNorm(momentum=0.9), nn.Dropout(0.5)
        self.to_code, self.to_image = nn.Dense(self.floats), nn.Dense(64)

    def encode(self, images, bottleneck, *, train=False):
        x = self.norm(images.reshape(len(images), -1), use_running_average=not train)
        return in_use(self.to_code(self.dropout(x, deterministic=not train)), bottleneck)

    def decode(self, code, *, train=False):
        return self.to_image(code).reshape(-1, *SHAPE)

    def __call__(self, images, bottleneck, *, train=False):
        return self.decode(self.encode(images, bottleneck, train=train), train=train)


class NormalizedAutoencoderSettings(ModelConfig):
    """Settings of NormalizedAutoencoder."""

    name: Literal["normalized"] = "normalized"


def build_normalized_autoencoder(settings, context):
    return NormalizedAutoencoder(context.max_bottleneck)


def networks(view, **changes):
    settings = config("digits", **{"autoencoder__bottleneck": 3} | changes)
    fitted = fit_to_data(settings, shape=SHAPE, train_examples=100)
    return Networks(fitted, TrainingData(SHAPE, (50, 50)), "cpu").for_view(view)


def begun(made):
    """The variables of an autoencoder, not quite as they are initialised, and a classifier that begins with them."""

    @jax.jit
    def begin(row):
        autoencoder = jax.tree.map(lambda x: x + 0.01, made.autoencoder_init(row).variables)
        stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf * 2]), autoencoder)
        return autoencoder, made.warm_start(made.classifier_init(row), stacked)

    return begin(hyperparameters_of(Trial(5, 2), made.config.classifier))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"autoencoder__model": {"name": "conv", "width": 4}},
        {"autoencoder__model": {"name": "residual", "width": 4}},
        {"autoencoder__model": "linear"},
        {"autoencoder__model": {"name": "mlp", "width": 8}},
        {"autoencoder__model": "linear", "autoencoder__variational": 0.001},
        {"autoencoder__model": "normalized"},
    ],
    ids=["conv", "residual", "linear", "mlp", "variational", "batch statistics"],
)
def test_before_training_the_code_is_the_trained_encoders(registries, changes):
    """Of any autoencoder; in the head, floats from the trial's bottleneck (2 of 3) on are zero."""
    register("autoencoder", NormalizedAutoencoderSettings, build_normalized_autoencoder)
    made, images = networks("encoder", **changes), random_images(SHAPE)
    autoencoder, state = begun(made)
    code, _ = apply(made.autoencoder, autoencoder, images, 2, method="encode")
    assert (code[:, :2] != 0).all()
    assert (code[:, 2] == 0).all()
    first, last = (jax.device_get(state.params[name]) for name in ("Dense_0", "Dense_1"))
    hidden = np.maximum(np.asarray(code) @ first["kernel"] + first["bias"], 0)
    expected = hidden @ last["kernel"] + last["bias"]
    logits, _ = apply(made.classifier, state.variables, images)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_a_step_moves_all_of_a_network_or_the_head_alone(registries, optimizer):
    """Also where weights decay and are averaged; a frozen encoder keeps its batch statistics, too."""
    register("autoencoder", NormalizedAutoencoderSettings, build_normalized_autoencoder)
    batch = {
        "image": random_images(SHAPE, count=4),
        "label": jnp.array([0, 1, 0, 1]),
        "index": jnp.arange(4),
        "mask": jnp.ones(4, bool),
    }
    for view in WARM:
        made = networks(
            view,
            autoencoder__model="normalized",
            classifier__optimizer=optimizer,
            classifier__weight_decay=0.1,
            classifier__average_decay=0.5,
            classifier__warmup_fraction=0,
        )
        _, state = begun(made)
        step = jax.jit(made.classifier_step(lambda parameters, images, indices: images))
        no_autoencoders = Autoencoders(jnp.zeros(1), made.autoencoder)
        after, _ = step(state, ViewParameters(0, 0, 0, no_autoencoders), batch)
        moved = jax.tree.map(lambda x, y: bool((x != y).any()), state.variables, after.variables)
        of_encoder = (moved["params"].pop("encoder"), moved["batch_stats"]["encoder"])
        assert {*jax.tree.leaves(of_encoder)} == {view == "encoder"}, view
        assert all(jax.tree.leaves(moved["params"])), view
        assert not moved["code"]["bottleneck"], view


@pytest.mark.parametrize("view", ["encoder", "original"])
def test_an_autoencoder_without_an_encoder_is_named(view, registries):
    register("autoencoder", NormalizedSettings, build_normalized)
    with pytest.raises(
        UserError, match=r"autoencoder\.model is normalized, which has no method `encode`; give it"
    ):
        networks(view, autoencoder__model="normalized", **VIEWS)


@pytest.fixture(scope="module")
def finished(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    return out, run_experiment(config(source, **VIEWS), out)


def test_what_is_frozen_ends_as_the_autoencoder_of_the_same_trial(finished):
    run = load_run(finished[0])
    for bottleneck in (2, 4):
        autoencoder = run.autoencoder(1, bottleneck).variables["params"]
        tuned, frozen, scratch = (
            run.classifier(view, 1, bottleneck=bottleneck).variables
            for view in (*WARM, "encoder_scratch")
        )
        for part, of_part in frozen["params"]["encoder"].items():
            for name, values in of_part.items():
                np.testing.assert_array_equal(values, autoencoder[part][name])
                for other in (tuned, scratch):
                    assert (values != other["params"]["encoder"][part][name]).any()
        assert frozen["params"]["encoder"].keys() < autoencoder.keys()  # no decoder
        assert {int(v["code"]["bottleneck"]) for v in (frozen, tuned, scratch)} == {bottleneck}


def test_comparisons_are_with_the_same_network_from_scratch(finished):
    for point in finished[1]["points"]:
        for view in WARM:
            term = point["comparisons"][f"gain_of_{view}"]
            ours, theirs = (
                np.array(point["accuracy"][v]["original"]["per_trial"])
                for v in (view, "encoder_scratch")
            )
            np.testing.assert_allclose(term["per_trial"], ours - theirs, atol=1e-12)
            assert term["definition"] == f"acc({view}→original) - acc(encoder_scratch→original)"
    assert "What the autoencoder’s weights give" in (finished[0] / "report.html").read_text()


def test_an_encoder_is_no_view_to_export(finished, tmp_path):
    with pytest.raises(UserError, match="encoder are another network, trained on originals; name"):
        export_view(finished[0], "encoder", tmp_path / "out.npz", bottleneck=2)


def test_a_saved_classifier_predicts_what_the_run_did(finished, source):
    out, _ = finished
    run, (_, dataset) = load_run(out), prepare(config(source, **VIEWS))
    recorded = read_npz(out / "predictions" / "encoder_frozen-on-original.npz")
    images = dataset.images[dataset.splits["test"]]
    for row, key in enumerate(recorded["trial"].tolist()):
        trial = Trial.from_key(key)
        model = run.classifier("encoder_frozen", trial.seed, bottleneck=trial.bottleneck)
        probabilities = model.predict(images)
        np.testing.assert_allclose(
            probabilities.max(axis=1), recorded["confidence"][row], atol=1e-5
        )


@pytest.mark.slow
def test_stopped_and_continued_equals_uninterrupted(finished, source, tmp_path):
    seen = []

    def progress(of_job):
        seen.append((of_job.job.name, of_job.epoch))

    def stop():
        return ("classifier/encoder_frozen/job-0", 1) in seen

    out, settings = tmp_path / "run", config(source, **VIEWS)
    with pytest.raises(Interrupted):
        run_experiment(settings, out, interrupted=stop, progress=progress)
    run_experiment(settings, out)
    assert_same_run(finished[0], out)


@pytest.mark.slow
def test_a_trial_of_a_sweep_equals_the_trial_alone(finished, source, tmp_path):
    own = {"sweep__first_seed": 1, "sweep__num_seeds": 1, "sweep__bottleneck": [2]}
    out = tmp_path / "run"
    run_experiment(config(source, **VIEWS | own, autoencoder__max_bottleneck=4), out)
    for view in (*WARM, "encoder_scratch"):
        job = f"checkpoints/classifier/{view}/job-0"
        among, alone = final_states(finished[0] / job), final_states(out / job)
        for name, values in alone.items():
            np.testing.assert_array_equal(values[0], among[name][1], err_msg=name)


def test_changed_code_of_such_networks_is_that_of_their_views(monkeypatch):
    made = networks("encoder", **VIEWS)
    before = code_hashes(made.config, made.data)
    monkeypatch.setattr(classifiers, "HEAD_UNITS", 64)
    after = code_hashes(made.config, made.data)
    changed = {part for part in before if before[part] != after[part]}
    assert changed == {f"view {view}" for view in (*WARM, "encoder_scratch")}
