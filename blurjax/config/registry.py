"""Names that settings choose among: views, models, optimizers, data sources.

Entries of this package name their functions as text, such as "blurjax.views.functions:blur", and are resolved when they
are used: settings can be validated without importing jax. Entries that others register hold the functions themselves.
"""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Entries by name, in the order in which they were registered.

    Attributes:
      kind: what the entries are, as in "There is no view x".
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str, entry: T) -> T:
        """Adds an entry and returns it.

        Raises:
          ValueError: another entry has the name.
        """
        if self._entries.get(name, entry) != entry:
            raise ValueError(f"there is another {self.kind} named {name}")
        self._entries[name] = entry
        return entry

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def check(self, name: str) -> str:
        """Returns the name.

        Raises:
          ValueError: no entry has it; names the nearest, or all.
        """
        if name not in self._entries:
            near = difflib.get_close_matches(name, self._entries, n=1, cutoff=0.5)
            if near:
                hint = f"did you mean {near[0]}, or is the module that registers it not imported (--import)?"
            else:
                hint = f"choose one of {', '.join(self)}, or import the module that registers it (--import)"
            raise ValueError(f"cannot be {name!r}: there is no {self.kind} of that name; {hint}")
        return name


def resolve(function: str | Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function that an entry holds, or names as "package.module:function"."""
    return pkgutil.resolve_name(function) if isinstance(function, str) else function
