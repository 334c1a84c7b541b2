"""The command line, by running it: one sentence for a mistake; killed and continued to the same bits."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny import SETTINGS, write_stripes

from blurjax.cli import main
from blurjax.config import presets


def blurjax(*arguments, cwd, cache, wait=True, python=("-m", "blurjax.cli")):
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, *python, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if wait:
        process.out, process.err = process.communicate(timeout=300)
    return process


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def settings_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("settings")
    sections = {"data": {"source": write_stripes(folder / "stripes.npz")}}
    for key, value in (SETTINGS | {"classifier.epochs": 20, "autoencoder.epochs": 20}).items():
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = value
    sections["views"] = {"train": ["original", "mixed"], "test": ["original"]}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(sections))
    return folder / "tiny.yaml"


def test_help_answers_at_once_without_jax_or_tensorflow(tmp_path, cache):
    code = (
        "import sys, time; begun = time.perf_counter()\n"
        "from blurjax.cli import main\n"
        "try: main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "print(time.perf_counter() - begun, sorted({'jax', 'tensorflow', 'flax', 'numpy'} & set(sys.modules)))"
    )
    lines = blurjax(cwd=tmp_path, cache=cache, python=("-c", code)).out.splitlines()
    seconds, modules = lines[-1].split(maxsplit=1)
    assert modules == "[]"
    assert float(seconds) < 2  # 0.2 s on an idle machine
    assert any("--classifier.epochs" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["run", "--clasifier.epochs", "3"],
            "no setting clasifier.epochs; did you mean classifier.epochs?",
        ),
        (["run", "--classifier.epochs"], "expected one argument"),
        (["run", "--classifier.epochs", "many"], "classifier.epochs cannot be 'many'"),
        (["run", "digit"], "no preset digit; choose one of"),
        (["run", "--data.source", "folder:nowhere"], "nowhere"),
        (["run", "digits", "scenes"], "Unexpected scenes"),
        (["fly"], "invalid choice: 'fly'"),
        (["report", "nowhere"], "nowhere is not a run of blurjax"),
        (["report"], "arguments are required: DIR"),
    ],
)
def test_a_mistake_ends_in_one_sentence_and_exit_code_2(
    arguments, says, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    printed = capsys.readouterr().err
    assert caught.value.code == 2
    assert printed.startswith("blurjax: ")
    assert says in printed
    assert printed.count("\n") == 1


def test_debug_shows_the_traceback(tmp_path, cache):
    process = blurjax("run", "digit", "--debug", cwd=tmp_path, cache=cache)
    assert "Traceback" in process.err


def test_dashes_and_underscores_name_the_same_setting(tmp_path, cache, settings_file):
    one = blurjax(
        "run", settings_file, "--dry-run", "--sweep.num_seeds", 2, cwd=tmp_path, cache=cache
    )
    two = blurjax(
        "run", settings_file, "--dry-run", "--sweep.num-seeds=2", cwd=tmp_path, cache=cache
    )
    assert one.returncode == two.returncode == 0
    plan = one.out.splitlines()[:-1]  # without the estimated time
    assert plan == two.out.splitlines()[:-1]
    assert "autoencoders:                    2 models x 120 steps" in plan[1]
    assert list(tmp_path.iterdir()) == []  # a dry run writes nothing


def test_datasets_lists_what_can_be_named(capsys):
    with pytest.raises(SystemExit):
        main(["datasets"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("digits", "npz:FILE", "folder:PATH", "tfds:NAME"))


WITHOUT_TENSORFLOW = (
    "-c",
    "import sys\n"
    "for name in ('tensorflow', 'tensorflow_datasets'): sys.modules[name] = None\n"
    "from blurjax.cli import main; main()",
)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, cache, settings_file):
    folder = tmp_path_factory.mktemp("uninterrupted")
    process = blurjax("run", settings_file, cwd=folder, cache=cache, python=WITHOUT_TENSORFLOW)
    assert process.returncode == 0, process.err
    return folder / "runs" / "tiny", process


def test_a_run_prints_its_plan_its_progress_and_where_the_report_is(uninterrupted):
    out, process = uninterrupted
    lines = process.out.splitlines()
    assert "86 train, 10 validation, 24 test images of 8x8x1, 2 classes" in lines[0]
    progress = [line for line in lines if line.startswith("classifiers on mixed")]
    assert len(progress) == 21 - 1
    assert "epoch 20/20" in progress[-1]
    assert "validation accuracy" in progress[-1]
    assert lines[-1] == f"The report is {Path('runs') / 'tiny' / 'report.html'}"
    assert process.err == ""
    assert (out / "report.html").exists()


def same_bits(one, other):
    for path in sorted((one / "predictions").glob("*.npz")):
        with np.load(path) as ours, np.load(other / "predictions" / path.name) as theirs:
            for name in ours.files:
                np.testing.assert_array_equal(
                    ours[name], theirs[name], err_msg=f"{path.name} {name}"
                )
    for name in ("metrics.jsonl", "config.yaml", "figures/curves.png"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    results = [json.loads((run / "results.json").read_text()) for run in (one, other)]
    for result in results:
        del result["seconds"]
    assert results[0] == results[1]


def start_and_signal(number, lines, folder, cache, settings_file):
    """Starts a run, sends a signal once metrics.jsonl has so many lines, and waits."""
    process = blurjax("run", settings_file, cwd=folder, cache=cache, wait=False)
    metrics = folder / "runs" / "tiny" / "metrics.jsonl"
    while process.poll() is None:
        if metrics.exists() and metrics.read_bytes().count(b"\n") >= lines:
            process.send_signal(number)
            break
        time.sleep(0.01)
    process.out, process.err = process.communicate(timeout=120)
    return process


def test_killed_and_continued_equals_uninterrupted(uninterrupted, tmp_path, cache, settings_file):
    for lines in (7, 45):
        assert (
            start_and_signal(signal.SIGKILL, lines, tmp_path, cache, settings_file).returncode == -9
        )
    process = blurjax("run", settings_file, cwd=tmp_path, cache=cache)
    assert process.returncode == 0, process.err
    same_bits(uninterrupted[0], tmp_path / "runs" / "tiny")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 75), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_asked_to_stop_it_saves_says_so_and_continues(
    number, code, uninterrupted, tmp_path, cache, settings_file
):
    process = start_and_signal(number, 10, tmp_path, cache, settings_file)
    assert process.returncode == code
    assert (
        process.out.splitlines()[-1]
        == "Stopped; everything is saved, and the same command continues it."
    )
    assert process.err == ""
    assert blurjax("run", settings_file, cwd=tmp_path, cache=cache).returncode == 0
    same_bits(uninterrupted[0], tmp_path / "runs" / "tiny")


def test_report_makes_the_page_again(uninterrupted, cache):
    out, _ = uninterrupted
    page = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    process = blurjax("report", out, cwd=out, cache=cache)
    assert process.returncode == 0, process.err
    assert (out / "report.html").read_bytes() == page


def test_every_preset_has_a_plan_or_says_what_is_missing(tmp_path, cache):
    for name in presets():
        process = blurjax(
            "run", name, "--dry-run", "--data.data_dir", tmp_path, cwd=tmp_path, cache=cache
        )
        assert (
            (process.returncode, process.err) == (0, "")
            if name == "digits"
            else process.returncode == 2
        )
        assert process.err.count("\n") <= 1
