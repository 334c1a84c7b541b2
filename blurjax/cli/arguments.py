"""The commands and their options; an option for every setting is generated from the settings' fields."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import Any

from blurjax.cli.parser import Parser, PrintCompletion
from blurjax.config import loading as settings
from blurjax.runtime import expand_path

DESCRIPTION = """\
Does a classifier learn better or worse from an autoencoder's reconstructions, and why?

blurjax trains autoencoders and classifiers with many seeds in one compiled program, tests every train view on every
test view, and writes the results, with intervals, into one page."""

EXAMPLES = """\
examples:
  blurjax run                                  the digits that ship with scikit-learn, offline
  blurjax run scenes --data.source folder:PHOTOS --out runs/photos
  blurjax run --data.source tfds:fashion_mnist --sweep.num_seeds 5 --dry-run
  blurjax plan cifar10 --target tpu:v5e:1x1 gpu:h100
  blurjax extend runs/photos --sweep.num_seeds 12 --views.train jpeg
  blurjax report runs/photos
  blurjax compare runs/photos runs/wider-code
  blurjax predict runs/photos NEW_PHOTOS/
  blurjax export runs/photos --view reconstruction --out blurred/
  blurjax sharpness PHOTOS/ --html blurry.html
  blurjax datasets"""


def make_parser() -> Parser:
    """Returns the parser of all commands and options."""
    parser = Parser(
        "blurjax",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"blurjax {version('blurjax')}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", parser_class=Parser, required=True
    )
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        const=commands,
        choices=("bash", "zsh", "fish", "tcsh", "powershell"),
        help='print a script for completion, such as in ~/.bashrc: eval "$(blurjax --print-completion bash)"',
    )
    run = commands.add_parser(
        "run",
        help="run an experiment, or continue one",
        description="Run an experiment; on an existing directory, continue it and add what is missing.",
        usage="blurjax run [PRESET | FILE.yaml] [--out DIR] [--dry-run] [--SECTION.SETTING VALUE ...]",
    )
    plan = commands.add_parser(
        "plan",
        help="compile an experiment for TPUs or GPUs, also absent ones: what fits, what a step costs",
        description="Compile every program of an experiment for devices that need not be there, and print memory, "
        "costs and the least time. Nothing runs. The exit code is 1 where a program does not compile or fit.",
        usage="blurjax plan [PRESET | FILE.yaml] [--target TARGET ...] [--json] [--SECTION.SETTING VALUE ...]",
    )
    _add_plan_options(plan)
    extend = commands.add_parser(
        "extend",
        help="add seeds, views or points to a run",
        description="Continue a run with its own settings and what is added to them: a larger sweep.num_seeds, further "
        "values of views.train, views.test and sweep.*, which are added to those it has.",
        usage="blurjax extend DIR [--dry-run] [--SECTION.SETTING VALUE ...]",
    )
    extend.add_argument("directory", type=Path, metavar="DIR", help="a run directory")
    config = commands.add_parser(
        "config",
        help="print settings, with what each is, as a YAML file that `run` takes",
        description="Print all settings of a preset or file, with those named on the command line, as YAML.",
        usage="blurjax config [PRESET | FILE.yaml] [--SECTION.SETTING VALUE ...]",
    )
    report = commands.add_parser(
        "report",
        help="write the results, figures and page of a run again; an interim page where it is not finished",
    )
    report.add_argument("directory", type=Path, metavar="DIR", help="a run directory")
    compare = commands.add_parser(
        "compare",
        help="compare finished runs: a page, and a table here",
        description="Compare finished runs with the first of them: settings that differ, accuracies and costs, paired "
        "differences where test images are the same, and what may not be compared.",
        usage="blurjax compare DIR DIR ... [--out PAGE.html] [--json]",
    )
    _add_compare_options(compare)
    predict = commands.add_parser(
        "predict",
        help="classify images with the classifiers of a finished run",
        description="Classify image files with all classifiers of a view of a finished run. Files that cannot be used "
        "are named on standard error, and the exit code is then 2.",
    )
    _add_predict_options(predict)
    export = commands.add_parser(
        "export",
        help="write a run's data set in a view, or its models, for other programs",
        description="Write all splits of a finished run's data set in a view, as its classifiers saw them, or the "
        "weights of its models. Nothing is replaced.",
        usage="blurjax export DIR (--view VIEW --out FILE.npz | FOLDER [--seed N] [--bottleneck N] | "
        "--models FILE.safetensors)",
    )
    _add_export_options(export)
    sharpness = commands.add_parser(
        "sharpness",
        help="say which photographs are blurry, how much and where; move or copy them",
        description="Rate photographs with a trained detector: the probability that each is blurry, the kind and the "
        "strength of its blur. Files that cannot be read are named on standard error.",
        epilog="exit codes: 0, no photograph is blurry; 1, at least one is, moved or not; 2, a mistake, or a file that "
        "could not be read, moved or copied, whatever the others are.",
    )
    _add_sharpness_options(sharpness)
    datasets = commands.add_parser(
        "datasets", help="list the data sources and the data sets that are available"
    )
    datasets.add_argument("--data-dir", type=Path, help="directory of prepared TFDS data sets")
    for command in (config, run, plan):
        _add_preset(command)
    out = "the run directory (default: runs/PRESET)"
    run.add_argument("--out", type=expand_path, metavar="DIR", help=out)
    _add_run_options(run)
    _add_run_options(extend)
    for command in commands.choices.values():
        add_import(command)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    for command in (run, plan, extend, config):
        _add_settings(command)
    return parser


def add_import(parser: argparse.ArgumentParser) -> None:
    """Adds the option --import."""
    parser.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a module first, also from the current directory, that registers views, models, optimizers or data "
        "sources (repeatable)",
    )


def _add_compare_options(compare: argparse.ArgumentParser) -> None:
    add = compare.add_argument
    add("directories", nargs="+", type=Path, metavar="DIR", help="the directory of a finished run")
    page = "the page to write (comparison.html; with --json: none)"
    add("--out", type=expand_path, metavar="PAGE.html", help=page)
    add("--json", action="store_true", help="print everything as JSON instead of a table")


def _add_plan_options(plan: argparse.ArgumentParser) -> None:
    add = plan.add_argument
    targets = "cpu (this machine's, the default), tpu:KIND:TOPOLOGY such as tpu:v5e:1x1, gpu:KIND:COUNT as gpu:t4:2"
    add("--target", nargs="+", default=["cpu"], metavar="TARGET", help=targets)
    sizes = (
        "plan for so many images, of which validation is taken from train, instead of reading data"
    )
    names = ("TRAIN", "TEST", "CLASSES")
    add("--stand-in", nargs=3, type=int, metavar=names, help=sizes)
    add("--json", action="store_true", help="print JSON, with every number")


def _add_predict_options(predict: argparse.ArgumentParser) -> None:
    add = predict.add_argument
    add("directory", type=Path, metavar="DIR", help="the directory of a finished run")
    add("images", nargs="+", type=Path, metavar="IMAGE", help="an image file, or a folder of them")
    add("--train-view", default="original", metavar="VIEW", help="whose classifiers (original)")
    add(
        "--test-view",
        default="original",
        choices=("original", "reconstruction"),
        help="whether to show them the images, or what the autoencoders make of these (original)",
    )
    several = "of the classifiers, where the run has several"
    add("--bottleneck", type=int, metavar="N", help=f"floats of the code {several}")
    add("--learning-rate", type=float, metavar="RATE", help=several)
    add("--weight-decay", type=float, metavar="DECAY", help=several)
    labels = f"labelled images, or all, {several}"
    add("--train-examples", type=number_or_all, metavar="N", help=labels)
    output = predict.add_mutually_exclusive_group()
    output.add_argument("--csv", action="store_true", help="print CSV")
    output.add_argument("--json", action="store_true", help="print JSON, with all probabilities")


def number_or_all(text: str) -> int | str:
    """Reads labelled images as settings have them; mistakes are reported with the function's name."""
    return text if text == "all" else int(text)


def _add_export_options(export: argparse.ArgumentParser) -> None:
    add = export.add_argument
    add("directory", type=Path, metavar="DIR", help="the directory of a finished run")
    what = export.add_mutually_exclusive_group(required=True)
    what.add_argument("--view", metavar="VIEW", help="of the run, such as reconstruction")
    what.add_argument(
        "--models", type=Path, metavar="FILE.safetensors", help="the file for all models"
    )
    out = "of the view: a file FILE.npz, or else a folder of SPLIT/CLASS/IMAGE.png"
    add("--out", type=Path, metavar="PATH", help=out)
    add("--seed", type=int, metavar="N", help="of the trial that makes the view (the first)")
    several = "floats of the trial's code, where the run has several"
    add("--bottleneck", type=int, metavar="N", help=several)


def _add_sharpness_options(sharpness: argparse.ArgumentParser) -> None:
    add = sharpness.add_argument
    add("paths", nargs="+", type=Path, metavar="PATH", help="photographs, or folders with some")
    least = "the probability from which on a photograph counts as blurry (0.5)"
    add("--threshold", type=float, default=0.5, metavar="P", help=least)
    add("--top", type=int, metavar="N", help="show, move and copy the N blurriest alone")
    add("--json", action="store_true", help="print JSON instead of a table")
    add("--csv", type=Path, metavar="FILE.csv", help="also write the table there")
    page = "also write a page of small pictures that shows where they are blurry"
    add("--html", type=Path, metavar="FILE.html", help=page)
    add("--max-pixels", type=int, metavar="N", help="a larger file is not read (300 million)")
    add = sharpness.add_argument_group(
        "what to do with blurry photographs",
        "Without --yes this only says what would be done. Nothing is replaced: a name that is taken gets a number.",
    ).add_argument
    add("--move-to", type=Path, metavar="DIR", help="move them to a folder, which is not searched")
    add("--copy-to", type=Path, metavar="DIR", help="copy them to a folder, which is not searched")
    add("--yes", action="store_true", help="do it")


def _add_preset(parser: argparse.ArgumentParser) -> None:
    presets = ", ".join(settings.presets())
    parser.add_argument("preset", nargs="?", help=f"{presets}, or a YAML file")


def _add_run_options(run: argparse.ArgumentParser) -> None:
    add = run.add_argument
    add("--dry-run", action="store_true", help="print the plan and stop")
    add("--quiet", action="store_true", help="print the answer alone")
    add(
        "--log",
        action="append",
        default=[],
        choices=("csv", "tensorboard", "wandb"),
        help="write metrics and the gallery there, too (repeatable)",
    )
    add(
        "--take-over",
        action="store_true",
        help="continue a directory that another machine was writing to a moment ago, if that machine is gone",
    )
    add(
        "--accept-changed-code",
        action="store_true",
        help="continue a directory although the code of its models or views was changed; the results say so",
    )
    add(
        "--deterministic",
        dest="compute.deterministic",
        action="store_const",
        const="true",
        default=argparse.SUPPRESS,
        help="the same as --compute.deterministic true",
    )
    add = run.add_argument_group(
        "several processes",
        "All are started with the same command and have their own devices; the run directory must be visible to all.",
    ).add_argument
    add(
        "--distributed",
        action="store_true",
        help="run together with the other processes that SLURM, Open MPI or a TPU slice has started",
    )
    add(
        "--coordinator",
        metavar="HOST:PORT",
        help="without one of these: the address at which process 0 waits for the others",
    )
    add("--num-processes", type=int, metavar="N", help="number of processes")
    add("--process-id", type=int, metavar="I", help="number of this process, from 0")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds an option for every setting, named by its dotted key, in a group for every section."""
    groups: dict[str, Any] = {}
    for key, field in settings.fields():
        section = key.split(".")[0]
        if section not in groups:
            groups[section] = parser.add_argument_group(section)
        groups[section].add_argument(
            f"--{key}",
            dest=key,
            nargs="*" if isinstance(field.default, tuple) else None,
            default=argparse.SUPPRESS,
            metavar=key.rsplit(".", 1)[-1].upper(),
            help=settings.described(field).replace("%", "%%"),
        )
