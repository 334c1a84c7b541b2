"""What the detector sees of a region."""

import numpy as np
import pytest

from blurjax.sharpness.features import (
    LEVELS,
    REGION,
    STATISTICS,
    region_features,
    region_starts,
    turned_and_mirrored,
)


def described(region):
    return np.asarray(region_features(region[None]))[0]


@pytest.fixture
def region(rng):
    return rng.random((REGION, REGION), np.float32)


def test_a_slope_has_the_differences_of_a_slope():
    slope = np.tile(np.linspace(0, 0.62, REGION, dtype=np.float32), (REGION, 1))
    found = np.exp(described(slope)[2:14].reshape(4, 3) * 1.5 - 4) - 0.5 / 255
    step = 0.02
    assert found[0] == pytest.approx([step] * 3, abs=1e-4)  # mean, root mean square, largest
    assert found[1] == pytest.approx([2 * step] * 3, abs=1e-4)  # two pixels apart
    assert found[2] == pytest.approx([0] * 3, abs=1e-4)  # the second difference


def test_turning_a_region_turns_its_directions(region):
    found, turned = (
        described(x)[2:].reshape(LEVELS, 4, 9) for x in (region, np.rot90(region).copy())
    )
    assert turned[:, [1, 0, 3, 2]] == pytest.approx(found, abs=1e-4)


def test_mirrored_regions_differ_in_the_diagonals_alone(region):
    found, mirrored = (
        described(x)[2:].reshape(LEVELS, 4, 9) for x in (region, region[:, ::-1].copy())
    )
    assert mirrored[:, [0, 1, 3, 2]] == pytest.approx(found, abs=1e-4)


def test_features_of_turned_and_mirrored_images_follow_from_one_another(region):
    ways = np.asarray(turned_and_mirrored(described(region)[None]))[:, 0]
    assert np.array_equal(ways[0], described(region))
    for way, image in ((1, region[:, ::-1]), (2, np.rot90(region)[::-1]), (3, np.rot90(region))):
        assert ways[way] == pytest.approx(described(image.copy()), abs=1e-4)


def test_flat_regions_have_finite_features():
    found = described(np.full((REGION, REGION), 0.3, np.float32))
    assert len(found) == STATISTICS
    assert np.abs(found).max() < 3


@pytest.mark.parametrize("size", [32, 33, 64, 95, 768])
def test_regions_cover_an_axis_evenly(size):
    starts = region_starts(size)
    assert starts[0] == 0
    assert starts[-1] == size - REGION
    assert len(starts) == -(-size // REGION)
    assert (np.diff(starts) <= REGION).all()
