"""Compressed views in an experiment: as Pillow decodes them, fitted, kept, continued, refused."""

import shutil
from functools import partial

import numpy as np
import pytest
from same import assert_same_run
from tiny import config

from blurjax import run_experiment
from blurjax.config.trials import Trial
from blurjax.experiment import fingerprints, preparation
from blurjax.experiment.preparation import prepare
from blurjax.runtime.errors import Interrupted, UserError
from blurjax.runtime.files import read_npz, write_npz
from blurjax.runtime.run_directory import RunDirectory
from blurjax.views.codecs import round_trip

BEFORE = {"views__train": ["original"], "views__test": ["original", "reconstruction"]}
VIEWS = {
    "views__train": ["original", "jpeg", "quantised"],
    "views__test": ["original", "reconstruction", "jpeg", "webp", "quantised"],
}
TARGETS = {0: 0.004, 1: 0.0015, 2: 0.0039}
"""Mean squared errors that are put in place of the reconstructions', which hardly trained autoencoders do not reach."""


@pytest.fixture(scope="module")
def before(source, tmp_path_factory):
    """A finished run without compressed views."""
    out = tmp_path_factory.mktemp("before") / "run"
    run_experiment(config(source, **BEFORE), out)
    return out


def put_targets(run):
    path = run / "predictions" / "quality-reconstruction-validation.npz"
    measured = read_npz(path)
    for row, key in enumerate(measured["trial"].tolist()):
        measured["mse"][row] = TARGETS[Trial.from_key(key).seed]
    write_npz(path, **measured)
    return run


@pytest.fixture(scope="module")
def finished(source, before, tmp_path_factory):
    out = put_targets(shutil.copytree(before, tmp_path_factory.mktemp("finished") / "run"))
    return out, run_experiment(config(source, **VIEWS), out)


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_views_are_what_pillow_decodes_and_their_distortions_enclose_the_targets(
    finished, source, codec
):
    out, results = finished
    _, dataset = prepare(config(source, **VIEWS))
    fitted = read_npz(out / "views" / f"{codec}.npz")
    assert fitted["reachable"].all()
    assert fitted["quality"][0] == pytest.approx(fitted["quality"][2], abs=2)
    assert fitted["quality"][0] < fitted["quality"][1]
    validation, test = (dataset.splits[split] for split in ("validation", "test"))
    measured = read_npz(out / "predictions" / f"quality-{codec}-validation.npz")["mse"]
    for row, quality in enumerate(fitted["quality"].tolist()):
        decoded, sizes = round_trip(dataset.images, codec, quality)
        kept = read_npz(out / "views" / f"{codec}-{quality}.npz")
        np.testing.assert_array_equal(kept["image"], decoded)
        np.testing.assert_array_equal(kept["bytes"], sizes)
        assert fitted["bytes"][row] == pytest.approx(sizes[test].mean())
        error = np.square((decoded.astype(float) - dataset.images) / 255).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(measured[row], error[validation], rtol=1e-5)
        target = TARGETS[row]
        around = [
            np.square(
                (
                    round_trip(dataset.images[validation], codec, q)[0].astype(float)
                    - dataset.images[validation]
                )
                / 255
            ).mean()
            for q in (quality - 1, quality, quality + 1)
        ]
        assert around[0] > target > around[2]
        nearest = np.abs(np.log(np.array(around) / target)).argmin()
        assert nearest == 1
    (point,) = results["points"]
    size = point["sizes"][codec]
    assert size["quality"]["per_trial"] == fitted["quality"].tolist()
    assert size["reachable"] == [True, True, True]
    assert size["bytes"]["per_trial"] == pytest.approx(fitted["bytes"].tolist())
    assert size["bits_per_pixel"]["mean"] == pytest.approx(fitted["bytes"].mean() / 8)


def test_gallery_shows_what_the_codecs_leave(finished, source):
    out, _ = finished
    _, dataset = prepare(config(source, **VIEWS))
    gallery = read_npz(out / "predictions" / "gallery.npz")
    for codec in ("jpeg", "webp"):
        quality = read_npz(out / "views" / f"{codec}.npz")["quality"][0]
        shown = gallery["views"][0, gallery["view_names"].tolist().index(codec)]
        positions = [dataset.names.index(name) for name in gallery["name"].tolist()]
        np.testing.assert_array_equal(
            shown, round_trip(dataset.images[positions], codec, int(quality))[0]
        )


def test_a_quantised_code_takes_a_byte_a_float_and_loses_little(finished):
    out, results = finished
    (point,) = results["points"]
    assert point["sizes"]["quantised"] == {
        "bytes": {"mean": 4.0, "per_trial": [4.0] * 3},
        "bits_per_pixel": {"mean": 0.5, "per_trial": [0.5] * 3},
    }
    ranges = read_npz(out / "views" / "quantised.npz")
    assert (ranges["low"] < ranges["high"]).all()
    psnr = [
        point["quality"][v]["psnr"]["test"]["per_trial"] for v in ("quantised", "reconstruction")
    ]
    assert psnr[0] == pytest.approx(psnr[1], abs=0.05)
    assert psnr[0] != psnr[1]


def test_stopped_or_killed_and_continued_equals_uninterrupted(
    finished, before, source, tmp_path, monkeypatch
):
    out = put_targets(shutil.copytree(before, tmp_path / "run"))
    go_on = partial(run_experiment, config(source, **VIEWS), out)

    def has_rows(codec, count):
        path = out / "views" / f"{codec}.npz"
        return path.exists() and len(read_npz(path)["trial"]) == count

    with pytest.raises(Interrupted):
        go_on(interrupted=lambda: has_rows("jpeg", 1))

    def killed(run, path, /, **arrays):
        if path.name == "webp.npz":  # when the images are written and the trial's row is not
            raise KeyboardInterrupt
        write_npz(path, **arrays)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "write_npz", killed)
        with pytest.raises(KeyboardInterrupt):
            go_on()
    assert has_rows("jpeg", 3)
    assert [*(out / "views").glob("webp-*.npz")]
    go_on()
    assert_same_run(finished[0], out)


@pytest.mark.slow
def test_a_trial_of_a_sweep_equals_the_trial_alone(finished, source, tmp_path):
    own = {"sweep__first_seed": 1, "sweep__num_seeds": 1}
    run_experiment(config(source, **BEFORE, **own), tmp_path / "run")
    alone = run_experiment(config(source, **VIEWS, **own), put_targets(tmp_path / "run"))
    for train_view, cells in finished[1]["points"][0]["loss"].items():
        for test_view, cell in cells.items():
            own = alone["points"][0]["loss"][train_view][test_view]["per_trial"]
            assert own == [cell["per_trial"][1]], (train_view, test_view)
    assert {path.name for path in (tmp_path / "run" / "views").glob("jpeg-*")} < {
        path.name for path in (finished[0] / "views").glob("jpeg-*")
    }


def test_images_that_were_removed_are_made_again(finished, source, tmp_path):
    out = shutil.copytree(finished[0], tmp_path / "run")
    kept = {path.name: path.read_bytes() for path in (out / "views").glob("*-*.npz")}
    assert len(kept) >= 4
    for name in kept:
        (out / "views" / name).unlink()
    run_experiment(config(source, **VIEWS), out)
    assert {path.name: path.read_bytes() for path in (out / "views").glob("*-*.npz")} == kept


def test_another_codec_is_refused(finished, source, monkeypatch):
    monkeypatch.setattr(fingerprints.codecs, "pattern", lambda codec, shape: codec.encode())
    with pytest.raises(UserError, match="made with other code of the view jpeg"):
        run_experiment(config(source, **VIEWS), finished[0])


def test_images_that_are_streamed_cannot_be_compressed(source, tmp_path):
    settings = config(source, **VIEWS, data__resident_limit=1e-6)
    with pytest.raises(
        UserError, match=r"jpeg and webp keep images on the devices, but these are streamed"
    ):
        run_experiment(settings, tmp_path / "run")


def test_more_qualities_than_the_devices_hold_are_refused(finished, source):
    size = 120 * 64 / 2**30
    settings = config(source, **VIEWS, data__resident_limit=1.5 * size)
    with pytest.raises(
        UserError, match=r"at \d qualities, take .* GiB .* more than data.resident_limit"
    ):
        run_experiment(settings, finished[0])


def test_a_codec_that_pillow_lacks_is_named(source, monkeypatch):
    monkeypatch.setattr(preparation, "is_available", lambda codec: codec != "webp")
    with pytest.raises(
        UserError, match=r"This Pillow was built without webp; .* leave the view webp out"
    ):
        prepare(config(source, **VIEWS))


def test_a_blur_that_is_added_later_is_fitted(before, source, tmp_path):
    """The file of fitted views holds a row of the trials already, without a sigma."""
    out = shutil.copytree(before, tmp_path / "run")
    assert (read_npz(out / "views" / "fitted.npz")["sigma"] == 0).all()
    added = BEFORE | {"views__test": ["original", "reconstruction", "blur"]}
    (point,) = run_experiment(config(source, **added), out)["points"]
    assert point["blur"]["reachable"] == [True, True, True]
    ours, theirs = (
        point["quality"][view]["psnr"]["validation"]["per_trial"]
        for view in ("blur", "reconstruction")
    )
    assert ours == pytest.approx(theirs, abs=0.1)
