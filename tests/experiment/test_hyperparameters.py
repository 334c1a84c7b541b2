"""From trials and settings to the values that a trial has on the device."""

import numpy as np
import pytest

from blurjax.config.settings import AutoencoderConfig, ClassifierConfig
from blurjax.config.trials import Trial
from blurjax.experiment.networks import hyperparameters_of


def assert_values(found, **expected):
    assert found._asdict() == expected
    types = tuple(type(value) for value in found)
    assert types == (np.uint32, np.float32, np.float32, np.int32, np.int32)


@pytest.mark.parametrize(("fold", "members"), [(None, 0), (0, 1), (4, 5)])
def test_an_autoencoder_has_the_settings_values_and_its_fold(fold, members):
    training = AutoencoderConfig(learning_rate=0.25, weight_decay=0.5)
    expected = {"seed": 3, "learning_rate": 0.25, "weight_decay": 0.5, "bottleneck": 8}
    assert_values(hyperparameters_of(Trial(3, 8, fold), training), **expected, members=members)


def test_a_classifier_has_values_of_its_own():
    training = ClassifierConfig(learning_rate=0.25, weight_decay=0.5)
    expected = {"learning_rate": 0.125, "weight_decay": 0.0, "bottleneck": 0, "members": 0}
    trial = Trial(2**31 - 1, None, None, 0.125, 0.0)
    assert_values(hyperparameters_of(trial, training), seed=2**31 - 1, **expected)


def test_a_reseeded_classifier_has_another_seed_that_no_setting_can_name():
    training, trial = ClassifierConfig(), Trial(2**31 - 1, 4, None, 0.125, 0.5)
    plain, reseeded = (hyperparameters_of(trial, training, reseeded=r) for r in (False, True))
    assert reseeded == plain._replace(seed=2**32 - 1)
    assert reseeded.seed.dtype == "uint32"
