"""What the stages of an experiment share: settings, programs, trained models, and tables with a row a trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from blurjax.config.loading import override
from blurjax.config.settings import Config, fitted
from blurjax.config.trials import Trial
from blurjax.engine import Array
from blurjax.experiment.programs import Programs
from blurjax.runtime import Interrupted, RunDirectory, processes, read_npz
from blurjax.train.evaluation import Evaluation, dispatch
from blurjax.train.metric_writers import MetricWriter

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Context:
    """The arguments that all stages share."""

    config: Config
    """Fitted to the data."""
    run: RunDirectory
    """Made and locked."""
    programs: Programs
    writer: MetricWriter
    """Takes what is measured."""
    interrupted: Callable[[], bool]
    """Asked after every chunk of steps and every evaluation."""

    def with_twice_the_epochs(self, section: str) -> Context:
        """Returns the same with "autoencoder" or "classifier" trained for twice the epochs."""
        epochs = getattr(self.config, section).epochs
        config = override(self.config, {f"{section}.epochs": 2 * epochs})
        old = self.programs
        programs = Programs(config, old.dataset, old.target, old.layout, old)
        return replace(self, config=config, programs=programs)

    def dispatch(
        self,
        program: Callable[..., Any],
        variables: Any,
        parameters: Any,
        positions: np.ndarray | Array,
        count: int,
    ) -> Callable[[], Evaluation]:
        """Starts an evaluation of `count` trials (the rest is padding) on the examples at positions; see `dispatch`."""
        batch_size = fitted(self.config.classifier.batch_size)
        wait = dispatch(program, variables, parameters, self.programs.feed, positions, batch_size)
        return lambda: {name: values[:count] for name, values in wait().items()}

    def complete(
        self,
        path: Path,
        wanted: Sequence[Trial],
        evaluate: Callable[[list[Trial]], Arrays],
        shared: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Evaluates the trials that a file of the run directory lacks, and adds their rows to it.

        Args:
          path: of the .npz file, which need not exist. Its column `trial` str[T] holds the keys of trials.
          wanted: what its rows should be; further ones that it has stay.
          evaluate: trials -> arrays with a leading axis of trials.
          shared: arrays without that axis, the same for all rows.

        Raises:
          Interrupted: after writing, where that is asked for.
        """
        self.run.check_owner()
        shared = dict(shared or {})
        old = read_npz(path) if path.exists() else None
        known = set() if old is None else {*old["trial"].tolist()}
        missing = [trial for trial in wanted if trial.key not in known]
        if missing:
            keys = np.array([trial.key for trial in missing])
            new = {"trial": keys} | evaluate(missing) | shared
            self.run.write_npz(path, **(new if old is None else merge_rows(old, new, shared)))
        # Asked by every process, whatever it found: all wait here until process 0 has written.
        if processes.any_process(bool(missing) and self.interrupted())[0]:
            raise Interrupted


def merge_rows(
    old: Mapping[str, np.ndarray],
    new: Mapping[str, np.ndarray],
    shared: Mapping[str, np.ndarray],
) -> Arrays:
    """Appends the rows of further trials.

    Arrays named in `shared` have no axis of trials; those that only one side has (logits, where the size of the run
    has crossed their limit) are left out.
    """
    return {
        name: old[name] if name in shared else np.concatenate([old[name], new[name]])
        for name in new
        if name in old
    }
