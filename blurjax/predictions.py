"""What the trained models make of the test split, on disk: predictions/*.npz (docs/run_directory.md)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from blurjax.evaluate import merge_rows
from blurjax.models import forward
from blurjax.run_directory import read_npz, write_npz
from blurjax.stages import Context, Models
from blurjax.train import Interrupted
from blurjax.trials import autoencoder_of, autoencoder_trials, classifier_trials
from blurjax.types import Array, Params, Trial
from blurjax.views import NEEDS_CODE, eight_bit

Arrays = dict[str, np.ndarray]


def write_reconstruction_quality(context: Context, autoencoders: Models) -> None:
    """reconstruction-<split>.npz, for each split."""
    programs, examples = context.programs, context.examples
    for split, positions in (examples.measured | {"test": examples.splits["test"]}).items():

        def measure(rows: list[Trial], positions: np.ndarray = positions) -> Arrays:
            models = [autoencoders[trial] for trial in rows]
            params = programs.place_rows([model.params for model in models])
            bottlenecks = programs.place(rows).bottleneck
            program = programs.evaluate_autoencoder
            measured = context.dispatch(program, params, bottlenecks, positions, len(rows))()
            failed = np.array([model.failed_step for model in models], np.int32)
            return {"mse": measured["mse"], "ssim": measured["ssim"], "failed_step": failed}

        _add_missing_rows(context, f"reconstruction-{split}", list(autoencoders), measure, {})


def write_predictions(
    context: Context, classifiers: dict[str, Models], autoencoders: Models
) -> None:
    """<train view>-on-<test view>.npz, for each pair."""
    test = context.programs.dataset.splits["test"]
    examples = {
        "label": test.labels,
        "index": np.arange(len(test.labels), dtype=np.int32),
        "name": np.array(test.names, dtype=np.str_),
    }
    views = context.config.views
    for train_view, test_view in itertools.product(views.train, views.test):
        needs_code = bool({train_view, test_view} & NEEDS_CODE)

        def predict(
            rows: list[Trial], train_view: str = train_view, test_view: str = test_view
        ) -> Arrays:
            return _predict(
                context, train_view, test_view, classifiers[train_view], autoencoders, rows
            )

        wanted = classifier_trials(context.config, needs_code=needs_code)
        _add_missing_rows(context, f"{train_view}-on-{test_view}", wanted, predict, examples)


def _predict(
    context: Context,
    train_view: str,
    test_view: str,
    classifiers: Models,
    autoencoders: Models,
    rows: list[Trial],
) -> Arrays:
    """What the classifiers of one train view say of the test split in one view."""
    programs = context.programs
    painters = [autoencoders[autoencoder_of(row, context.config)] for row in rows]
    models = [
        classifiers[row if train_view in NEEDS_CODE else row._replace(bottleneck=0)] for row in rows
    ]
    parameters = programs.view_parameters(
        test_view,
        programs.place(rows),
        programs.place_rows([painter.params for painter in painters]),
    )
    predicted = context.dispatch(
        programs.evaluate_classifier,
        programs.place_rows([model.params for model in models]),
        parameters,
        context.examples.splits["test"],
        len(rows),
    )()
    failed = [
        max(model.failed_step, painter.failed_step if row.bottleneck else -1)
        for row, model, painter in zip(rows, models, painters, strict=True)
    ]
    return predicted | {"failed_step": np.array(failed, np.int32)}


def write_gallery(context: Context, autoencoders: Models) -> None:
    """gallery.npz: test images of all classes in turn, and their reconstructions at every bottleneck."""
    config, test = context.config, context.programs.dataset.splits["test"]
    by_rank_in_class = np.argsort(_rank_in_class(test.labels), kind="stable")
    chosen = by_rank_in_class[: config.report.gallery]
    chosen = chosen[np.argsort(test.labels[chosen], kind="stable")]
    images = np.asarray(test.images[chosen])

    @jax.jit
    def paint(params: Params, bottleneck: Array) -> Array:
        as_floats = jnp.asarray(images).astype(jnp.float32) / 255.0
        painted = forward(context.programs.autoencoder, params, as_floats, bottleneck)
        return jnp.round(eight_bit(painted) * 255).astype(jnp.uint8)

    trials = [trial for trial in autoencoder_trials(config) if trial.seed == config.seeds[0]]
    painted = [np.asarray(paint(autoencoders[trial].params, trial.bottleneck)) for trial in trials]
    write_npz(
        context.run / "predictions" / "gallery.npz",
        original=images,
        reconstruction=np.stack(painted),
        bottleneck=np.array([trial.bottleneck for trial in trials], np.int32),
        label=test.labels[chosen],
        name=np.array([test.names[i] for i in chosen], dtype=np.str_),
    )


def _add_missing_rows(
    context: Context,
    name: str,
    wanted: Sequence[Trial],
    evaluate: Callable[[list[Trial]], Arrays],
    examples: Arrays,
) -> None:
    """Evaluates the trials that a prediction file lacks and appends them to it.

    Args:
      context: the run.
      name: of the file, without .npz.
      wanted: what the rows should be.
      evaluate: trials -> arrays with a leading axis of trials.
      examples: arrays without one, the same for all rows.
    """
    path = context.run / "predictions" / f"{name}.npz"
    old = read_npz(path) if path.exists() else None
    missing = list(wanted)
    if old is not None:
        columns = [old[field].tolist() for field in Trial._fields]
        known = {Trial(*row) for row in zip(*columns, strict=True)}
        missing = [trial for trial in wanted if trial not in known]
    if not missing:
        return
    columns = Trial(*(np.array(column) for column in zip(*missing, strict=True)))
    new = evaluate(missing) | columns._asdict() | examples
    write_npz(path, **(new if old is None else merge_rows(old, new, frozenset(examples))))
    if context.interrupted():
        raise Interrupted


def _rank_in_class(labels: np.ndarray) -> np.ndarray:
    """How many examples of the same class come before each."""
    ranks = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ranks[members] = np.arange(len(members))
    return ranks
