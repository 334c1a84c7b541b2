"""What the stages of an experiment share, and what they hand on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from blurjax.config.settings import Config
from blurjax.engine.types import Params, Trial
from blurjax.experiment.programs import Programs
from blurjax.experiment.trial_table import Arrays, add_missing_rows
from blurjax.runtime import processes
from blurjax.runtime.run_directory import RunDirectory
from blurjax.train.evaluation import Evaluation, dispatch
from blurjax.train.loop import Interrupted, Progress


@dataclass(frozen=True)
class Context:
    """What every stage works with."""

    config: Config
    """Fitted to the data."""
    run: RunDirectory
    """Made and locked."""
    programs: Programs
    progress: Callable[[Progress], None]
    """Called after every epoch."""
    interrupted: Callable[[], bool]
    """Asked after every chunk of steps and every evaluation."""

    def dispatch(
        self,
        program: Callable[..., Any],
        params: Params,
        view_parameters: Any,
        positions: np.ndarray,
        count: int,
    ) -> Callable[[], Evaluation]:
        """Starts an evaluation of `count` trials (the rest is padding) on the examples at positions."""
        batch_size = self.config.classifier.batch_size
        wait = dispatch(program, params, view_parameters, self.programs.feed, positions, batch_size)
        return lambda: {name: values[:count] for name, values in wait().items()}

    def complete(
        self,
        name: str,
        wanted: Sequence[Trial],
        evaluate: Callable[[list[Trial]], Arrays],
        shared: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Adds the rows that a file of the run directory lacks; see `add_missing_rows`.

        Raises:
          Interrupted: after it, where that is asked for.
        """
        self.run.check_owner()
        added = add_missing_rows(self.run, name, wanted, evaluate, shared)
        # Asked by every process, whatever it found: all wait here until process 0 has written.
        if processes.any_of(added and self.interrupted())[0]:
            raise Interrupted


@dataclass(frozen=True)
class Model:
    """One trial's model after its last step, on the host."""

    params: Params
    failed_step: int
    """-1, or the step at which the trial was frozen."""


Models = dict[Trial, Model]
