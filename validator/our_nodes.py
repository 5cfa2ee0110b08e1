"""Values that our nodes refuse when they run: told by the engine's own functions.

The fields of our nodes let nearly any number through, so that a wrong one is answered with a coded
error; the host's own check therefore says nothing. The validator does not import the engine, its
callers hand the functions in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import ZImageError
from .bounds import CUSTOM, OWN, SIDES, Bounds
from .prompt_context import Subject, is_link

_PRESETS = ("steps", "cfg", "shift", "denoise")
TURBO, BASE, EDIT = _VARIANTS = ("turbo", "base", "edit")
_DEPTH = 64
"""Nodes between a sampler and its loader that are looked through."""


@dataclass(frozen=True)
class Engine:
    """What judges values, each raising :class:`ZImageError`.

    Attributes:
        settings: ``engine.presets.resolve``.
        size: ``engine.sizes.resolve``.
        batch: ``engine.sizes.check_batch``.
        quality, prefix: ``engine.saving.check_quality`` and ``check_prefix``.
    tolerance: ``engine.presets.check_tolerance``.
    """

    settings: Callable[..., object]
    size: Callable[[str, int, int], object]
    batch: Callable[[int], object]
    quality: Callable[[int], object]
    prefix: Callable[[str], object]
    tolerance: Callable[[float], object]


def check(subject: Subject, number: str, engine: Engine, bounds: Bounds) -> None:
    """Every value of one of our nodes that the engine refuses."""
    kind = subject.kinds[number].name
    if kind == f"{OWN}Sampler":
        _settings(subject, number, engine)
    elif kind == f"{OWN}Latent":
        _size(subject, number, engine, bounds)
        _one(subject, number, "batch_size", int, engine.batch)
    elif kind == f"{OWN}Save":
        _one(subject, number, "quality", int, engine.quality)
        prefix = subject.given(number).get("filename_prefix")
        if isinstance(prefix, str):
            _attempt(subject, number, "filename_prefix", engine.prefix, prefix)
    elif kind == f"{OWN}Keep":
        _one(subject, number, "tolerance", float, engine.tolerance)


def _one(
    subject: Subject, number: str, name: str, kind: type[int] | type[float],
    judge: Callable[..., object],
) -> None:  # fmt: skip
    """A number by itself."""
    value = _number(subject, number, name, kind)
    if value is not None:
        _attempt(subject, number, name, judge, value)


def _settings(subject: Subject, number: str, engine: Engine) -> None:
    variant = _variant(subject, number)
    for name in _PRESETS:
        value = _number(subject, number, name, int if name == "steps" else float)
        if value is not None:
            given = {"model_variant": variant, name: value}
            _attempt(subject, number, name, engine.settings, **given)


def _size(subject: Subject, number: str, engine: Engine, bounds: Bounds) -> None:
    """The size that is left once the server has clamped it; told at the side that is wrong."""
    if subject.given(number).get("size") != CUSTOM:
        return  # a choice like any other
    found = [_number(subject, number, name, int) for name in SIDES]
    sides = [min(side, bounds.side) for side in found if side is not None]
    if len(sides) != len(SIDES):
        return
    wrong = [name for name, side in zip(SIDES, sides, strict=True)
             if _error(engine.size, CUSTOM, side, side)]  # fmt: skip
    if wrong:
        _attempt(subject, number, wrong[0], engine.size, CUSTOM, *sides)


def _attempt(
    subject: Subject, number: str, name: str, judge: Callable[..., object],
    *arguments: Any, **named: Any,
) -> None:  # fmt: skip
    error = _error(judge, *arguments, **named)
    if error is not None:
        subject.refuse(error, number, name, subject.severity(number))


def _error(judge: Callable[..., object], *arguments: Any, **named: Any) -> ZImageError | None:
    try:
        judge(*arguments, **named)
    except ZImageError as error:
        return error
    return None


def _number(subject: Subject, number: str, name: str, kind: type[int] | type[float]) -> Any:
    """A value as the host hands it to the node; None for what the host's own check refuses."""
    entry = subject.inputs(number).get(name)
    value = subject.given(number).get(name)
    if entry is None or isinstance(value, (list, dict)):
        return None
    try:
        amount = kind(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, OverflowError):
        return None
    low, high = entry.limits
    return amount if low <= amount <= high else None


def _variant(subject: Subject, number: str) -> str:
    """Whose preset a message names: what the sampler says, else the loader, else its file."""
    given = subject.given(number)
    for _ in range(_DEPTH):
        chosen = given.get("preset", given.get("variant"))
        if chosen in _VARIANTS:
            return str(chosen)
        if "model_name" in given:
            return TURBO if TURBO in str(given["model_name"]).lower() else BASE
        link = given.get("model")
        if not is_link(link) or link[0] not in subject.prompt:
            break
        given = subject.given(link[0])
    return TURBO
