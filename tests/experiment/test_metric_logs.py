"""Metrics in other forms: read back, they are those of metrics.jsonl, each once, also after a crash."""

import csv
import importlib.util
import json
import struct
import sys

import numpy as np
import pytest
from command import run
from PIL import Image
from tiny import config

from blurjax.cli.arguments import make_parser
from blurjax.config import Trial
from blurjax.experiment import run_experiment
from blurjax.runtime import RunDirectory, UserError, read_npz
from blurjax.train.metric_logs import LOGS, make_log, rows
from blurjax.train.metric_writers import MetricWriter

PACKAGES = {"csv": (), "tensorboard": ("tensorboardX", "tensorboard"), "wandb": ("wandb",)}
THERE = [name for name in LOGS if all(map(importlib.util.find_spec, PACKAGES[name]))]


class Crash(Exception):
    """The process dies."""


class Recorded(MetricWriter):
    """A writer of one's own."""

    def __init__(self):
        self.epochs, self.images, self.closed = [], {}, False

    def write(self, progress):
        self.epochs.append((progress.job.name, progress.epoch))

    def write_images(self, name, images):
        self.images[name] = images

    def close(self):
        self.closed = True


@pytest.fixture(scope="module")
def logged(source, tmp_path_factory):
    """A run with all logs that dies with epochs logged after its last checkpoint, and is continued."""
    settings = config(
        source,
        autoencoder__bottleneck=None,
        sweep__bottleneck=[2, 4],
        sweep__num_seeds=2,
        views__train=["original", "reconstruction"],
        compute__checkpoint_seconds=1000,
    )
    out, recorded = tmp_path_factory.mktemp("logged") / "run", Recorded()

    def crash(progress):
        if (progress.job.name, progress.epoch) == ("classifier/original/job-0", 2):
            raise Crash

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        with pytest.raises(Crash):
            run_experiment(settings, out, progress=crash, log=THERE)
        run_experiment(settings, out, log=[*THERE, recorded])
    return RunDirectory(out, writes=False), settings, recorded


def expected(directory):
    """(stage, view, step, row, measure) -> value of all trials and means, from metrics.jsonl."""
    found = {}
    for line in directory.metrics():
        sides = {name: side for name, side in line.items() if isinstance(side, dict)}
        values = {f"{name}.{m}": v for name, side in sides.items() for m, v in side.items()}
        trials = json.loads(directory.job_file(line["job"]).read_text())["trials"]
        for measure, of_trials in ({"loss": line["loss"]} | values).items():
            for bottleneck in {trial["bottleneck"] for trial in trials}:
                of_point = []
                about = "" if bottleneck is None else f" bottleneck={bottleneck}"
                if line["stage"] == "classifier":
                    about += " learning_rate=0.001 weight_decay=0.0"
                for trial, value in zip(trials, of_trials, strict=True):
                    if trial["bottleneck"] == bottleneck:
                        of_point.append(value)
                        row = f"seed={trial['seed']}{about}"
                        found[line["stage"], line["view"], line["step"], row, measure] = value
                row = f"mean{about}"
                mean = sum(of_point) / len(of_point)
                found[line["stage"], line["view"], line["step"], row, measure] = mean
    return found


def once(pairs):
    """A dictionary of pairs, of which none may be there twice."""
    pairs = [*pairs]
    assert len({key for key, _ in pairs}) == len(pairs)
    return dict(pairs)


def word(name):
    return name.replace("=", "-").replace(" ", "_")


def read_csv(directory):
    with (directory.path / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for measure, value in [*row.items()][12:]:
                if value:
                    about = row["stage"], row["view"] or None, int(row["step"]), row["row"]
                    yield (*about, measure), float(value)


def test_csv_holds_what_metrics_jsonl_holds(logged):
    directory, _, _ = logged
    read = once(read_csv(directory))
    assert read == pytest.approx(expected(directory), rel=1e-12)
    assert len(read) > 200


def needs(name):
    if name not in THERE:
        pytest.skip(f"{' or '.join(PACKAGES[name])} is not installed: an extra")


def read_events(directory):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    root = directory.path / "tensorboard"
    for folder in sorted({path.parent for path in root.rglob("events.*")}):
        stage, _, view = folder.relative_to(root).as_posix().partition("/")
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            measure, row = tag.split("/")
            for event in events.Scalars(tag):
                yield (stage, view or None, event.step, row, measure), event.value
        for tag in events.Tags()["images"]:
            (image,) = events.Images(tag)
            yield tag, image.encoded_image_string


def test_event_files_hold_what_metrics_jsonl_holds_and_the_gallery(logged, tmp_path):
    needs("tensorboard")
    directory, _, _ = logged
    read = once(read_events(directory))
    images = {name: read.pop(name) for name in [*read] if isinstance(name, str)}
    values = {(*key[:3], word(key[3]), key[4]): v for key, v in expected(directory).items()}
    assert read == pytest.approx(values, rel=1e-6)
    for name, encoded in images.items():
        (tmp_path / f"{name}.png").write_bytes(encoded)
    check_gallery(directory, {name: tmp_path / f"{name}.png" for name in images})


def records(path):
    """The records of W&B's transaction log: LevelDB's format after seven bytes."""
    from wandb.proto import wandb_internal_pb2

    data, position, whole = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        left_in_block = 32768 - position % 32768
        if left_in_block < 7:
            position += left_in_block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or its last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def test_a_run_of_wandb_holds_what_metrics_jsonl_holds_and_the_gallery(logged):
    needs("wandb")
    directory, _, _ = logged
    begun = [path.name.split("-")[-1] for path in directory.path.glob("wandb/offline-run-*")]
    assert begun == [json.loads((directory.path / "wandb.json").read_text())["id"]] * 2
    (latest,) = (directory.path / "wandb" / "latest-run").glob("*.wandb")
    lines = directory.metrics()
    read, images = [], {}
    for record in records(latest):
        for item in record.history.item:
            (name,) = item.nested_key
            line = lines[record.history.step.num]
            group = "_".join(filter(None, (line["stage"], line["view"])))
            if name == f"{group}/epoch":
                assert json.loads(item.value_json) == line["epoch"]
            elif "/" in name:
                in_group, measure, row = name.split("/")
                assert in_group == group
                key = line["stage"], line["view"], line["step"], row, measure
                read.append((key, json.loads(item.value_json)))
        for item in record.summary.update:
            if item.key.startswith("gallery/"):
                file = json.loads(item.value_json)["path"]
                images[item.key.removeprefix("gallery/")] = latest.parent / "files" / file
    values = {(*key[:3], word(key[3]), key[4]): v for key, v in expected(directory).items()}
    assert once(read) == pytest.approx(values, rel=1e-12)
    check_gallery(directory, images)


def check_gallery(directory, files):
    gallery = read_npz(directory.gallery)
    strips = {"original": gallery["original"]} | {
        f"{view}_bottleneck-{bottleneck}": images
        for bottleneck, of_views in zip(gallery["bottleneck"], gallery["views"], strict=True)
        for view, images in zip(gallery["view_names"], of_views, strict=True)
    }
    assert files.keys() == strips.keys()
    for name, images in strips.items():
        strip = np.asarray(Image.open(files[name]).convert("L"))
        assert np.array_equal(strip, np.concatenate([*images[..., 0]], axis=1))


def test_a_writer_of_ones_own_sees_epochs_once_and_images(logged):
    directory, _, recorded = logged
    lines = directory.metrics()
    trained = [(line["job"], line["epoch"]) for line in lines if line["stage"] == "classifier"]
    assert recorded.epochs == trained  # the autoencoders were trained before
    assert {*recorded.images} == {
        "original",
        "reconstruction bottleneck=2",
        "reconstruction bottleneck=4",
    }
    assert recorded.closed


def test_a_log_is_made_of_metrics_jsonl(logged):
    directory, settings, _ = logged
    file = directory.path / "metrics.csv"
    before = file.read_bytes()
    file.unlink()
    make_log("csv", directory, settings).close()
    assert file.read_bytes() == before


def test_means_are_of_what_is_finite():
    line = {"loss": [1.0, None, 4.0], "train": {"loss": [None, None, 2.0]}}
    trials = [Trial(0, 2), Trial(1, 2), Trial(0, 8)]
    read = {row.name: row.measures for row in rows(line, trials)}
    assert read == {
        "seed=0 bottleneck=2": {"loss": 1.0},
        "seed=1 bottleneck=2": {},
        "seed=0 bottleneck=8": {"loss": 4.0, "train.loss": 2.0},
        "mean bottleneck=2": {"loss": 1.0},
        "mean bottleneck=8": {"loss": 4.0, "train.loss": 2.0},
    }


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_a_log_whose_package_is_missing_says_how_to_install_it(
    name, package, source, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"needs the package {package}.*extra \[{name}\]"):
        run_experiment(config(source), tmp_path / "run", log=[name])


def test_wandb_without_a_login_is_one_sentence(tmp_path):
    needs("wandb")
    code = (
        "from blurjax.config import Config\n"
        "from blurjax.runtime import RunDirectory\n"
        "from blurjax.train.metric_logs import make_log\n"
        "make_log('wandb', RunDirectory('.'), Config())"
    )
    environment = {"HOME": str(tmp_path), "WANDB_MODE": "online", "WANDB_API_KEY": ""}
    process = run(cwd=tmp_path, cache=tmp_path, python=("-c", code), environment=environment)
    says = "UserError: Weights & Biases does not begin a run (No API key"
    assert says in process.stderr
    assert "log in with `wandb login`, or set WANDB_MODE=offline" in process.stderr


def test_the_command_line_offers_the_logs_that_there_are(tmp_path, source):
    for name in LOGS:
        assert make_parser().parse(["run", "--log", name]).log == [name]
    process = run("run", "--log", "excel", cwd=tmp_path, cache=tmp_path)
    assert process.returncode == 2
    assert "choose from" in process.stderr
    assert all(name in process.stderr for name in LOGS)
    with pytest.raises(UserError, match="not logged to 'excel'; choose csv, tensorboard, wandb"):
        run_experiment(config(source), tmp_path / "run", log=["excel"])
