"""A function of the host and what stands in its place; both are compared before anything is done.

A patch changes nothing unless the function is there, takes the parameters that the replacement
needs and, where the replacement repeats its body, has a body that is known. What a host of
another version does not have is told by :meth:`Patch.check`; everything else works on.

A replacement takes ``*arguments, **named``, reads what it needs by name (:class:`Argument`) and
hands everything on, so that a parameter that a newer host adds changes nothing.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from ...errors import ZImageError

Function = Callable[..., Any]
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class HookPoint:
    """Where a patch takes hold.

    Attributes:
        module: a module that the host has loaded by now; it is never imported for a patch.
        path: attribute path in it, such as ``PromptQueue.put``.
        parameters: names of the parameters that the replacement reads or changes, at any place;
            ``self`` has to be the first. Newer hosts add others, which the replacement hands on.
        bodies: digests (:func:`digest`) of sources that the replacement stands for; empty when it
            calls the original, whatever that does. With a body, the parameters have to begin with
            these names in this order, and others need defaults.
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
        if not (self._fits_body(function, names) if self.bodies else self._fits(parameters)):
            raise self.error(f"({', '.join(names)})")
        if self.bodies and digest(function) not in self.bodies:
            raise self.error(f"sha256 {digest(function)}")

    def _fits(self, parameters: list[inspect.Parameter]) -> bool:
        named = [parameter.name for parameter in parameters if parameter.kind not in VARIADIC]
        method = self.parameters[:1] == ("self",)
        return set(named) >= set(self.parameters) and (not method or named[0] == "self")

    def _fits_body(self, function: Function, names: tuple[str, ...]) -> bool:
        begins = names[: len(self.parameters)] == self.parameters
        return begins and not requires_more(function, self.parameters)

    def error(self, found: str) -> ZImageError:
        """What to raise for a host that is different."""
        expected = f"({', '.join(self.parameters)})"
        return ZImageError("ZI-PATCH-SEAM", name=str(self), found=found, expected=expected)


class Argument:
    """One argument of a function's calls, by the name of its parameter.

    The place of the parameter is looked up once, so that a call is not slowed down.

    Raises:
        LookupError: the function has no parameter of that name.
    """

    def __init__(self, function: Function, name: str) -> None:
        parameters = [
            parameter
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind not in VARIADIC
        ]
        names = [parameter.name for parameter in parameters]
        if name not in names:
            raise LookupError(f"{function!r} has no parameter {name}")
        position = names.index(name)
        parameter = parameters[position]
        by_name = parameter.kind is inspect.Parameter.KEYWORD_ONLY
        self.name = name
        self.position = sys.maxsize if by_name else position
        self.default = parameter.default

    def of(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Return the argument of a call, or the default that the function has for it.

        Raises:
            TypeError: the call lacks it.
        """
        if self.position < len(arguments):
            return arguments[self.position]
        if self.name in named:
            return named[self.name]
        if self.default is inspect.Parameter.empty:
            raise TypeError(f"missing argument: {self.name!r}")
        return self.default

    def given(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
        """Return whether a call has it."""
        return self.position < len(arguments) or self.name in named

    def replaced(
        self, arguments: tuple[Any, ...], named: dict[str, Any], value: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a call with another value for this one."""
        if self.position < len(arguments):
            before, after = arguments[: self.position], arguments[self.position + 1 :]
            return (*before, value, *after), named
        return arguments, {**named, self.name: value}


def requires_more(function: Function, names: Collection[str]) -> bool:
    """Return whether a function has parameters without a default besides these."""
    return any(
        parameter.default is parameter.empty and parameter.kind not in VARIADIC
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name not in names
    )


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

    def __init__(self, seam: HookPoint, wrap: Callable[[Function], Function]) -> None:
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
