"""The training that is left, by the plan and by what is seen of it."""

import math

import pytest

from blurjax.config import Trial
from blurjax.experiment.plan import Plan, Stage
from blurjax.experiment.progress import TrainingLeft, mean_and_spread
from blurjax.train.jobs import Job
from blurjax.train.metric_writers import Progress

TRIALS = tuple(Trial(seed) for seed in range(2))
AUTOENCODERS = Job("autoencoder/job-0", TRIALS)
CLASSIFIERS = Job("classifier/original/job-1", TRIALS)


def plan(seconds=(0.3, 0.2), done=0):
    """Two trials of 100 steps in each stage, of 0.3 and 0.2 seconds: 60 and 40 in all."""
    steps = {CLASSIFIERS.name: done} if done else {}
    stages = (
        Stage("autoencoders", "autoencoder", 2, 0, 0, 100, 200, seconds[0]),
        Stage("classifiers", "classifier/original", 2, 0, 0, 100, 200 - 2 * done, seconds[1]),
    )
    return Plan("", (), "", stages, 0, True, 0, steps, None)


def epoch(job, number, seconds_left):
    """After so many of 4 epochs of 25 steps."""
    return Progress(job, number, 4, 0.0, seconds_left, 0, {"step": 25 * number})


def test_at_first_the_plan_says_it():
    share, seconds = TrainingLeft(plan()).update(epoch(AUTOENCODERS, 1, 500.0))  # it was compiled
    assert share == pytest.approx(0.15)
    assert seconds == pytest.approx(45 + 40)


def test_then_what_its_section_takes_corrects_it():
    left = TrainingLeft(plan())
    left.update(epoch(AUTOENCODERS, 1, 500.0))
    share, seconds = left.update(epoch(AUTOENCODERS, 2, 60.0))  # twice as long as planned
    assert share == pytest.approx(0.3)
    assert seconds == pytest.approx(60 + 2 * 40)
    left.update(epoch(AUTOENCODERS, 4, 0.0))
    left.update(epoch(CLASSIFIERS, 1, 99.0))
    share, seconds = left.update(epoch(CLASSIFIERS, 3, 4.0))  # 10 s were planned
    assert share == pytest.approx(0.9)
    assert seconds == pytest.approx(4)
    assert left.update(epoch(CLASSIFIERS, 4, 0.0)) == (pytest.approx(1), pytest.approx(0))


def test_a_job_that_is_continued_has_less_left():
    left = TrainingLeft(plan(done=50))
    left.update(epoch(AUTOENCODERS, 4, 0.0))
    share, _ = left.update(epoch(CLASSIFIERS, 3, 1.0))
    assert share == pytest.approx((60 + 10) / 80)


def test_a_job_that_lost_epochs_in_a_crash_has_more_left():
    left = TrainingLeft(plan(done=75))
    share, _ = left.update(epoch(CLASSIFIERS, 1, 1.0))
    assert share == 0
    left.update(epoch(AUTOENCODERS, 4, 0.0))
    share, seconds = left.update(epoch(CLASSIFIERS, 4, 0.0))
    assert (share, seconds) == (pytest.approx(1), pytest.approx(0))


def test_where_no_step_was_timed_all_count_the_same():
    left = TrainingLeft(plan(seconds=(math.nan, math.nan)))
    share, _ = left.update(epoch(AUTOENCODERS, 2, 1.0))
    assert share == pytest.approx(0.25)


@pytest.mark.filterwarnings("error")
def test_frozen_trials_are_not_in_the_mean():
    assert mean_and_spread([0.5, math.nan, 0.7]) == (pytest.approx(0.6), pytest.approx(0.1))
    one, spread = mean_and_spread([math.nan, 0.7])
    assert (one, math.isnan(spread)) == (0.7, True)
    assert all(math.isnan(value) for value in mean_and_spread([math.nan, math.nan]))
