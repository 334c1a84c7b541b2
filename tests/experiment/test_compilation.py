"""Experiments compiled for devices that are not there: they compile, fit, and do what their layout promises."""

import re
from dataclasses import replace

import jax
import numpy as np
import pytest
from tiny import config, write_stripes

from blurjax.cli import targets
from blurjax.config.trials import all_autoencoder_trials
from blurjax.engine import Target, find_target
from blurjax.engine.hardware import GIB, cpu_hardware
from blurjax.experiment.calls import TRAINING, calls, make_programs
from blurjax.experiment.compilation import compile_experiment
from blurjax.experiment.preparation import prepare
from blurjax.experiment.programs import Programs

NAMES = {
    *("initialise autoencoders", "order for autoencoders", "train autoencoders"),
    *("evaluate autoencoders", "encode", "measure views", "render views"),
    *("initialise classifiers", "order for classifiers", "train classifiers"),
    "evaluate classifiers",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_stripes(tmp_path_factory.mktemp("data") / "stripes.npz")


def loaded(source, **changes):
    return prepare(config(source, **changes))


def is_training(call):
    return call.kind == TRAINING


def arrays(shapes):
    """Shape and dtype of every array, in order."""
    return [(np.shape(leaf), np.dtype(leaf.dtype)) for leaf in jax.tree.leaves(shapes)]


class Recorder:
    """Stands in for a program: notes what a run calls it with."""

    def __init__(self, function, seen):
        self.function, self.seen = function, seen

    def __call__(self, *args):
        typed = [np.int32(a) if isinstance(a, int) else a for a in args]
        self.seen.append(arrays(typed))
        return self.function(*args)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"data__resident_limit": 0},
        {"views__train": ["original", "crossfit", "pca"], "sweep__bottleneck": [2, 4]},
        {"sweep__train_examples": [20, "all"], "views__train": ["original", "shuffled"]},
        {"sweep__train_examples": [20], "views__train": ["encoder", "encoder_frozen"]},
    ],
    ids=["resident", "streamed", "folds and bottlenecks", "few labels", "encoders"],
)
def test_a_run_calls_programs_with_the_shapes_that_are_compiled(
    source, tmp_path, monkeypatch, changes
):
    """All but the order of streamed images, which one process draws for all."""
    from blurjax.experiment import calls as of_calls
    from blurjax.experiment import programs as of_programs
    from blurjax.experiment import run as experiment

    fitted, dataset = loaded(source, **changes)
    expected = {c.name: arrays(c.arguments) for c in calls(make_programs(fitted, dataset))}
    of_name = {
        "train_autoencoder": "train autoencoders",
        "evaluate_autoencoder": "evaluate autoencoders",
        "encode": "encode",
        "measure_view": "measure views",
        "render_view": "render views",
        "train_classifier": "train classifiers",
        "evaluate_classifier": "evaluate classifiers",
        "evaluate_classifier_on_own": "evaluate classifiers on their own images",
        "warm_start": "start classifiers",
    }
    seen = {}

    class Recorded(Programs):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            for attribute, name in of_name.items():
                if attribute == "render_view" and self.rendering is None:
                    continue
                name = name.replace("classifiers", self.networks.classifiers)
                own = Recorder(getattr(self, attribute), seen.setdefault(name, []))
                setattr(self, attribute, own)

    for module in (of_calls, of_programs):
        monkeypatch.setattr(module, "Programs", Recorded)
    experiment.run_experiment(fitted, tmp_path / "run", dataset=dataset)
    called = {name for name, arguments in seen.items() if arguments}
    assert called == seen.keys() & expected.keys()
    for name in called:
        assert expected[name] in seen[name], name


def test_autoencoders_of_streamed_images_are_planned_fold_by_fold(source):
    fitted, dataset = loaded(source, data__resident_limit=0, views__train=["original", "crossfit"])
    made, trials = make_programs(fitted, dataset), all_autoencoder_trials(fitted)
    for left in (None, {"autoencoder": trials}):
        (training,) = (c for c in calls(made, left) if c.name == "train autoencoders")
        assert (training.models, training.steps) == (3, 3 * 3 * 6)  # jobs, epochs, steps of one
    begun = {"autoencoder": [trial for trial in trials if trial.fold is not None]}
    (training,) = (c for c in calls(made, begun) if c.name == "train autoencoders")
    assert (training.models, training.steps) == (3, 2 * 3 * 6)


@pytest.mark.slow
def test_every_program_is_compiled_for_this_machine(source):
    found = compile_experiment(*loaded(source), find_target("cpu"))
    assert {program.name for program in found.programs} == NAMES
    assert found.works
    assert (found.devices, found.trials_per_vmap) == (2, 1)
    assert found.bound is None  # this machine's rates are not known
    for program in found.programs:
        assert program.needed_bytes > 0
        assert program.bytes > 0


def test_steps_of_the_whole_experiment_are_counted(source):
    fitted, dataset = loaded(source)  # 86 images in batches of 16, 3 epochs, 3 views
    steps = {call.name: call.steps for call in calls(make_programs(fitted, dataset))}
    assert steps["train autoencoders"] == 18
    assert steps["train classifiers"] == 3 * 18
    assert steps["render views"] == 3 * 6
    assert steps["order for classifiers"] == 3 * 3
    # 10 images of validation three times an epoch; 24 of test in 3 x 2 cells.
    assert steps["evaluate classifiers"] == 3 * 3 * 3 + 6 * 2


def test_what_does_not_fit_is_said(source):
    there = find_target("cpu")
    hardware = cpu_hardware(2)
    small = type(hardware)("small", 1e5, 1.0, 1e9, 1e9, 1e9, "this test")
    target = Target("small", there.devices, 1, small)
    found = compile_experiment(*loaded(source), target, wanted=is_training)
    assert not found.works
    assert not any(map(found.fits, found.programs))
    assert found.most_per_vmap == 0
    # A bound: bytes at 1 GB/s, or operations at 1 GFLOP/s.
    for program in found.programs:
        assert program.step_bound == max(program.bytes, program.flops) / 1e9
    assert found.bound == sum(p.steps * p.step_bound for p in found.programs)


def test_what_does_not_compile_is_said(source, monkeypatch):
    def fail(*_, **__):
        raise jax.errors.JaxRuntimeError("INTERNAL: no tiles\nfor this")

    monkeypatch.setattr(jax.stages.Lowered, "compile", fail)
    found = compile_experiment(*loaded(source), find_target("cpu"), wanted=is_training)
    assert [program.error for program in found.programs] == ["INTERNAL: no tiles for this"] * 2
    assert not found.works
    assert found.most_per_vmap is None


def test_what_is_too_large_to_compile_for_a_tpu_says_what_it_needs(source, monkeypatch):
    def fail(*_, **__):
        raise jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (47.50G) "
            "exceeds available HBM (15.75G)."
        )

    monkeypatch.setattr(jax.stages.Lowered, "compile", fail)
    found = compile_experiment(*loaded(source), find_target("cpu"), wanted=is_training)
    assert not found.works
    assert {program.needed_bytes for program in found.programs} == {int(47.5 * GIB)}
    last = targets._verdict(replace(found, trials_per_vmap=4))[-1]
    assert last.startswith("train classifiers needs 47.5 GiB, more than the ")
    assert last.endswith(" GiB of a device; lower compute.trials_per_vmap.")
    assert [line.split("lower ")[1] for line in targets._verdict(found)] == [
        "autoencoder.batch_size, or raise compute.microbatches.",
        "classifier.batch_size, or raise compute.microbatches.",
    ]


def for_tpu(source, name, **changes):
    pytest.importorskip("libtpu")
    fitted, dataset = loaded(source, **changes)
    return compile_experiment(fitted, dataset, find_target(name), wanted=is_training)


def convolutions(text):
    """The types of what convolutions in a compiled program read; a TPU's matrix products are convolutions, too.

    Products of precision `highest` are those of views, whatever the models compute with.
    """
    found = []
    for computation in re.split(r"\n\n", text):
        types = dict(re.findall(r"%([\w.\-]+) = (\w+)\[", computation))
        for operands, rest in re.findall(r" convolution\(([^)]*)\)(.*)", computation):
            if "operand_precision={highest,highest}" not in rest:
                found += [types[name] for name in re.findall(r"%([\w.\-]+)", operands)]
    return found


def check_training(found, *, collectives):
    assert found.works, [program.error for program in found.programs]
    for program in found.programs:
        assert 0 < program.needed_bytes < 16 * GIB
        assert program.step_bound > 0
        assert bool(program.collectives) == collectives, program.collectives
        # The states, which are given up, are where the new ones are.
        assert program.aliased_bytes > 0.9 * program.output_bytes


def test_trials_spread_over_a_tpu_slice_do_not_communicate(source):
    found = for_tpu(source, "tpu:v5e:2x2", sweep__num_seeds=4)
    assert found.mesh == {"trial": 4}
    check_training(found, collectives=False)


def test_tpus_that_share_batches_sum_gradients(source):
    found = for_tpu(source, "tpu:v5e:2x2", sweep__num_seeds=2)
    assert found.mesh == {"trial": 2, "data": 2}
    check_training(found, collectives=True)
    for program in found.programs:  # one counts the examples
        assert program.collectives == {"all-reduce": 2}


def test_a_tpu_convolves_in_bfloat16_where_that_is_asked_for(source):
    dtypes = {"autoencoder__dtype": "bfloat16", "classifier__dtype": "bfloat16"}
    found = for_tpu(source, "tpu:v5e:1x1", compute__convolution="lax", **dtypes)
    assert found.trials_per_vmap == 3  # all trials side by side
    check_training(found, collectives=False)
    for program in found.programs:
        types = convolutions(program.text)
        assert types
        assert {*types} == {"bf16"}
