"""The command line: arguments only. Heavy imports happen inside the commands, so that --help answers at once."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from blurjax.config import settings
from blurjax.runtime.errors import UserError
from blurjax.runtime.stop import INTERRUPTED, TERMINATED, StopRequest

ALL_FAILED, USER_ERROR = 1, 2
"""Exit codes: of an experiment all of whose trials failed, and of a mistake; those of signals are in stop.py."""
DEFAULT_PRESET = "digits"

DESCRIPTION = """\
Does a classifier learn better or worse from an autoencoder's reconstructions, and why?

blurjax trains autoencoders and classifiers of many seeds in one compiled program, tests every train view on every
test view, and writes what it found, with intervals, into one page."""

EXAMPLES = """\
examples:
  blurjax run                                  the digits that ship with scikit-learn, offline
  blurjax run scenes --data.source folder:PHOTOS --out runs/photos
  blurjax run --data.source tfds:fashion_mnist --sweep.num_seeds 5 --dry-run
  blurjax report runs/photos
  blurjax datasets"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        if message.startswith("unrecognized arguments: "):
            unknown = message.removeprefix("unrecognized arguments: ").split()[0]
            key = unknown.lstrip("-").split("=")[0].replace("-", "_")
            known = [name.lstrip("-").replace("-", "_") for name in _options(self)]
            raise UserError(
                settings.unknown_key(key, known)
                if unknown.startswith("-")
                else f"Unexpected {unknown}."
            )
        raise UserError(f"{message[0].upper()}{message[1:]}.")


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The names of all options, those of its commands too."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _options(command)


def make_parser() -> argparse.ArgumentParser:
    """All commands and options."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = Parser(
        "blurjax", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=raw, allow_abbrev=False
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    run = commands.add_parser(
        "run",
        help="run an experiment, or continue one",
        description="Run an experiment; on an existing directory, continue it and add what is missing.",
        usage="blurjax run [PRESET | FILE.yaml] [--out DIR] [--dry-run] [--SECTION.SETTING VALUE ...]",
        allow_abbrev=False,
    )
    run.add_argument("preset", nargs="?", help=f"{', '.join(settings.presets())}, or a YAML file")
    run.add_argument(
        "--out", type=Path, metavar="DIR", help="the run directory (default: runs/PRESET)"
    )
    run.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    run.add_argument(
        "--take-over",
        "--take_over",
        action="store_true",
        help="continue a directory whose owner on another machine is gone, without waiting until that is certain",
    )
    run.add_argument(
        "--deterministic",
        dest="compute.deterministic",
        action="store_const",
        const="true",
        default=argparse.SUPPRESS,
        help="the same as --compute.deterministic true",
    )
    _add_processes(run)
    _add_settings(run)
    run.set_defaults(function=run_command)

    report = commands.add_parser(
        "report", help="make results, figures and page of a run again", allow_abbrev=False
    )
    report.add_argument("directory", type=Path, metavar="DIR", help="a run directory")
    report.set_defaults(function=report_command)

    datasets = commands.add_parser(
        "datasets", help="what can be named, and what is there", allow_abbrev=False
    )
    datasets.add_argument(
        "--data_dir", "--data-dir", type=Path, help="where prepared TFDS data sets lie"
    )
    datasets.set_defaults(function=datasets_command)

    for command in (run, report, datasets):
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _add_processes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "several processes",
        "Each with devices of its own, all started with the same command; the run directory must lie where all see it.",
    )
    group.add_argument(
        "--distributed",
        action="store_true",
        help="run together with the other processes that SLURM, Open MPI or a TPU slice has started",
    )
    group.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="elsewhere: where process 0 waits for the others",
    )
    group.add_argument(
        "--num-processes", "--num_processes", type=int, metavar="N", help="how many they are"
    )
    group.add_argument(
        "--process-id", "--process_id", type=int, metavar="I", help="which one this is, from 0"
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """One option per setting, named by its dotted key, with underscores or dashes."""
    groups: dict[str, Any] = {}
    for key, field in settings.fields():
        section = key.split(".")[0]
        group = groups.setdefault(
            section, parser.add_argument_group(section) if section not in groups else None
        )
        names = [f"--{key}"] + ([f"--{key.replace('_', '-')}"] if "_" in key else [])
        default = field.default
        is_list = isinstance(default, tuple)
        shown = " ".join(map(str, default)) if is_list else default
        group.add_argument(
            *names,
            dest=key,
            nargs="*" if is_list else None,
            default=argparse.SUPPRESS,
            metavar=key.split(".")[1].upper(),
            help=f"{field.description}"
            + (f" [{shown}]" if shown not in (None, "") else "").replace("%", "%%"),
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point `blurjax`; exits with one of the codes above."""
    try:
        code = _main(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:
        code = INTERRUPTED
    raise SystemExit(code)


def _main(arguments: list[str]) -> int:
    debug, parsed = "--debug" in arguments, argparse.Namespace()
    try:
        parsed = make_parser().parse_args(arguments)
        if parsed.version:
            from importlib.metadata import version

            print(f"blurjax {version('blurjax')}")
            return 0
        if parsed.command is None:
            make_parser().print_help()
            return 0
        return parsed.function(parsed)
    except UserError as error:
        if debug:
            raise
        print(f"blurjax: {error}", file=sys.stderr, flush=True)
        if getattr(parsed, "distributed", False):
            os._exit(USER_ERROR)  # the other processes would wait for an orderly end
        return USER_ERROR


def run_command(parsed: argparse.Namespace) -> int:
    """`blurjax run`."""
    overrides = {key: getattr(parsed, key) for key, _ in settings.fields() if hasattr(parsed, key)}
    preset = parsed.preset
    if preset is None and "data.source" not in overrides:
        preset = DEFAULT_PRESET
    config = settings.load(preset, overrides)
    parsed.distributed |= parsed.coordinator is not None
    with StopRequest() as stop:
        return _run(parsed, preset, config, stop)


def _run(
    parsed: argparse.Namespace, preset: str | None, config: settings.Config, stop: StopRequest
) -> int:
    from blurjax.cli import terminal
    from blurjax.experiment import run as experiment
    from blurjax.experiment.plan import make_plan
    from blurjax.runtime import processes
    from blurjax.train.loop import AllTrialsFailed, Interrupted

    terminal.prepare_jax(config.compute)
    terminal.log_to_terminal()
    if parsed.distributed:
        processes.connect(parsed.coordinator, parsed.num_processes, parsed.process_id)
    name = Path(preset).stem if preset else terminal.slug(config.data.source)
    out = parsed.out or Path("runs") / name
    dataset, config = experiment.load(config)
    terminal.say(make_plan(config, dataset, out))
    if parsed.dry_run:
        return 0
    stop.save_first()
    try:
        experiment.run_experiment(
            config,
            out,
            dataset=dataset,
            progress=terminal.ProgressLine(),
            interrupted=stop,
            take_over=parsed.take_over,
        )
    except Interrupted:
        terminal.say("Stopped; everything is saved, and the same command continues it.")
        return stop.exit_code or TERMINATED
    except AllTrialsFailed as error:
        print(f"blurjax: {error}", file=sys.stderr)
        return ALL_FAILED
    terminal.say(f"The report is {out / 'report.html'}")
    return 0


def report_command(parsed: argparse.Namespace) -> int:
    """`blurjax report`."""
    from blurjax.report.page import make_report

    make_report(parsed.directory)
    print(f"The report is {parsed.directory / 'report.html'}")
    return 0


def datasets_command(parsed: argparse.Namespace) -> int:
    """`blurjax datasets`."""
    from blurjax.data import sources

    for name, sentence in sources.describe(parsed.data_dir):
        print(f"{name:<28} {sentence}")
    return 0
