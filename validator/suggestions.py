"""What somebody may have meant by a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 100
"""Characters of names that are compared."""
BUDGET = 20_000
"""Names compared for one file; a hostile one could ask for any number."""


class Similar:
    """Finds the nearest of known names; each question is worked out once."""

    def __init__(self) -> None:
        self._left = BUDGET
        self._known: dict[tuple[str, str], str] = {}

    def find(self, where: str, name: object, names: Iterable[object], least: float = 0.7) -> str:
        """The nearest of ``names``, empty if none is near or too much was asked already.

        Args:
            where: what the names are of; equal for equal names.
            least: how near, 0 to 1; letters alone, whatever their case.
        """
        if not isinstance(name, str) or not name or len(name) > LONGEST:
            return ""
        if (where, name) not in self._known:
            self._known[where, name] = self._search(name, names, least)
        return self._known[where, name]

    def _search(self, name: str, names: Iterable[object], least: float) -> str:
        if self._left <= 0:
            return ""
        lower = {
            other.lower(): other
            for other in names
            if isinstance(other, str) and other and len(other) <= LONGEST and other != name
        }
        self._left -= len(lower)
        found = difflib.get_close_matches(name.lower(), lower, 1, least)
        return lower[found[0]] if found else ""
