"""The command line: arguments to calls of the package, and what a terminal shows."""

from blurjax.cli.commands import main

__all__ = ["main"]
