"""Models of the best epoch: whichever epoch it was, and wherever the run was stopped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blurjax.config.trials import Trial
from blurjax.engine import make_mesh, per_trial, place
from blurjax.runtime import Interrupted
from blurjax.runtime.run_directory import RunDirectory
from blurjax.train.feed import Chunk
from blurjax.train.jobs import Job
from blurjax.train.loop import Training, train
from blurjax.train.metric_writers import MetricsFile
from blurjax.train.state import Hyperparameters, TrainState

STEPS_PER_EPOCH = 2
ACCURACY = np.array([[0.5, 0.6], [0.8, 0.6], [0.8, 0.7], [0.5, 0.9]])
"""After each epoch, of two trials."""
TRIALS = (Trial(seed=0), Trial(seed=1))


class OneByOne:
    """Chunks of one step."""

    streamed = True

    def chunks(self, order, first=0):
        for start in range(first, len(order)):
            yield Chunk({}, jnp.asarray(order), start, 1)


def trained(out, *, select_best, questions=None):
    """Returns two trials whose parameters count the steps."""
    asked = []

    def interrupted():
        asked.append(0)
        return questions is not None and len(asked) >= questions

    def init(hyperparameters):
        count = jnp.zeros_like(hyperparameters.seed)
        params = {"steps": hyperparameters.learning_rate * 0}
        return TrainState(count, params, {}, (), None, hyperparameters, count - 1)

    def step(states, views, data, positions, start, length):
        params = {"steps": states.params["steps"] + 1}
        return states._replace(step=states.step + 1, params=params), {
            "loss": params["steps"][:, None]
        }

    def validate(variables):
        epoch = int(variables["params"]["steps"][0]) // STEPS_PER_EPOCH
        return lambda: {"validation": {"accuracy": ACCURACY[epoch - 1]}}

    run = RunDirectory(out)
    if not out.exists():
        run.create()
    training = Training(
        init=init,
        order=lambda states, epoch: np.zeros((STEPS_PER_EPOCH, 2), np.int32),
        steps=step,
        validate=validate,
        feed=OneByOne,  # pyright: ignore[reportArgumentType]
        view_parameters=lambda: None,
        epochs=len(ACCURACY),
        steps_per_epoch=STEPS_PER_EPOCH,
        batch_size=2,
        checkpoint_seconds=0,
        interrupted=interrupted,
        writer=MetricsFile(run),
        select_best=select_best,
    )
    rows = Hyperparameters(
        *(np.zeros(2, dtype) for dtype in (np.int32, np.float32, np.float32, np.int32, np.int32))
    )
    placed = place(rows, per_trial(make_mesh(2, jax.devices())))
    models = train(Job("classifier/original/job-0", TRIALS), run, placed, training)
    return models.variables["params"]["steps"], run


@pytest.fixture
def best():
    """Steps at the end of the second epoch, the first of two equals, and of the fourth."""
    return [2 * STEPS_PER_EPOCH, 4 * STEPS_PER_EPOCH]


def test_each_trial_has_the_parameters_of_its_best_epoch(tmp_path, best):
    last, run = trained(tmp_path / "last", select_best=False)
    np.testing.assert_array_equal(last, [4 * STEPS_PER_EPOCH] * 2)
    selected, own_run = trained(tmp_path / "best", select_best=True)
    np.testing.assert_array_equal(selected, best)
    assert own_run.metrics() == run.metrics()
    # From the checkpoint, with nothing left to train.
    np.testing.assert_array_equal(trained(tmp_path / "best", select_best=True)[0], best)


@pytest.mark.parametrize("questions", range(1, 8))
def test_wherever_it_is_stopped_it_continues_to_the_same_model(tmp_path, best, questions):
    with pytest.raises(Interrupted):
        trained(tmp_path / "run", select_best=True, questions=questions)
    np.testing.assert_array_equal(trained(tmp_path / "run", select_best=True)[0], best)
