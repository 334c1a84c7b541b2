"""`blurjax plan`: what fits on which devices, as a table and as JSON, and how it ends."""

import json

import pytest
from command import run, run_here

from blurjax.config import loading as settings
from blurjax.experiment.stand_in import SIZES, known_size, stand_in

QUICK = (
    *("--sweep.num_seeds", 1, "--views.train", "original", "--views.test", "original"),
    *("--autoencoder.model", "linear", "--classifier.model", "linear"),
)
"""Little to compile: how the real models fare is tested in experiment/test_presets_on_accelerators.py."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def plan(*arguments, cwd, cache):
    return run("plan", *arguments, cwd=cwd, cache=cache, timeout=600)


@pytest.mark.slow
def test_a_plan_for_this_machine_is_a_table_that_ends_with_a_verdict(tmp_path, cache):
    process = plan("digits", *QUICK, "--classifier.dtype=bfloat16", cwd=tmp_path, cache=cache)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[0] == (
        "digits: 1,294 train, 144 validation, 359 test images of 8x8x1, 10 classes (read)"
    )
    (head,) = (line for line in lines if line.startswith("cpu: "))
    assert head.startswith("cpu: 1 x CPU of this machine, ")
    assert head.endswith(" GiB of memory each; 1 trial at a time")
    rows = [line.split() for line in lines if line.startswith(("  train ", "  evaluate "))]
    assert [row[:4] for row in rows] == [
        ["train", "autoencoders", "1", "yes"],
        ["evaluate", "autoencoders", "1", "yes"],
        ["train", "classifiers", "1", "yes"],
        ["evaluate", "classifiers", "1", "yes"],
    ]
    assert "  note: classifier.dtype bfloat16 is slower than float32 on a CPU" in lines
    assert lines[-1] == "  Everything compiles and fits."
    assert not process.stderr


@pytest.mark.slow
def test_a_tpu_that_is_not_there_and_data_that_are_not_there(tmp_path, cache):
    pytest.importorskip("libtpu")
    target = ("--target", "tpu:v5e:1x1", "--json")
    process = plan("cifar10", *QUICK, *target, cwd=tmp_path, cache=cache)
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    assert found["data"] == "a stand-in of the published size"
    (tpu,) = found["targets"]
    assert (tpu["target"], tpu["devices"], tpu["works"]) == ("tpu:v5e:1x1", 1, True)
    train = next(p for p in tpu["programs"] if p["name"] == "train classifiers")
    assert train["steps"] == 8 * 176  # 45,000 images in batches of 256, 8 epochs
    # The training images, 45,000 of 3,072 bytes, lie on the device in their view.
    assert train["argument_bytes"] > 45_000 * 3072
    assert train["needed_bytes"] < tpu["memory_bytes"]
    assert tpu["bound_seconds"] > 0


@pytest.mark.slow
def test_what_does_not_fit_ends_with_exit_code_1(tmp_path, cache):
    # 1,500 GB of images on the device.
    size = ("--stand-in", 120_000_000, 1000, 2, "--data.image_size", 64)
    limit = ("--data.resident_limit", 2000)
    process = plan("--data.source", "npz:none", *size, *limit, *QUICK, cwd=tmp_path, cache=cache)
    assert process.returncode == 1, process.stderr
    assert "train classifiers needs 1" in process.stdout
    assert "GiB of a device; lower data.resident_limit or sweep.num_seeds." in process.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--target", "tpu:v9"), "There is no target tpu:v9; name cpu, tpu:KIND:TOPOLOGY"),
        (("--data.source", "folder:nowhere"), "The folder nowhere does not exist"),
        (("--stand-in", 100, 10, 2), "--stand-in needs the size of the images"),
    ],
)
def test_mistakes_are_one_sentence(arguments, says, tmp_path):
    process = run_here("plan", *arguments, cwd=tmp_path)
    assert process.returncode == 2
    assert says in process.stderr
    assert process.stderr.count("\n") == 1


def test_a_compiler_that_is_missing_is_one_sentence(tmp_path, cache):
    code = (
        "import sys; sys.modules['libtpu'] = None\n"
        "from blurjax.cli.commands import main\n"
        "main(['plan', 'digits', '--target', 'tpu:v5e'])"
    )
    process = run(cwd=tmp_path, cache=cache, python=("-c", code))
    assert process.returncode == 2
    assert process.stderr == (
        "blurjax: Compiling for TPUs needs the package libtpu; install it with `pip install 'blurjax[tpu]'`.\n"
    )


def test_stand_ins_have_the_splits_of_the_data():
    config = settings.load("cifar10", {})
    made = stand_in(config, known_size(config))
    assert {name: len(found) for name, found in made.splits.items()} == {
        "train": 45_000,
        "validation": 5_000,
        "test": 10_000,
    }
    assert made.images.shape == (60_000, 32, 32, 3)
    few = settings.load("cifar10", {"data.train_examples": 1000})
    assert len(stand_in(few, SIZES["tfds:cifar10"]).splits["train"]) == 1000
    assert known_size(settings.load("cifar10", {"data.train_split": "train[:10%]"})) is None
