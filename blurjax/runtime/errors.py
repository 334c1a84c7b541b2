"""What ends a run before it is finished: a user's mistake, a request to stop, training that has failed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class UserError(Exception):
    """A user's mistake; its message is one sentence that says what is wrong, where, and what to do.

    The command line prints the message alone and exits with code 2.
    """


class Interrupted(Exception):
    """The run was asked to stop, and its position is saved."""


class AllTrialsFailed(Exception):
    """No trial of a stage has a finite loss any more."""


@contextlib.contextmanager
def readable_memory_errors() -> Iterator[None]:
    """Turns an error of jax about a device without memory left into a UserError that names the settings to lower."""
    import jax  # here: most who need a UserError need no jax

    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(
            "A device has run out of memory: lower compute.trials_per_vmap (1 takes least) and run the same command "
            "again, or name another --out and lower autoencoder.batch_size, classifier.batch_size, data.image_size or "
            "data.resident_limit (images beyond it are streamed)."
        ) from error
