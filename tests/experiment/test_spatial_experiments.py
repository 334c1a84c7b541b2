"""Experiments with a code that is a map: its sizes, the same alone as in a sweep, and codes that are refused."""

import numpy as np
import pytest
from same import final_states
from tiny import config

from blurjax import load_run, run_experiment
from blurjax.experiment.preparation import prepare
from blurjax.runtime.errors import UserError

SETTINGS = {
    "autoencoder__model__code": "spatial",
    "autoencoder__variational": 1e-3,
    "sweep__bottleneck": [16, 48],
    "sweep__num_seeds": 2,
    "views__train": ["original"],
    "views__test": ["original", "reconstruction", "pca", "quantised"],
}


@pytest.fixture(scope="module")
def finished(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    return out, run_experiment(config(source, **SETTINGS), out)


def test_the_size_of_a_code_is_all_floats_of_its_map(finished):
    out, results = finished
    for point, floats in zip(results["points"], (16, 48), strict=True):
        assert point["values"]["bottleneck"] == floats
        assert point["sizes"]["quantised"]["bytes"]["mean"] == floats
        assert point["sizes"]["quantised"]["bits_per_pixel"]["mean"] == 8 * floats / 64
        model = load_run(out).autoencoder(seed=1, bottleneck=floats)
        codes = model.encode(np.full((2, 8, 8, 1), 99, np.uint8))
        assert codes.shape == (2, floats)
        assert (codes != 0).all()


@pytest.mark.slow
def test_a_trial_alone_equals_the_same_among_others_bit_by_bit(finished, source, tmp_path):
    alone = {"sweep__bottleneck": [48], "sweep__first_seed": 1, "sweep__num_seeds": 1}
    run_experiment(config(source, **SETTINGS | alone), tmp_path / "run")
    job = "checkpoints/autoencoder/job-0"
    among = final_states(finished[0] / job)
    for name, array in final_states(tmp_path / "run" / job).items():
        np.testing.assert_array_equal(array[0], among[name][3], err_msg=name)


@pytest.mark.parametrize("model", ["conv", "residual"])
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"autoencoder__bottleneck": 40}, "autoencoder.bottleneck is 40, but .* choose 32 or 48,"),
        ({"autoencoder__bottleneck": 8}, "autoencoder.bottleneck is 8, but .* choose 16,"),
        ({"sweep__bottleneck": [16, 63]}, "sweep.bottleneck is 63, but .* choose 48 or 64,"),
        ({"autoencoder__bottleneck": 16, "autoencoder__max_bottleneck": 17},
         "autoencoder.max_bottleneck is 17, but .* choose 16 or 32,"),
    ],
)  # fmt: skip
def test_a_code_of_no_whole_channels_is_refused_with_the_nearest(source, model, changes, says):
    named = {"autoencoder__model": model, "autoencoder__model__code": "spatial"}
    with pytest.raises(UserError, match=f"{says} or another autoencoder.model.code") as caught:
        prepare(config(source, **named | changes))
    assert "a map of 4x4 pixels, which has a multiple of 16 floats" in str(caught.value)
