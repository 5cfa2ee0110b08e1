"""Suggestions for an unknown name: the known name that the user probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_LENGTH = 100
"""Maximum length of names that are compared."""
BUDGET = 20_000
"""Maximum number of comparisons for one file; a hostile file could cause any number."""


class Suggestions:
    """Finds the closest known name. Each search is done once."""

    def __init__(self) -> None:
        """Start with the whole budget."""
        self._budget = BUDGET
        self._cache: dict[tuple[str, str], str] = {}

    def find(
        self, scope: str, name: object, known: Iterable[object], min_ratio: float = 0.7
    ) -> str:
        """Return the closest name, or an empty text.

        Args:
            scope: Identifies the list of known names. Equal scopes have equal lists.
            name: The unknown name.
            known: The known names.
            min_ratio: The required similarity, 0 to 1, without regard to case.
        """
        if not isinstance(name, str) or not name or len(name) > MAX_LENGTH:
            return ""
        if (scope, name) not in self._cache:
            self._cache[scope, name] = self._search(name, known, min_ratio)
        return self._cache[scope, name]

    def _search(self, name: str, known: Iterable[object], min_ratio: float) -> str:
        if self._budget <= 0:
            return ""
        by_lower_case = {
            other.lower(): other
            for other in known
            if isinstance(other, str) and other and len(other) <= MAX_LENGTH and other != name
        }
        self._budget -= len(by_lower_case)
        matches = difflib.get_close_matches(name.lower(), by_lower_case, 1, min_ratio)
        return by_lower_case[matches[0]] if matches else ""
