"""Functions of the host and their replacements, which are compared before anything is changed.

A patch is applied only if the function exists, has the parameters that the replacement needs and,
where the replacement repeats its body, has a known body. :meth:`Patch.check` reports a host of
another version; the other parts work all the same.

A replacement takes ``*arguments, **named``, reads what it needs by name (:class:`Argument`) and
hands all arguments on. So it works with parameters that newer hosts add.
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
    """A function of the host that a part replaces.

    Attributes:
        module: a module that the host has already loaded; a patch never imports it.
        path: attribute path in it, such as ``PromptQueue.put``.
        parameters: names of the parameters that the replacement reads or changes, in any position;
            ``self`` has to be the first. Newer hosts add others, which the replacement hands on.
        bodies: digests (:func:`digest`) of the sources that the replacement repeats; empty when it
            calls the original. With a body, the parameters have to begin with these names in this
            order, and all others need defaults.
    """

    module: str
    path: str
    parameters: tuple[str, ...]
    bodies: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.module}.{self.path}"

    def owner(self) -> Any:
        """Return the class or module that holds the function.

        Raises:
            ZImageError: ``ZI-PATCH-SEAM`` when the host has no such function.
        """
        owner = sys.modules.get(self.module)
        for name in self.path.split(".")[:-1]:
            owner = getattr(owner, name, None)
        if owner is None or self.name not in vars(owner):
            raise self.error("-")
        return owner

    def function(self) -> Any:
        """Return what the host calls now; raises as :meth:`owner`."""
        return vars(self.owner())[self.name]

    @property
    def name(self) -> str:
        """The last component of the path."""
        return self.path.rpartition(".")[2]

    def verify(self, function: Any) -> None:
        """Compare a function with what the replacement expects.

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
        names = [parameter.name for parameter in parameters if parameter.kind not in VARIADIC]
        method = self.parameters[:1] == ("self",)
        return set(names) >= set(self.parameters) and (not method or names[0] == "self")

    def _fits_body(self, function: Function, names: tuple[str, ...]) -> bool:
        same_start = names[: len(self.parameters)] == self.parameters
        return same_start and not requires_more(function, self.parameters)

    def error(self, found: str) -> ZImageError:
        """Return the error for a host that is different."""
        expected = f"({', '.join(self.parameters)})"
        return ZImageError("ZI-PATCH-SEAM", name=str(self), found=found, expected=expected)


class Argument:
    """One argument of the calls of a function, by the name of its parameter.

    The position of the parameter is looked up once, so that calls stay fast.

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
            TypeError: the call does not have it.
        """
        if self.position < len(arguments):
            return arguments[self.position]
        if self.name in named:
            return named[self.name]
        if self.default is inspect.Parameter.empty:
            raise TypeError(f"missing argument: {self.name!r}")
        return self.default

    def given(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
        """Return whether a call has the argument."""
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
    """Return 16 hexadecimal digits of the SHA-256 of a function's source, "-" without a source."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return "-"
    return hashlib.sha256(source.encode()).hexdigest()[:16]


class Patch:
    """One function of the host, replaced by ``wrap(original)``.

    A second call of :meth:`apply` has no effect. When another pack replaces the function later,
    the patch cannot be reverted.
    """

    def __init__(self, hook: HookPoint, wrap: Callable[[Function], Function]) -> None:
        self.hook = hook
        self.wrap = wrap
        self._original: Any = None
        self._replacement: Any = None

    def check(self) -> None:
        """Check that the host's function fits.

        Raises:
            ZImageError: ``ZI-PATCH-SEAM`` with what was found and expected.
        """
        self.hook.verify(self.hook.function())

    @property
    def active(self) -> bool:
        """True while a call of the host's function gets to the replacement."""
        function = self._current() if self._replacement is not None else None
        while function is not None and function is not self._replacement:
            function = getattr(function, "__wrapped__", None)  # set by functools.wraps
        return function is not None

    def _current(self) -> Any:
        try:
            return self.hook.function()
        except ZImageError:
            return None

    def apply(self) -> None:
        """Put the replacement in place.

        Raises:
            ZImageError: ``ZI-PATCH-SEAM``; nothing was changed then.
        """
        if self._replacement is not None:
            return
        self.check()
        original = self.hook.function()
        replacement = functools.wraps(original)(self.wrap(original))
        setattr(self.hook.owner(), self.hook.name, replacement)
        self._original = original
        self._replacement = replacement

    def revert(self) -> None:
        """Put the original back.

        Raises:
            ZImageError: ``ZI-PATCH-COVERED`` when another pack has replaced the function since.
        """
        if self._replacement is None:
            return
        if self._current() is not self._replacement:
            raise ZImageError("ZI-PATCH-COVERED", name=str(self.hook))
        setattr(self.hook.owner(), self.hook.name, self._original)
        self._original = None
        self._replacement = None


class Change(Protocol):
    """What :class:`Patches` needs of a change to the host."""

    @property
    def active(self) -> bool:
        """True while it is in effect."""
        ...

    def check(self) -> None:
        """Check that the host fits."""
        ...

    def apply(self) -> None:
        """Change the host."""
        ...

    def revert(self) -> None:
        """Undo the change."""
        ...


class Patches:
    """Several changes that belong together: all are applied, or none."""

    def __init__(self, *patches: Change) -> None:
        self.patches = patches

    @property
    def active(self) -> bool:
        """True while all are active."""
        return all(patch.active for patch in self.patches)

    def apply(self) -> None:
        """Apply all; raises ``ZI-PATCH-SEAM`` before anything is changed."""
        for patch in self.patches:
            if not patch.active:
                patch.check()
        for patch in self.patches:
            patch.apply()

    def revert(self) -> None:
        """Revert all, the last first."""
        for patch in reversed(self.patches):
            patch.revert()
