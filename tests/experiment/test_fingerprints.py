"""A directory is continued only with the settings and the code that it was made with."""

import json
import shutil
from dataclasses import replace

import flax.linen as nn
import jax
import pytest
from tiny import config

from blurjax import run_experiment
from blurjax.config.view_table import VIEWS
from blurjax.experiment import fingerprints
from blurjax.experiment.fingerprints import code_hashes
from blurjax.experiment.networks import TrainingData
from blurjax.experiment.preparation import prepare
from blurjax.models import autoencoders, classifiers
from blurjax.runtime import RunDirectory, UserError, read_json, write_json
from blurjax.runtime.errors import Interrupted
from blurjax.train import losses
from blurjax.views import eight_bit

FEW = {"views__train": ["original", "blur"], "views__test": ["original"], "sweep__num_seeds": 2}


@pytest.fixture(scope="module")
def finished_once(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    run_experiment(config(source, **FEW), out)
    return out


@pytest.fixture
def finished(finished_once, tmp_path):
    return shutil.copytree(finished_once, tmp_path / "run")


def stop_after_autoencoders(source, out, **changes):
    seen = []
    with pytest.raises(Interrupted):
        run_experiment(
            config(source, **FEW, **changes),
            out,
            progress=lambda progress: seen.append(progress.epoch),
            interrupted=lambda: len(seen) == 3,
        )


def hashes(source, **changes):
    fitted, dataset = prepare(config(source, **FEW | changes))
    return code_hashes(fitted, TrainingData.of(dataset))


def test_hashes_are_the_same_in_another_process_and_whatever_computes(source):
    first = hashes(source)
    assert first.keys() == {
        "autoencoder",
        "classifier",
        "view original",
        "view blur",
        "view reconstruction",
    }
    assert len(set(first.values())) == len(first)
    other = {"compute__convolution": "patches", "compute__microbatches": 2, "sweep__num_seeds": 5}
    assert hashes(source, **other) == first


def test_hashes_are_the_same_on_a_terminal(source, monkeypatch):
    monkeypatch.setattr("jax._src.pretty_printer.CAN_USE_COLOR", False)
    first = hashes(source)
    monkeypatch.setattr("jax._src.pretty_printer.CAN_USE_COLOR", True)
    assert "\x1b" in str(jax.make_jaxpr(jax.numpy.sin)(1.0))
    assert hashes(source) == first


@pytest.mark.parametrize(("older", "word"), [(False, "none"), (True, "random")])
def test_flips_were_true_or_false_once(finished, source, older, word):
    path, other = finished / "fingerprints.json", {"none": "random", "random": "none"}[word]
    known = read_json(path)
    assert known["classifiers"]["classifier.flip"] == "none"
    known["classifiers"]["classifier.flip"] = older
    write_json(path, known)
    with pytest.raises(UserError, match=rf"with classifier\.flip = '{word}', not '{other}'"):
        run_experiment(config(source, **FEW, classifier__flip=other), finished)
    if not older:  # of the same code, too
        check = fingerprints.check_fingerprints
        check(RunDirectory(finished), *prepare(config(source, **FEW, classifier__flip=word)))


def change_activation(monkeypatch):
    monkeypatch.setattr(classifiers.nn, "relu", nn.elu)


def change_loss(monkeypatch):
    error = lambda a, b: abs(a - b).mean(axis=(1, 2, 3))  # noqa: E731
    monkeypatch.setitem(losses.RECONSTRUCTION_LOSSES, "mse", error)


def change_view(monkeypatch):
    spec = replace(
        VIEWS["blur"], function=lambda parameters, images, indices: eight_bit(images / 2)
    )
    monkeypatch.setitem(VIEWS._entries, "blur", spec)


@pytest.mark.parametrize(
    ("change", "part"),
    [(change_activation, "classifier"), (change_loss, "autoencoder"), (change_view, "view blur")],
)
def test_changed_code_is_refused_by_name_untouched(finished, source, monkeypatch, change, part):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    change(monkeypatch)
    with pytest.raises(UserError, match=f"other code of the {part}.*--accept-changed-code"):
        run_experiment(config(source, **FEW), finished)
    after = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert after == before


def test_accepted_changes_continue_and_are_on_record(finished, source, monkeypatch):
    change_activation(monkeypatch)
    more = config(source, **FEW | {"sweep__num_seeds": 3})
    results = run_experiment(more, finished, accept_changed_code=True)
    assert results["points"][0]["trials"] == [0, 1, 2]
    assert results["accepted_changes"] == ["classifier"]
    assert (
        "Caution: the code of the classifier was changed" in (finished / "report.html").read_text()
    )
    again = run_experiment(more, finished)  # known from now on
    assert again["accepted_changes"] == ["classifier"]


@pytest.mark.slow
def test_another_version_of_jax_adds_its_hashes(finished, source, monkeypatch):
    known = read_json(finished / "fingerprints.json")
    monkeypatch.setattr(fingerprints.jax, "__version__", "99.0")
    change_activation(monkeypatch)
    run_experiment(config(source, **FEW), finished)
    code = read_json(finished / "fingerprints.json")["code"]
    monkeypatch.undo()
    assert {part: hashes[jax.__version__] for part, hashes in code.items()} == {
        part: hashes[jax.__version__] for part, hashes in known["code"].items()
    }
    assert code["classifier"]["99.0"] != code["classifier"][jax.__version__]
    assert all(len(hashes) == 1 for of_part in code.values() for hashes in of_part.values())


def test_a_checkpoint_of_other_variables_is_of_another_model(source, tmp_path, monkeypatch):
    out = tmp_path / "run"
    stop_after_autoencoders(source, out)

    def without_bias(self, features, kernel_init):
        return nn.Dense(features, use_bias=False, kernel_init=kernel_init)

    monkeypatch.setattr(autoencoders.ConvAutoencoder, "_dense", without_bias)
    with pytest.raises(UserError, match=r"is of another model: .*bias has the shape"):
        run_experiment(config(source, **FEW), out, accept_changed_code=True)
    monkeypatch.undo()
    assert not list(out.rglob("damaged-*"))
    assert run_experiment(config(source, **FEW), out)["points"][0]["trials"] == [0, 1]


@pytest.mark.slow
def test_a_setting_that_the_directory_does_not_know_counts_as_its_default(finished, source):
    path = finished / "fingerprints.json"
    known = read_json(path)
    del known["classifiers"]["classifier.average_decay"]
    write_json(path, known)
    with pytest.raises(UserError, match=r"classifier\.average_decay = 0\.0, not 0\.9"):
        run_experiment(config(source, **FEW, classifier__average_decay=0.9), finished)
    run_experiment(config(source, **FEW), finished)
    assert read_json(path)["classifiers"]["classifier.average_decay"] == 0.0


@pytest.mark.slow
def test_a_stage_of_which_nothing_is_trained_takes_new_settings(source, tmp_path):
    out = tmp_path / "run"
    stop_after_autoencoders(source, out)
    results = run_experiment(config(source, **FEW, classifier__epochs=2), out)
    assert len(results["points"][0]["history"]["classifier"]["original"]["epoch"]) == 2
    with pytest.raises(UserError, match=r"autoencoder\.epochs = 3, not 4"):
        run_experiment(config(source, **FEW, autoencoder__epochs=4), out)


@pytest.mark.slow
def test_before_anything_is_trained_the_widest_code_may_grow(source, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        run_experiment(config(source, **FEW), out, interrupted=lambda: True)
    shutil.rmtree(out / "checkpoints")
    wider = config(source, **FEW, sweep__bottleneck=[4, 8])
    assert len(run_experiment(wider, out)["points"]) == 2
    assert (
        json.loads((out / "fingerprints.json").read_text())["autoencoders"][
            "autoencoder.max_bottleneck"
        ]
        == 8
    )
