"""The command line, by running it: help at once, one sentence for a mistake."""

import contextlib
import fcntl
import html
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from command import run, run_here, write_settings
from images import write_folder

from blurjax.cli.arguments import make_parser
from blurjax.cli.commands import COMMANDS, main
from blurjax.config.loading import presets


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def settings_file(tmp_path_factory):
    return write_settings(
        tmp_path_factory.mktemp("settings"),
        views__train=["original", "mixed"],
        views__test=["original"],
    )


@pytest.fixture
def no_estimate(monkeypatch):
    """A plan without its time, for which every program would be compiled and run."""
    monkeypatch.setattr("blurjax.experiment.time_plan", lambda plan: plan)


def test_help_answers_at_once_without_jax_or_tensorflow(tmp_path, cache):
    code = (
        "import sys, time; begun = time.perf_counter()\n"
        "from blurjax.cli.commands import main\n"
        "try: main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "print(time.perf_counter() - begun, sorted({'jax', 'tensorflow', 'flax', 'numpy'} & set(sys.modules)))"
    )
    lines = run(cwd=tmp_path, cache=cache, python=("-c", code)).stdout.splitlines()
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
        (["run", "digits", "scenes"], "Unexpected argument scenes"),
        (["fly"], "invalid choice: 'fly'"),
        (["report", "nowhere"], "nowhere is not a run of blurjax"),
        (["report"], "arguments are required: DIR"),
        (["run", "--dry-rum"], "did you mean dry-run?"),
        (["run", "--import", "nowhere"], "--import nowhere failed with ModuleNotFoundError"),
        (["run", "--import"], "expected one argument"),
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


def test_an_error_of_a_file_that_was_not_foreseen_is_one_line(capsys, monkeypatch):
    def fail(parsed):
        raise OSError(5, "Input/output error", "a.npz")

    monkeypatch.setitem(COMMANDS, "datasets", fail)
    with pytest.raises(SystemExit) as caught:
        main(["datasets"])
    assert caught.value.code == 2
    said = "blurjax: [Errno 5] Input/output error: 'a.npz' (--debug shows the traceback).\n"
    assert capsys.readouterr().err == said
    with pytest.raises(OSError, match="Input/output error"):
        main(["datasets", "--debug"])


def test_the_home_directory_may_be_written_after_an_option(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for command in (["run"], ["compare", "a"]):
        assert make_parser().parse([*command, "--out=~/x.html"]).out == tmp_path / "x.html"


def test_devices_that_are_not_there_are_one_sentence(tmp_path, cache):
    environment = {"JAX_PLATFORMS": "cuda"}
    process = run("run", "--dry-run", cwd=tmp_path, cache=cache, environment=environment)
    assert process.returncode == 2
    assert process.stderr.startswith("blurjax: jax cannot use what JAX_PLATFORMS names, cuda")
    assert process.stderr.count("\n") == 1


def test_on_a_terminal_devices_that_are_not_there_are_one_sentence_after_what_is_done(
    tmp_path, cache, monkeypatch
):
    monkeypatch.setenv("JAX_PLATFORMS", "gpuu")
    shown, code = on_a_terminal("run", "--dry-run", cwd=tmp_path, cache=cache, columns=80)
    reading, mistake, rest = shown.split("\r\n")
    assert (code, rest) == (2, "")
    assert reading == "Reading digits and starting jax ..."
    assert mistake.startswith("blurjax: jax cannot use what JAX_PLATFORMS names, gpuu")


SOON_PLANNED = (
    *("--views.train", "original", "--views.test", "original", "--autoencoder.bottleneck", 4),
    *("--autoencoder.model", "linear", "--classifier.model", "linear", "--dry-run"),
)


@pytest.mark.slow
def test_a_terminal_without_the_characters_of_a_name_shows_them_escaped(tmp_path, cache):
    write_folder(tmp_path / "\u68ee", {"\u72ac": 5, "\u732b": 5})
    arguments = ("run", "--data.source", f"folder:{tmp_path}/\u68ee", *SOON_PLANNED)
    environment = {"PYTHONIOENCODING": "latin-1"}
    process = run(*arguments, cwd=tmp_path, cache=cache, environment=environment)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("\\u68ee: ")
    assert "2 classes: \\u72ac, \\u732b; " in process.stdout
    process = run(
        *arguments[:2], "folder:\u68ee\u68ee", cwd=tmp_path, cache=cache, environment=environment
    )
    assert "The folder \\u68ee\\u68ee does not exist" in process.stderr


@pytest.mark.slow
@pytest.mark.parametrize("source", ["digits", "folder:photos"])
def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path, source):
    write_folder(tmp_path / "photos", {"a": 5, "b": 5})
    (tmp_path / "home").touch()
    command = ("run", "--data.source", source, *SOON_PLANNED)
    process = run(*command, cwd=tmp_path, cache=tmp_path / "home")
    assert process.returncode == 0, process.stderr
    assert f"{tmp_path}/home cannot be written: decoded images and compiled" in process.stderr
    assert process.stderr.count("\n") == 1
    temporary = Path(re.search(r"kept in (\S+) until", process.stderr)[1])
    assert not temporary.exists()


def test_debug_shows_the_traceback(tmp_path, cache):
    process = run("run", "digit", "--debug", cwd=tmp_path, cache=cache)
    assert "Traceback" in process.stderr


@pytest.mark.usefixtures("no_estimate")
def test_dashes_and_underscores_name_the_same_setting(tmp_path, settings_file):
    one = run_here("run", settings_file, "--dry-run", "--sweep.num_seeds", 2, cwd=tmp_path)
    two = run_here("run", settings_file, "--dry-run", "--sweep.num-seeds=2", cwd=tmp_path)
    assert one.returncode == two.returncode == 0
    plan = one.stdout.splitlines()[:-1]  # without the estimated time
    quiet = run_here(
        "run", settings_file, "--dry-run", "--quiet", "--sweep.num_seeds", 2, cwd=tmp_path
    )
    assert plan == quiet.stdout.splitlines()[:-1]
    assert plan == two.stdout.splitlines()[:-1]
    assert "autoencoders:                    2 models x 18 steps" in plan[1]
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]  # else, a dry run writes nothing


BLOCKY = """
from typing import Literal
from blurjax.config.model_settings import CLASSIFIERS, ModelConfig, ModelSpec

class Blocky(ModelConfig):
    name: Literal["blocky"] = "blocky"
    blocks: int = 3
    \"\"\"number of blocks\"\"\"

CLASSIFIERS.register("blocky", ModelSpec(Blocky, "models_of_mine:build"))
"""


def test_an_imported_module_adds_settings(tmp_path, cache):
    (tmp_path / "models_of_mine.py").write_text(BLOCKY)
    arguments = ("run", "--import", "models_of_mine", "--classifier.model", "blocky")
    shown = run(*arguments, "--help", cwd=tmp_path, cache=cache).stdout
    assert "--classifier.model.blocks BLOCKS" in shown
    assert "blocky: number of blocks [3]" in " ".join(shown.split())
    wrong = run(*arguments, "--classifier.model.blocks", "deep", cwd=tmp_path, cache=cache)
    assert wrong.returncode == 2
    assert "classifier.model.blocks cannot be 'deep'" in wrong.stderr


def test_an_import_that_fails_is_one_sentence_and_with_debug_a_traceback(tmp_path, cache):
    (tmp_path / "broken.py").write_text("1 / 0")
    process = run("run", "--import", "broken", cwd=tmp_path, cache=cache)
    assert process.returncode == 2
    assert "--import broken failed with ZeroDivisionError: division by zero;" in process.stderr
    assert process.stderr.count("\n") == 1
    process = run("run", "--import", "broken", "--debug", cwd=tmp_path, cache=cache)
    assert 'broken.py", line 1' in process.stderr


def test_a_settings_file_cannot_import(tmp_path, cache):
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "mine.yaml").write_text("import: {broken: 1}")
    process = run("run", "mine.yaml", cwd=tmp_path, cache=cache)
    assert process.returncode == 2
    assert "There is no setting import" in process.stderr


@pytest.mark.usefixtures("no_estimate")
def test_config_prints_settings_that_run_takes(tmp_path):
    seeds = ("--sweep.num_seeds", 3)
    printed = run_here("config", "digits", *seeds, "--views.exclude", "pca", cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    (tmp_path / "mine.yaml").write_text(printed.stdout)
    plan = run_here("run", "mine.yaml", "--dry-run", cwd=tmp_path).stdout
    assert re.search(r"classifiers on blur: +3 models", plan)
    assert "classifiers on pca" not in plan


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["re"], "report"),
        (["run", "--classifier.optim"], "--classifier.optimizer"),
        (["run", "ti"], "tiny.yaml"),
        (["run", "digits", "--out", "ru"], "runs"),
        (["report", "ru"], "runs"),
        (["predict", "runs", "ti"], "tiny.yaml"),
        (["predict", "runs", "--test-view", "rec"], "reconstruction"),
    ],
)
def test_bash_completes_commands_options_and_files(words, completed, tmp_path, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--print-completion", "bash"])
    line = shlex.join(["blurjax", *words])
    complete = (
        f"COMP_WORDS=({line}); COMP_CWORD={len(words)}; _shtab_blurjax; echo ${{COMPREPLY[@]}}"
    )
    (tmp_path / "complete.bash").write_text(f"{capsys.readouterr().out}\n{complete}\n")
    (tmp_path / "tiny.yaml").touch()
    (tmp_path / "runs").mkdir()
    process = subprocess.run(
        ["bash", "complete.bash"], cwd=tmp_path, capture_output=True, text=True
    )
    assert process.stdout == f"{completed}\n"


def test_a_shell_that_completion_is_not_written_for_is_a_mistake(tmp_path, cache):
    process = run("--print-completion", "dash", cwd=tmp_path, cache=cache)
    assert process.returncode == 2
    assert "choose from" in process.stderr
    assert process.stderr.count("\n") == 1


@pytest.mark.parametrize("at_home", [True, False])
def test_datasets_lists_what_can_be_named(capsys, monkeypatch, at_home):
    if not at_home:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # of a container's user without a name
    with pytest.raises(SystemExit, match="0"):
        main(["datasets"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("digits", "npz:FILE", "folder:PATH", "tfds:NAME"))


WITHOUT_TENSORFLOW = (
    "-c",
    "import sys\n"
    "for name in ('tensorflow', 'tensorflow_datasets'): sys.modules[name] = None\n"
    "from blurjax.cli.commands import main; main()",
)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, cache, settings_file):
    folder = tmp_path_factory.mktemp("uninterrupted")
    process = run("run", settings_file, cwd=folder, cache=cache, python=WITHOUT_TENSORFLOW)
    assert process.returncode == 0, process.stderr
    return folder / "runs" / "tiny", process


def test_a_run_prints_its_plan_its_progress_and_where_the_report_is(uninterrupted):
    out, process = uninterrupted
    lines = process.stdout.splitlines()
    assert "86 train, 10 validation, 24 test images of 8x8x1, 2 classes: " in lines[0]
    (progress,) = [line for line in lines if line.startswith("classifiers on mixed")]
    assert "epoch 3/3" in progress
    assert "validation accuracy" in progress
    assert lines[-1] == f"The report is {Path('runs') / 'tiny' / 'report.html'}"
    assert process.stderr == ""
    assert (out / "report.html").exists()


def words(text):
    return " ".join(text.split())


def test_a_run_ends_with_the_answer_of_the_page(uninterrupted):
    out, process = uninterrupted
    page = re.sub(r"<[^>]*>", "", html.unescape((out / "report.html").read_text()))
    answer = process.stdout.split("\n\n", 1)[1].rsplit("\n\n", 1)[0]
    paragraphs = answer.split("\n\n")
    assert paragraphs
    assert all(words(paragraph) in words(page) for paragraph in paragraphs)
    assert max(map(len, answer.splitlines())) <= 100


def test_quiet_prints_the_answer_alone(uninterrupted, settings_file):
    out, process = uninterrupted
    quiet = run_here("run", settings_file, "--quiet", cwd=out.parents[1])
    assert quiet.returncode == 0, quiet.stderr
    assert quiet.stdout.startswith("\nMean accuracy: ")
    assert process.stdout.endswith(quiet.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 80])
def test_on_a_terminal_one_bar_as_wide_as_that(tmp_path, cache, settings_file, columns):
    command = ("run", str(settings_file), "--sweep.num_seeds", "1")
    shown, code = on_a_terminal(*command, cwd=tmp_path, cache=cache, columns=columns)
    assert code == 0
    assert shown.startswith("Reading npz:")
    bars = [line for line in re.split(r"[\r\n]+", shown) if "%|" in line]
    assert {len(bar) for bar in bars} <= {*range(columns + 1)}
    assert re.match(r"100%\|█+\| 0 s left  classifiers on mixed 3/3", bars[-1])
    assert ("accuracy" in bars[-1]) == (columns > 60)
    percent = [int(bar.split("%")[0]) for bar in bars]
    assert percent == sorted(percent)
    assert "\nThe report is " in shown.replace("\r", "")


def on_a_terminal(*arguments, cwd, cache, columns):
    """Runs the command with a terminal of so many columns, and returns what it showed and the exit code."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-m", "blurjax", *arguments],
        cwd=cwd,
        env=environment | {"XDG_CACHE_HOME": str(cache)},
        stdin=its,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    shown = b""
    with contextlib.suppress(OSError):  # which Linux raises where the other end is closed
        while part := os.read(ours, 2**16):
            shown += part
    os.close(ours)
    return shown.decode(), process.wait(timeout=60)


def test_output_that_nobody_reads_ends_the_command_quietly(tmp_path, cache, settings_file):
    command = f"{sys.executable} -m blurjax run {settings_file} | head -1; echo ${{PIPESTATUS[0]}}"
    process = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        env=os.environ | {"XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    plan, code = process.stdout.splitlines()
    assert plan.startswith("stripes: 86 train")
    assert code == "141"
    assert process.stderr == ""


def test_report_makes_the_page_again(uninterrupted):
    out, _ = uninterrupted
    page = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    process = run_here("report", out, cwd=out)
    assert process.returncode == 0, process.stderr
    assert (out / "report.html").read_bytes() == page


@pytest.mark.usefixtures("no_estimate")
def test_every_preset_has_a_plan_or_says_what_is_missing(tmp_path):
    for name in presets():
        process = run_here("run", name, "--dry-run", "--data.data_dir", tmp_path, cwd=tmp_path)
        assert (
            (process.returncode, process.stderr) == (0, "")
            if name == "digits"
            else process.returncode == 2
        )
        assert process.stderr.count("\n") <= 1
