"""The launchers: what the shell scripts would run, that they pass shellcheck; the notebook, executed."""

import copy
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import types
import venv
from pathlib import Path

import nbformat
import pytest
from command import share_programs, write_settings
from nbclient import NotebookClient

from blurjax.cli.arguments import make_parser
from blurjax.engine import find_target

ROOT = Path(__file__).parents[2]
SLURM, TPU = ROOT / "scripts" / "slurm.sbatch", ROOT / "scripts" / "tpu_vm.sh"
NOTEBOOK = ROOT / "scripts" / "colab.ipynb"
SHELL = [
    *(SLURM, TPU, ROOT / "scripts" / "_environment.sh", ROOT / "scripts" / "demo"),
    *(ROOT / "scripts" / "test", ROOT / ".ci" / "run"),
]
ARGUMENTS = ["scenes", "--data.source", "folder:my $HOME's photos", "--out", "/results/a run"]


def launch(script, *arguments, cwd=None, **environment):
    """Runs a script as outside of SLURM; what else is in the environment is named."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return subprocess.run(
        [script, *arguments], env=clean | environment, cwd=cwd, capture_output=True, text=True
    )


def dry_run(script, *arguments, **environment):
    """The commands that a script would run, as lists of arguments."""
    process = launch(script, *arguments, DRY_RUN="1", **environment)
    assert process.returncode == 0, process.stderr
    return [shlex.split(line) for line in process.stdout.splitlines()]


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_shell_scripts_pass_shellcheck(script):
    shellcheck = shutil.which("shellcheck", path=Path(sys.executable).parent)
    options = ["--external-sources", "--source-path=SCRIPTDIR"]
    process = subprocess.run([shellcheck, *options, script], capture_output=True, text=True)
    assert process.returncode == 0, process.stdout


def test_slurm_runs_blurjax_in_every_task():
    [command] = dry_run(SLURM, *ARGUMENTS)
    assert command[0] == "srun"
    assert command[command.index("blurjax") :] == ["blurjax", "run", *ARGUMENTS, "--distributed"]


def test_slurm_gives_the_tasks_the_cores_of_the_job():
    [command] = dry_run(SLURM, SLURM_CPUS_PER_TASK="12")
    assert "--cpus-per-task=12" in command


def test_slurm_takes_over_what_a_failed_node_has_left():
    [command] = dry_run(SLURM, "digits", SLURM_RESTART_COUNT="1")
    assert command[-4:] == ["run", "digits", "--take-over", "--distributed"]
    [command] = dry_run(SLURM, "digits", SLURM_RESTART_COUNT="0")
    assert "--take-over" not in command


def test_slurm_refuses_gpus_that_no_task_would_use():
    process = launch(SLURM, SLURM_GPUS_PER_NODE="a100:4", SLURM_NTASKS_PER_NODE="1")
    assert process.returncode == 2
    assert process.stderr.startswith("slurm.sbatch: 4 GPUs and 1 tasks a node;")
    dry_run(SLURM, SLURM_GPUS_PER_NODE="a100:4", SLURM_NTASKS_PER_NODE="4")


@pytest.mark.parametrize(("code", "requeued"), [(0, ""), (2, ""), (75, "requeue 7\n"), (130, "")])
def test_slurm_puts_the_job_back_where_it_was_taken_away(code, requeued, tmp_path):
    for name, line in {"srun": f"exit {code}", "scontrol": 'echo "$@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    process = launch(SLURM, PATH=f"{tmp_path}:{os.environ['PATH']}", SLURM_JOB_ID="7")
    assert (process.returncode, process.stdout) == (code, requeued)


def on_workers(command):
    """The command that a line of gcloud runs on all workers."""
    assert command[:5] == ["gcloud", "compute", "tpus", "tpu-vm", "ssh"]
    assert command[5:8] == ["slice", "--zone=somewhere", "--worker=all"]
    return shlex.split(command[-1].removeprefix("--command="))


def test_tpu_runs_blurjax_on_all_workers():
    [command] = dry_run(TPU, "slice", "somewhere", "run", *ARGUMENTS)
    [program, *arguments] = on_workers(command)
    assert program.endswith("/bin/blurjax")
    assert arguments == ["run", *ARGUMENTS, "--distributed"]


def test_tpu_makes_the_slice_and_installs_what_a_package_is_made_from():
    [create] = dry_run(TPU, "slice", "somewhere", "create", "v5litepod-16", "a version")
    assert create[-2:] == ["--accelerator-type=v5litepod-16", "--version=a version"]
    [_, tar, copy_, install] = dry_run(TPU, "slice", "somewhere", "install")
    assert all((ROOT / name).exists() for name in tar[3:])
    assert copy_[4:7] == ["scp", tar[2], "slice:"]
    assert on_workers(install)[-1] == ".[tpu]"


def test_tpu_copies_data_to_where_a_run_names_it(tmp_path):
    photographs = tmp_path / "my photos"
    photographs.mkdir()
    (photographs / "one.png").write_bytes(b"1")
    process = launch(TPU, "slice", "somewhere", "copy", "my photos/", DRY_RUN="1", cwd=tmp_path)
    tar, scp, remove, unpack = map(shlex.split, process.stdout.splitlines())
    assert tar[:2] == ["tar", "-cf"]
    assert tar[3:] == ["-C", str(tmp_path), "my photos"]
    assert scp[4:7] == ["scp", tar[2], "slice:"]
    assert remove == ["rm", "-r", str(Path(tar[2]).parent)]
    # What the commands do, with a worker that is another folder.
    worker = tmp_path / "worker"
    worker.mkdir()
    subprocess.run(tar, check=True)
    shutil.copy(scp[5], worker)
    subprocess.run(shlex.join(on_workers(unpack)).replace("'&&'", "&&"), shell=True, cwd=worker)
    subprocess.run(remove, check=True)
    assert (worker / "my photos" / "one.png").read_bytes() == b"1"
    assert [path.name for path in worker.iterdir()] == ["my photos"]


def test_tpu_runs_and_stops_what_it_is_told():
    [command] = dry_run(TPU, "slice", "somewhere", "ssh", "mount 'a b'")
    assert on_workers(command) == ["mount", "a b"]
    [command] = dry_run(TPU, "slice", "somewhere", "stop")
    assert on_workers(command) == ["pkill", "-TERM", "-f", "[b]lurjax run"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "scenes"], "run needs --out DIR, an absolute path"),
        (["run", "--out", "runs/scenes"], "run needs --out DIR, an absolute path"),
        (["run", "--out"], "run needs --out DIR, an absolute path"),
        (["create", "v5litepod-16"], "create needs a TYPE and a VERSION"),
        (["ssh"], "ssh needs one SHELL COMMAND"),
        (["copy"], "copy needs one PATH"),
        (["copy", "/nowhere"], "there is no /nowhere"),
        (["fly"], "there is no command fly"),
    ],
)
def test_tpu_mistakes_end_in_one_sentence(arguments, says):
    process = launch(TPU, "slice", "somewhere", *arguments)
    assert process.returncode == 2
    assert process.stderr.startswith(f"tpu_vm.sh: {says}")
    assert process.stderr.count("\n") == 1


def test_tpu_without_arguments_shows_how():
    process = launch(TPU)
    assert process.returncode == 0
    assert process.stdout.startswith("usage: scripts/tpu_vm.sh NAME ZONE COMMAND")


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def source(notebook, name):
    [cell] = [cell for cell in notebook.cells if cell.id == name]
    return cell.source


def test_the_notebook_is_stored_without_outputs(notebook):
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in cells] == [([], None)] * len(cells)


@pytest.fixture
def not_installed(monkeypatch):
    """Makes installing call nothing; returns what it would have called. `driver` is that of the GPU."""

    def install(notebook, repository, driver=None, libtpu=False):
        called = []

        def run(command, **_):
            called.append(command)
            return subprocess.CompletedProcess(command, 0, f"{driver}\n")

        def version(name):
            raise importlib.metadata.PackageNotFoundError(name)

        monkeypatch.setattr("subprocess.run", run)
        monkeypatch.setattr("shutil.which", lambda _: driver)
        monkeypatch.setattr("importlib.util.find_spec", lambda _: libtpu or None)
        monkeypatch.setattr("importlib.metadata.version", version)
        exec(source(notebook, "installation"), {"REPOSITORY": repository})
        return called

    return install


@pytest.mark.parametrize(
    ("driver", "libtpu", "jax"),
    [
        (None, False, "jax"),
        (None, True, "jax[tpu]"),
        ("550.54.15", False, "jax[cuda12]"),
        ("580.65.06", False, "jax[cuda13]"),
    ],
)
@pytest.mark.parametrize(("folder", "repository"), [(ROOT / "scripts", ""), (Path("/"), str(ROOT))])
def test_the_notebook_installs_a_checkout_for_the_accelerator(
    notebook, not_installed, folder, repository, driver, libtpu, jax, monkeypatch
):
    monkeypatch.chdir(folder)
    called = not_installed(notebook, repository, driver, libtpu)
    wanted = ["-c", str(ROOT / "constraints.txt"), str(ROOT), jax]
    assert called[-1][3:] == ["install", "--quiet", *wanted]


def test_the_notebook_clones_what_is_no_folder(notebook, not_installed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clone, install = not_installed(notebook, "https://somewhere/blurjax.git")
    folder = str(tmp_path / "blurjax-checkout")
    assert clone[:2] == ["git", "clone"]
    assert clone[-2:] == ["https://somewhere/blurjax.git", folder]
    assert install[-2:] == [folder, "jax"]


@pytest.mark.parametrize("repository", ["", "/"])
def test_the_notebook_says_where_blurjax_is_missing(
    notebook, not_installed, repository, monkeypatch
):
    monkeypatch.chdir("/")
    with pytest.raises(SystemExit, match="Set REPOSITORY, in the first cell"):
        not_installed(notebook, repository)


@pytest.fixture
def planning(notebook, monkeypatch):
    """device kind -> the command that the cell would run, and the cell's names."""

    def plan(kind, preset="digits"):
        called = []

        def run(command, **_):
            called.append(command)
            return subprocess.CompletedProcess(command, 0, "a table")

        monkeypatch.setattr("subprocess.run", run)
        devices = [types.SimpleNamespace(device_kind=kind)]
        names = {"jax": types.SimpleNamespace(devices=lambda: devices), "PRESET": preset}
        names |= {"SEEDS": 8, "OVERRIDES": {"sweep.bottleneck": [4, 8], "data.image_size": None}}
        exec(source(notebook, "planning"), names | {"subprocess": subprocess, "sys": sys})
        return called

    return plan


@pytest.mark.parametrize(
    ("kind", "target"), [("TPU v5 lite", "tpu:v5e:1x1"), ("Tesla T4", "gpu:t4")]
)
@pytest.mark.parametrize("preset", ["digits", None])
def test_the_notebook_plans_for_its_own_device(planning, kind, target, preset, capsys):
    [command] = planning(kind, preset)
    assert command[:4] == [sys.executable, "-m", "blurjax", "plan"]
    parsed = vars(make_parser().parse(command[3:]))
    assert (parsed["preset"], parsed["target"]) == (preset, [target])
    assert parsed["sweep.num_seeds"] == "8"
    assert parsed["sweep.bottleneck"] == ["4", "8"]
    assert parsed["data.image_size"] == "None"
    # Without preset and source the command would plan the preset digits, and the run would not be of that.
    assert ("data.source" in parsed) == (preset is None)
    assert capsys.readouterr().out == "a table\n"


def test_the_notebook_knows_the_names_of_its_devices(notebook, planning, capsys):
    assert planning("cpu") == []
    assert capsys.readouterr().out == "blurjax has no figures of this device to plan with.\n"
    pytest.importorskip("libtpu")
    names = dict(re.findall(r'"(TPU [^"]+)": "([^"]+)"', source(notebook, "planning")))
    assert len(names) == 2
    for kind, name in names.items():
        assert [device.device_kind for device in find_target(name).devices] == [kind]


def test_the_notebook_says_where_there_is_nothing_to_compare(notebook, tmp_path, capsys):
    total = {"definition": "loss", "mean": 0.012, "sentence": "Worse."}
    points = [
        {"values": {"bottleneck": 4}, "trials": trials, "decomposition": decomposition}
        for trials, decomposition in (([], {}), ([0, 1], {"on_reconstructions": total}))
    ]
    (tmp_path / "results.json").write_text(json.dumps({"points": points}))
    exec(source(notebook, "verdict"), {"RUN": tmp_path})
    assert capsys.readouterr().out.splitlines() == [
        "bottleneck 4, 0 trials",
        "Originals were not compared with reconstructions; see the report.",
        "bottleneck 4, 2 trials",
        "loss: +1.20 points",
        "Worse.",
    ]


def test_the_notebook_keeps_results_in_the_drive(notebook, monkeypatch):
    mounted = []
    colab = types.ModuleType("google.colab")
    colab.drive = types.SimpleNamespace(mount=mounted.append)
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    names = {"Path": Path, "NAME": "digits"}
    exec(source(notebook, "directory"), names)
    assert mounted == ["/content/drive"]
    assert names["RUN"] == Path("/content/drive/MyDrive/blurjax/digits")


def execute(notebook, folder, kernel="python3", **changed):
    """Runs a copy of the notebook on a small experiment, where there is no TensorFlow; returns cell -> outputs."""
    executed = copy.deepcopy(notebook)
    [parameters] = [
        number
        for number, cell in enumerate(executed.cells)
        if "parameters" in cell.metadata.get("tags", [])
    ]
    settings = write_settings(folder, views__train=["original", "reconstruction"])
    changed |= {"PRESET": str(settings), "SEEDS": 3, "NAME": "tiny"}
    assignments = [f"{name} = {value!r}" for name, value in changed.items()]
    lines = [
        *assignments,
        "OVERRIDES = {'classifier.epochs': 2}",
        "import sys",
        "for name in ('tensorflow', 'tensorflow_datasets'): sys.modules[name] = None",
    ]
    executed.cells.insert(parameters + 1, nbformat.v4.new_code_cell("\n".join(lines)))
    cache = folder / "cache"
    if not cache.exists():
        share_programs(cache)
    environment = {
        "IPYTHONDIR": str(folder / "ipython"),
        "XDG_CACHE_HOME": str(cache),
        "JAX_PLATFORMS": "cpu",
    }
    client = NotebookClient(
        executed, timeout=600, kernel_name=kernel, resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=os.environ | environment)
    return {cell.id: cell.outputs for cell in executed.cells if cell.cell_type == "code"}


def printed(outputs, stream="stdout"):
    return "".join(output.text for output in outputs if output.get("name") == stream)


@pytest.mark.slow
def test_the_notebook_runs_shows_what_came_out_and_continues(notebook, tmp_path):
    outputs = execute(notebook, tmp_path)
    run = tmp_path / "runs" / "tiny"
    results = json.loads((run / "results.json").read_text())
    [point] = results["points"]
    assert len(point["trials"]) == 3
    assert point["decomposition"]["on_reconstructions"]["sentence"] in printed(outputs["verdict"])
    figures = [output for output in outputs["figures"] if "image/png" in output.get("data", {})]
    assert len(figures) == len(list((run / "figures").glob("*.png"))) > 0
    assert "classifiers on reconstruction 2/2" in printed(outputs["experiment"], "stderr")
    assert (run / "report.html").exists()

    # The machine has vanished a moment ago; another one runs all again.
    lock = {"pid": 1, "host": "vanished", "token": "other", "heartbeat": time.time()}
    (run / ".lock").write_text(json.dumps(lock))
    outputs = execute(notebook, tmp_path)
    assert "classifiers" not in printed(outputs["experiment"], "stderr")
    assert "left by process 1 on vanished" in printed(outputs["experiment"], "stderr")
    again = json.loads((run / "results.json").read_text())
    assert again | {"seconds": None} == results | {"seconds": None}


def git(*arguments, cwd):
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True)


@pytest.mark.slow
def test_the_notebook_alone_installs_from_an_address_and_runs(notebook, tmp_path, monkeypatch):
    """In an environment that has all of this one's packages but blurjax, with a repository of what is here."""
    repository, alone = tmp_path / "repository", tmp_path / "alone"
    repository.mkdir()
    for name in ("blurjax", "configs"):
        shutil.copytree(ROOT / name, repository / name)
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, repository)
    git("init", "--quiet", cwd=repository)
    git("add", "--all", cwd=repository)
    git("commit", "--quiet", "--message=all", cwd=repository)

    venv.create(tmp_path / "environment", with_pip=True)
    python = tmp_path / "environment" / "bin" / "python"
    others = tmp_path / "others"
    others.mkdir()
    for folder in [path for path in sys.path if path.endswith("site-packages")]:
        for path in Path(folder).iterdir():
            if "blurjax" not in path.name and not (others / path.name).is_symlink():
                (others / path.name).symlink_to(path)
    [own] = (tmp_path / "environment").glob("lib/python*/site-packages")
    (own / "others.pth").write_text(f"{others}\n")
    kernel = tmp_path / "jupyter" / "kernels" / "alone"
    kernel.mkdir(parents=True)
    start = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(
        json.dumps({"argv": start, "display_name": "alone", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.delenv("PYTHONPATH", raising=False)

    alone.mkdir()
    outputs = execute(notebook, alone, "alone", REPOSITORY=repository.as_uri())
    assert "is installed" not in printed(outputs["installation"])
    assert (alone / "blurjax-checkout" / "constraints.txt").is_file()
    assert len([*own.glob("blurjax-*.dist-info")]) == 1
    assert (alone / "runs" / "tiny" / "report.html").exists()
    [point] = json.loads((alone / "runs" / "tiny" / "results.json").read_text())["points"]
    assert point["decomposition"]["on_reconstructions"]["sentence"] in printed(outputs["verdict"])
