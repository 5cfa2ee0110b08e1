"""A function of the host and what stands in its place; both are compared before anything is done.

A patch changes nothing unless the function is there, takes the parameters that the replacement
counts on and, where the replacement repeats its body, has a body that is known. What a host of
another version does not have is told by :meth:`Patch.check`; everything else works on.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import ZImageError

Function = Callable[..., Any]


@dataclass(frozen=True)
class Seam:
    """Where a patch takes hold.

    Attributes:
        module: a module that the host has loaded by now; it is never imported for a patch.
        path: attribute path in it, such as ``PromptQueue.put``.
        parameters: names that the function has to take, in this order. It may take more if they
            have defaults, because newer hosts add such.
        bodies: digests (:func:`digest`) of sources that the replacement stands for; empty when it
            calls the original, whatever that does.
    """

    module: str
    path: str
    parameters: tuple[str, ...]
    bodies: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.module}.{self.path}"

    def owner(self) -> Any:
        """The class or module that holds the function.

        Raises:
            ZImageError: ``ZI-PATCH-SEAM`` when the host has no such thing.
        """
        owner = sys.modules.get(self.module)
        for name in self.path.split(".")[:-1]:
            owner = getattr(owner, name, None)
        if owner is None or self.name not in vars(owner):
            raise self.error("-")
        return owner

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    def verify(self, function: Any) -> None:
        """Compare a function with what is expected.

        Raises:
            ZImageError: ``ZI-PATCH-SEAM``.
        """
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            raise self.error(repr(function)) from None
        names = tuple(parameter.name for parameter in parameters)
        more = parameters[len(self.parameters) :]
        open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        if names[: len(self.parameters)] != self.parameters or any(
            one.default is one.empty and one.kind not in open_ended for one in more
        ):
            raise self.error(f"({', '.join(names)})")
        if self.bodies and digest(function) not in self.bodies:
            raise self.error(f"sha256 {digest(function)}")

    def error(self, found: str) -> ZImageError:
        """What to raise for a host that is different."""
        expected = f"({', '.join(self.parameters)})"
        return ZImageError("ZI-PATCH-SEAM", name=str(self), found=found, expected=expected)


def digest(function: Function) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a function's source, "-" without a source."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return "-"
    return hashlib.sha256(source.encode()).hexdigest()[:16]


class Patch:
    """One function of the host, replaced by ``wrap(original)``.

    Applying twice is applying once. Somebody else may patch over it, and then it cannot be undone
    without undoing theirs.
    """

    def __init__(self, seam: Seam, wrap: Callable[[Function], Function]) -> None:
        self.seam, self.wrap = seam, wrap
        self._original: Any = None
        self._ours: Any = None

    def check(self) -> None:
        """Whether it could be applied.

        Raises:
            ZImageError: ``ZI-PATCH-SEAM`` with what was found and expected.
        """
        self.seam.verify(vars(self.seam.owner())[self.seam.name])

    @property
    def active(self) -> bool:
        """True while the host calls the replacement, first or through others that wrap it."""
        function = self._found() if self._ours is not None else None
        while function is not None and function is not self._ours:
            function = getattr(function, "__wrapped__", None)  # as functools.wraps leaves it
        return function is not None

    def _found(self) -> Any:
        try:
            return vars(self.seam.owner())[self.seam.name]
        except ZImageError:
            return None

    def apply(self) -> None:
        """Put the replacement in place.

        Raises:
            ZImageError: ``ZI-PATCH-SEAM``; nothing was changed then.
        """
        if self._ours is not None:
            return
        self.check()
        owner = self.seam.owner()
        original = vars(owner)[self.seam.name]
        ours = functools.wraps(original)(self.wrap(original))
        setattr(owner, self.seam.name, ours)
        self._original, self._ours = original, ours

    def revert(self) -> None:
        """Put the original back.

        Raises:
            ZImageError: ``ZI-PATCH-COVERED`` when somebody patched over it since.
        """
        if self._ours is None:
            return
        if self._found() is not self._ours:
            raise ZImageError("ZI-PATCH-COVERED", name=str(self.seam))
        setattr(self.seam.owner(), self.seam.name, self._original)
        self._original = self._ours = None


class Change(Protocol):
    """What :class:`Patches` needs of a patch; others than of functions have it, too."""

    @property
    def active(self) -> bool: ...

    def check(self) -> None: ...

    def apply(self) -> None: ...

    def revert(self) -> None: ...


class Patches:
    """Several patches that only make sense together: all are applied, or none."""

    def __init__(self, *patches: Change) -> None:
        self.patches = patches

    @property
    def active(self) -> bool:
        """True while all are."""
        return all(patch.active for patch in self.patches)

    def apply(self) -> None:
        """As :meth:`Patch.apply`, for all."""
        for patch in self.patches:
            if not patch.active:
                patch.check()
        for patch in self.patches:
            patch.apply()

    def revert(self) -> None:
        """As :meth:`Patch.revert`, the last first."""
        for patch in reversed(self.patches):
            patch.revert()
