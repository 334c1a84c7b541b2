"""`blurjax export`: what it writes, says and refuses."""

import pytest
from command import run_here, write_settings

from blurjax.runtime import read_npz

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with a finished run in runs/tiny."""
    place = tmp_path_factory.mktemp("export")
    settings = write_settings(place, views__train=["original", "reconstruction"])
    finished = run_here("run", settings.name, cwd=place)
    assert finished.returncode == 0, finished.stderr
    return place


def export(place, *arguments):
    return run_here("export", "runs/tiny", *arguments, cwd=place)


def test_a_view_and_the_models(place):
    written = export(place, "--view", "reconstruction", "--out", "new/r.npz", "--seed", "2")
    assert (written.returncode, written.stdout) == (0, "Written: new/r.npz\n"), written.stderr
    assert read_npz(place / "new/r.npz")["image"].shape == (120, 8, 8, 1)
    written = export(place, "--models", "new/m.safetensors")
    assert written.returncode == 0, written.stderr
    assert (place / "new/m.safetensors").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "One of the arguments --view --models is required."),
        (["--view", "reconstruction"], "--view needs a place to write to; name --out FILE.npz"),
        (["--models", "m.safetensors", "--seed", "1", "--out", "x"], "leave --out and --seed out."),
        (["--view", "blur", "--out", "b.npz"], "has no view blur; name one of original, reconst"),
        (["--view", "original", "--out", "runs"], "runs exists already, and nothing is replaced"),
    ],
)
def test_mistakes(place, arguments, message):
    refused = export(place, *arguments)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
