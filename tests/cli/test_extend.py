"""`blurjax extend`: a run's own settings and what is added to them; `run` does not replace results by less."""

import pytest
from command import run_here, write_settings

from blurjax import load_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with a finished run in runs/tiny of two seeds and two views, whose data were named from there."""
    place = tmp_path_factory.mktemp("extend")
    views = ["original", "reconstruction"]
    settings = write_settings(place, sweep__num_seeds=2, views__train=views, views__test=views)
    finished = run_here("run", settings.name, "--data.source", "npz:stripes.npz", cwd=place)
    assert finished.returncode == 0, finished.stderr
    return place


def blurjax(place, *arguments):
    return run_here(*arguments, cwd=place)


def test_less_is_refused_by_run_and_by_its_plan(place):
    before = (place / "runs/tiny/report.html").read_bytes()
    for dry in ([], ["--dry-run"]):
        refused = blurjax(place, "run", "tiny.yaml", "--sweep.num_seeds", 1, *dry)
        assert refused.returncode == 2
        assert refused.stderr == (
            "blurjax: runs/tiny has results of more than is asked for: seeds 1. `blurjax extend runs/tiny` adds to "
            "them; or name another directory with --out.\n"
        )
    assert (place / "runs/tiny/report.html").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extend", "runs"], "runs is not a run of blurjax"),
        (["extend", "nowhere"], "nowhere is not a run of blurjax"),
        (["extend", "runs/tiny", "--sweep.bottleneck", 8], "codes of at most 4 floats, and those for 8"),
        (["extend", "runs/tiny", "--classifier.epochs", 9], "classifier.epochs = 3, not 9"),
        (["extend", "runs/tiny", "--sweep.num_seeds", 1], "more than is asked for: seeds 1"),
        (["run", "tiny.yaml", "--out", ".", "--dry-run"], ". is not empty and not a run of blurjax"),
        (["run", "tiny.yaml", "--out", "tiny.yaml", "--dry-run"], "tiny.yaml"),
    ],
)  # fmt: skip
def test_mistakes(place, arguments, message):
    refused = blurjax(place, *arguments)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_run_is_continued_from_any_directory(place, tmp_path):
    elsewhere = run_here("extend", place / "runs/tiny", "--dry-run", cwd=tmp_path)
    assert "everything is trained" in elsewhere.stdout, elsewhere.stderr


def test_seeds_views_and_points_are_added(place):
    planned = blurjax(place, "extend", "runs/tiny", "--dry-run")
    assert planned.stdout.splitlines()[-1].startswith("  everything is trained")
    more = ("--sweep.num_seeds", 3, "--views.train", "blur", "--sweep.bottleneck", 2)
    extended = blurjax(place, "extend", "runs/tiny", *more)
    assert extended.returncode == 0, extended.stderr
    plan = [line.split() for line in extended.stdout.splitlines()[1:5]]
    assert [" ".join(line) for line in plan] == [
        "autoencoders: 6 models x 18 steps (2 trained already)",
        "classifiers on original: 3 models x 18 steps (2 trained already)",
        "classifiers on reconstruction: 6 models x 18 steps (2 trained already)",
        "classifiers on blur: 6 models x 18 steps",
    ]
    held = load_run(place / "runs/tiny")
    assert held.config.train_views == ("original", "reconstruction", "blur")
    assert held.config.test_views == ("original", "reconstruction")
    assert [point["trials"] for point in held.results["points"]] == [[0, 1, 2]] * 2
    assert [point["values"]["bottleneck"] for point in held.results["points"]] == [4, 2]
