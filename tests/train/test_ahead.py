"""The host stays a few chunks ahead of the devices, so that memory holds whatever an epoch is long."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blurjax.config.trials import Trial
from blurjax.runtime.run_directory import RunDirectory
from blurjax.train.evaluation import dispatch
from blurjax.train.feed import AHEAD, Chunk
from blurjax.train.jobs import Job
from blurjax.train.loop import Training, train
from blurjax.train.metric_writers import MetricsFile
from blurjax.train.state import Hyperparameters, TrainState

CHUNKS = 8


@jax.jit
def slowly(x):
    """x, after some 50 ms."""
    matrix = jnp.full((400, 400), 1 / 400)
    return x + 0 * jax.lax.fori_loop(0, 60, lambda _, m: jnp.clip(m @ m, 0, 1), matrix)[0, 0]


class WatchedFeed:
    """Hands out chunks, and notes how many of the results until then were not there yet."""

    streamed = True

    def __init__(self):
        self.results, self.waiting = [], []

    def chunks(self, order, first=0):
        for start in range(first, len(order)):
            self.waiting.append(sum(not result.is_ready() for result in self.results))
            yield Chunk({}, jnp.asarray(order), start, 1)


def test_an_evaluation_waits_for_all_but_the_last_chunks():
    feed = WatchedFeed()

    def program(params, views, data, positions, start, length):
        feed.results.append(slowly(positions[None, start : start + 1].astype(jnp.float32)))
        return {"position": feed.results[-1]}

    positions = np.arange(CHUNKS * 2)
    found = dispatch(program, None, None, feed, positions, batch_size=2)()
    np.testing.assert_array_equal(found["position"], [positions])
    assert 0 < max(feed.waiting) <= AHEAD


def test_training_waits_for_all_but_the_last_chunks(tmp_path):
    feed, trial = WatchedFeed(), Trial(seed=0, bottleneck=1)
    hyperparameters = Hyperparameters(*(jnp.asarray([value]) for value in (0, 1.0, 0.0, 1, 0)))

    def init(hyperparameters):
        return TrainState(
            step=jnp.zeros(1, int),
            params=jnp.zeros(1),
            model_state={},
            opt_state=(),
            average=None,
            hyperparameters=hyperparameters,
            failed_step=jnp.full(1, -1),
        )

    def step(states, views, data, positions, start, length):
        states = states._replace(step=states.step + 1, params=slowly(states.params + 1))
        feed.results.append(states.params)
        return states, {"loss": states.params[:, None]}

    run = RunDirectory(tmp_path / "run")
    run.create()
    training = Training(
        init=init,
        order=lambda states, epoch: np.zeros((CHUNKS, 2), np.int32),
        steps=step,
        validate=lambda variables: dict,
        feed=lambda: feed,  # pyright: ignore[reportArgumentType]
        view_parameters=lambda: None,
        epochs=1,
        steps_per_epoch=CHUNKS,
        batch_size=2,
        checkpoint_seconds=1000,
        interrupted=lambda: False,
        writer=MetricsFile(run),
    )
    trained = train(Job("autoencoder/job-0", (trial,)), run, hyperparameters, training)
    assert trained.variables["params"] == pytest.approx([CHUNKS])
    assert run.metrics()[0]["loss"] == pytest.approx([np.arange(1, CHUNKS + 1).mean()])
    assert 0 < max(feed.waiting) <= AHEAD
