"""The commands: each calls a function of the package. Heavy imports are inside them, so that --help answers at once."""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from blurjax.cli.arguments import add_import, make_parser
from blurjax.cli.parser import MOST_COLUMNS, Parser
from blurjax.config import Config
from blurjax.config import loading as settings
from blurjax.config.extending import extended
from blurjax.runtime import RunDirectory
from blurjax.runtime.caches import user_cache
from blurjax.runtime.errors import AllTrialsFailed, Interrupted, UserError
from blurjax.runtime.stop import INTERRUPTED, TERMINATED, StopRequest

ALL_FAILED, USER_ERROR, BROKEN_PIPE = 1, 2, 141
"""Exit codes: of an experiment all of whose trials failed, of a mistake, and of output that nobody reads; stop.py has
those of signals."""
DEFAULT_PRESET = "digits"
COMPARISON = Path("comparison.html")
COMPILE_ONLY = {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
"""Environment variables, set before jax is imported, with which it starts no accelerator."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line `blurjax` and exits; by default with the arguments of the process."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        # A terminal may lack characters of names and paths.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    parsed = argparse.Namespace()
    try:
        _import_modules(arguments)
        parsed = make_parser().parse(arguments or ["--help"])
        code = COMMANDS[parsed.command](parsed)
    except BrokenPipeError:  # nobody reads on, such as after `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = BROKEN_PIPE
    except (UserError, OSError) as error:
        if "--debug" in arguments:
            raise
        hint = "" if isinstance(error, UserError) else " (--debug shows the traceback)."
        print(f"blurjax: {error}{hint}", file=sys.stderr, flush=True)
        if getattr(parsed, "distributed", False):
            os._exit(USER_ERROR)  # jax would wait for the other processes before an orderly exit
        code = USER_ERROR
    except KeyboardInterrupt:
        code = INTERRUPTED
    raise SystemExit(code)


def _import_modules(arguments: Sequence[str]) -> None:
    """Imports the modules named by --import, before the parser is made: their settings become options."""
    parser = Parser(add_help=False)
    add_import(parser)
    names = parser.parse_known_args(arguments)[0].modules
    if names:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does; the entry point does not
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(
                f"--import {name} failed with {reason}; correct the module or its name (--debug shows the traceback)."
            ) from error


def config(parsed: argparse.Namespace) -> int:
    """Runs `blurjax config` and returns the exit code."""
    print(settings.to_commented_yaml(settings.load(parsed.preset, _overrides(parsed))))
    return 0


def _overrides(parsed: argparse.Namespace) -> dict[str, Any]:
    """Returns dotted key -> value of the settings that were named."""
    return {key: getattr(parsed, key) for key, _ in settings.fields() if hasattr(parsed, key)}


def _chosen(parsed: argparse.Namespace) -> tuple[str | None, dict[str, Any]]:
    """Returns the preset, by default that of the digits, and the settings that were named."""
    overrides = _overrides(parsed)
    if parsed.preset is None and "data.source" not in overrides:
        return DEFAULT_PRESET, overrides
    return parsed.preset, overrides


def run(parsed: argparse.Namespace) -> int:
    """Runs `blurjax run` and returns the exit code."""
    preset, overrides = _chosen(parsed)
    config = settings.load(preset, overrides)
    name = Path(preset).stem if preset else _slug(config.data.source)
    return _run(config, parsed.out or Path("runs") / name, parsed)


def plan(parsed: argparse.Namespace) -> int:
    """Runs `blurjax plan` and returns the exit code."""
    config = settings.load(*_chosen(parsed))
    os.environ.update(COMPILE_ONLY)
    user_cache()
    from blurjax.cli import targets
    from blurjax.engine import LIBTPU_WITHOUT_TPU, configure_jax

    os.environ.update(LIBTPU_WITHOUT_TPU)
    configure_jax(cache_programs=False)
    return targets.plan(config, parsed)


def extend(parsed: argparse.Namespace) -> int:
    """Runs `blurjax extend` and returns the exit code."""
    config = extended(_config_of(parsed.directory), _overrides(parsed))
    return _run(config, parsed.directory, parsed)


def _config_of(directory: Path) -> Config:
    """Returns the settings of a run."""
    run = RunDirectory(directory, writes=False)
    run.check_format()
    return settings.load(run.config)


def _configure_jax(config: Config, **options: Any) -> None:
    """Sets jax up as the settings say; first of all, since matplotlib may have to write to the cache, too."""
    cache = user_cache()
    from blurjax.engine import configure_jax

    configure_jax(
        cache_programs=config.compute.cache_programs,
        cache_directory=cache / "programs",
        deterministic=config.compute.deterministic,
        **options,
    )


def _slug(source: str) -> str:
    """Returns a directory name for a data source: "tfds:mnist" -> "mnist", "folder:a/My Photos/" -> "My-Photos"."""
    name = source.split(":", 1)[-1].rstrip("/").split("/")[-1].removesuffix(".npz")
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"


def _run(config: Config, out: Path, parsed: argparse.Namespace) -> int:
    """Runs an experiment and says what came out; returns the exit code."""
    parsed.distributed |= parsed.coordinator is not None
    with StopRequest() as stop:
        _configure_jax(config)
        from blurjax.cli import terminal
        from blurjax.experiment import make_plan, run_experiment, time_plan
        from blurjax.experiment.preparation import prepare
        from blurjax.report import answer
        from blurjax.runtime import processes

        terminal.log_to_terminal()
        if parsed.distributed:
            processes.connect(parsed.coordinator, parsed.num_processes, parsed.process_id)
        quiet = parsed.quiet and not parsed.dry_run  # the plan is all that a dry run is for
        say = terminal.say if not quiet else lambda text: None
        # Both take a few seconds. `say` would start jax to ask it which process this is.
        if sys.stdout.isatty() and not (quiet or parsed.distributed):
            print(f"Reading {config.data.source} and starting jax ...", flush=True)
        config, dataset = prepare(config)
        accept = {"accept_changed_code": parsed.accept_changed_code}
        plan = make_plan(config, dataset, out, **accept)
        say(plan)
        if not (plan.is_trained or quiet):
            plan = time_plan(plan)
            say(plan.time)
        if parsed.dry_run:
            return 0
        stop.save_first()
        try:
            with terminal.show_progress(plan, quiet=parsed.quiet) as progress:
                results = run_experiment(
                    config,
                    out,
                    dataset=dataset,
                    plan=plan,
                    progress=progress,
                    log=parsed.log,
                    interrupted=stop,
                    take_over=parsed.take_over,
                    **accept,
                )
        except Interrupted:
            terminal.say("Stopped; everything is saved, and the same command continues it.")
            return stop.exit_code or TERMINATED
        except AllTrialsFailed as error:
            print(f"blurjax: {error}", file=sys.stderr)
            return ALL_FAILED
        terminal.say_answer(answer(results, config.report.confidence))
        terminal.say(f"The report is {out / 'report.html'}")
        return 0


def report(parsed: argparse.Namespace) -> int:
    """Runs `blurjax report` and returns the exit code."""
    from blurjax.report import make_report

    page = make_report(parsed.directory)
    if page == RunDirectory(parsed.directory).interim:
        print(f"The run is not finished; an interim report, without an answer, is {page}")
    else:
        print(f"The report is {page}")
    return 0


def compare(parsed: argparse.Namespace) -> int:
    """Runs `blurjax compare` and returns the exit code."""
    from blurjax.cli.output import PAGES, check_file
    from blurjax.report import compare_runs, comparison_text

    check_file("out", parsed.out, PAGES)
    page = parsed.out or (None if parsed.json else COMPARISON)
    found = compare_runs(parsed.directories, page)
    if parsed.json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return 0
    columns = min(shutil.get_terminal_size().columns, MOST_COLUMNS)
    print(f"{comparison_text(found, columns)}\n\nThe page is {page}")
    return 0


def predict(parsed: argparse.Namespace) -> int:
    """Runs `blurjax predict` and returns the exit code."""
    _configure_jax(_config_of(parsed.directory), cpu_devices=1)
    from blurjax.cli import predictions
    from blurjax.experiment import load_run

    return predictions.predict(load_run(parsed.directory), parsed)


def export(parsed: argparse.Namespace) -> int:
    """Runs `blurjax export` and returns the exit code."""
    _configure_jax(_config_of(parsed.directory), cpu_devices=1)
    from blurjax.experiment import export_models, export_view

    if parsed.models is not None:
        of_view = ("out", "seed", "bottleneck")
        unused = [f"--{name}" for name in of_view if getattr(parsed, name) is not None]
        if unused:
            raise UserError(
                f"--models FILE.safetensors writes all models, into that file; leave {' and '.join(unused)} out."
            )
        path = export_models(parsed.directory, parsed.models)
    elif parsed.out is None:
        raise UserError("--view needs a place to write to; name --out FILE.npz, or --out FOLDER.")
    else:
        which = {"seed": parsed.seed, "bottleneck": parsed.bottleneck}
        path = export_view(parsed.directory, parsed.view, parsed.out, **which)
    print(f"Written: {path}")
    return 0


def sharpness(parsed: argparse.Namespace) -> int:
    """Runs `blurjax sharpness` and returns the exit code."""
    cache = user_cache()
    from blurjax.cli import photographs
    from blurjax.engine import configure_jax

    photographs.check_options(parsed)
    # One device: its threads share the work on an image.
    configure_jax(cpu_devices=1, cache_directory=cache / "programs")
    return photographs.sharpness(parsed)


def datasets(parsed: argparse.Namespace) -> int:
    """Runs `blurjax datasets` and returns the exit code."""
    from blurjax.data import sources

    for name, sentence in sources.describe(parsed.data_dir):
        print(f"{name:<28} {sentence}")
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    command.__name__: command
    for command in (
        run,
        plan,
        extend,
        config,
        report,
        compare,
        predict,
        export,
        sharpness,
        datasets,
    )
}
