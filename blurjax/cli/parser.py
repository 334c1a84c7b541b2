"""The parser of the command line: mistakes in a sentence, names of options in the usual forms, completion by shells."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from blurjax.config import loading as settings
from blurjax.runtime.errors import UserError
from blurjax.runtime.files import expand_path

MOST_COLUMNS = 100
"""Of text on a terminal; tables may be wider."""


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one sentence, without the usage."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, allow_abbrev=False, **options)
        self.set_defaults(parser=self)

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        raise UserError(f"{message[0].upper()}{message[1:]}.")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parses the arguments; dashes and underscores in the names of options are equivalent.

        Raises:
          UserError: an option is unknown (names the nearest), lacks its value or has one too many.
        """
        parsed, unknown = self.parse_known_args([_with_usual_dashes(a) for a in arguments])
        if not unknown:
            return parsed
        if not unknown[0].startswith("-"):
            raise UserError(f"Unexpected argument {unknown[0]}; remove it, or see --help.")
        known = re.findall(r"--([\w.-]+)", parsed.parser.format_help())
        raise UserError(settings.unknown_key(unknown[0].lstrip("-").split("=")[0], known))


def _with_usual_dashes(argument: str) -> str:
    """Returns an argument with the option's name as it is registered: --section.some_setting, --some-option."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument[2:].partition("=")
    old, new = ("-", "_") if "." in name else ("_", "-")
    return f"--{name.replace(old, new)}{equals}{value}"


class PrintCompletion(argparse.Action):
    """Prints a script that makes a shell complete commands and options, and ends the command."""

    def __call__(self, parser: argparse.ArgumentParser, *arguments: Any) -> NoReturn:
        """Prints it for the shell named, the second argument after the parser."""
        import shtab  # takes 40 ms

        for command in self.const.choices.values():
            for action in command._actions:
                if action.type in (Path, expand_path) or action.dest == "preset":
                    vars(action)["complete"] = shtab.FILE
        print(shtab.complete(parser, arguments[1]))
        parser.exit()
