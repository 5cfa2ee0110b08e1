"""Values that our nodes refuse when they run, found with the engine's own functions.

The fields of our nodes accept nearly any number, so that the node can answer a wrong one with a
coded error. The host's own check therefore reports nothing. The validator does not import the
engine; its callers pass the functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import ZImageError
from .bounds import CUSTOM_SIZE, OUR_PREFIX, SIDES, Bounds
from .json_values import is_link, is_list, is_object
from .prompt_context import PromptContext

_PRESET_INPUTS = ("steps", "cfg", "shift", "denoise")
TURBO, BASE, EDIT = "turbo", "base", "edit"
_VARIANTS = (TURBO, BASE, EDIT)
_MAX_NODES = 64
"""Maximum number of nodes between a sampler and its loader."""


@dataclass(frozen=True)
class EngineChecks:
    """The functions of the engine that check values. Each raises :class:`ZImageError`.

    Attributes:
        settings: ``engine.presets.resolve``.
        size: ``engine.sizes.resolve``.
        batch: ``engine.sizes.check_batch``.
        quality: ``engine.saving.check_quality``.
        prefix: ``engine.saving.check_prefix``.
        tolerance: ``engine.presets.check_tolerance``.
    """

    settings: Callable[..., object]
    size: Callable[[str, int, int], object]
    batch: Callable[[int], object]
    quality: Callable[[int], object]
    prefix: Callable[[str], object]
    tolerance: Callable[[float], object]


def check(context: PromptContext, node_id: str, engine: EngineChecks, bounds: Bounds) -> None:
    """Report every value of one of our nodes that the engine refuses."""
    name = context.node_classes[node_id].name
    if name == f"{OUR_PREFIX}Sampler":
        _check_settings(context, node_id, engine)
    elif name == f"{OUR_PREFIX}Latent":
        _check_size(context, node_id, engine, bounds)
        _check_number(context, node_id, "batch_size", int, engine.batch)
    elif name == f"{OUR_PREFIX}Save":
        _check_number(context, node_id, "quality", int, engine.quality)
        prefix = context.given(node_id).get("filename_prefix")
        if isinstance(prefix, str):
            _report_refusal(context, node_id, "filename_prefix", engine.prefix, prefix)
    elif name == f"{OUR_PREFIX}Keep":
        _check_number(context, node_id, "tolerance", float, engine.tolerance)


def _check_number(
    context: PromptContext,
    node_id: str,
    name: str,
    number_type: type[int] | type[float],
    function: Callable[..., object],
) -> None:
    """Check a number that does not depend on other values."""
    value = _number(context, node_id, name, number_type)
    if value is not None:
        _report_refusal(context, node_id, name, function, value)


def _check_settings(context: PromptContext, node_id: str, engine: EngineChecks) -> None:
    variant = _model_variant(context, node_id)
    for name in _PRESET_INPUTS:
        value = _number(context, node_id, name, int if name == "steps" else float)
        if value is not None:
            settings = {"model_variant": variant, name: value}
            _report_refusal(context, node_id, name, engine.settings, **settings)


def _check_size(context: PromptContext, node_id: str, engine: EngineChecks, bounds: Bounds) -> None:
    """Check the size after the server has clamped it, and report it at the wrong side."""
    if context.given(node_id).get("size") != CUSTOM_SIZE:
        return  # the rule for choices checks it
    numbers = [_number(context, node_id, name, int) for name in SIDES]
    sides = [min(side, bounds.side) for side in numbers if side is not None]
    if len(sides) != len(SIDES):
        return
    for name, side in zip(SIDES, sides, strict=True):
        if _refusal(engine.size, CUSTOM_SIZE, side, side) is not None:
            _report_refusal(context, node_id, name, engine.size, CUSTOM_SIZE, *sides)
            return


def _report_refusal(
    context: PromptContext,
    node_id: str,
    name: str,
    function: Callable[..., object],
    *arguments: Any,
    **keywords: Any,
) -> None:
    error = _refusal(function, *arguments, **keywords)
    if error is not None:
        context.report_error(error, node_id, name, context.severity(node_id))


def _refusal(
    function: Callable[..., object], *arguments: Any, **keywords: Any
) -> ZImageError | None:
    try:
        function(*arguments, **keywords)
    except ZImageError as error:
        return error
    return None


def _number(
    context: PromptContext, node_id: str, name: str, number_type: type[int] | type[float]
) -> Any:
    """Return a value as the host passes it to the node, or None if the host refuses it."""
    entry = context.inputs(node_id).get(name)
    value: Any = context.given(node_id).get(name)
    if entry is None or is_list(value) or is_object(value):
        return None
    try:
        number = number_type(value)
    except (TypeError, ValueError, OverflowError):
        return None
    low, high = entry.limits
    return number if low <= number <= high else None


def _model_variant(context: PromptContext, node_id: str) -> str:
    """Return the variant whose preset a message names.

    It is that of the sampler, else that of the loader, else that in the name of the model file.
    """
    given = context.given(node_id)
    for _ in range(_MAX_NODES):
        variant = given.get("preset", given.get("variant"))
        if variant in _VARIANTS:
            return str(variant)
        if "model_name" in given:
            return TURBO if TURBO in str(given["model_name"]).lower() else BASE
        link = given.get("model")
        if not is_link(link) or link[0] not in context.prompt:
            break
        given = context.given(link[0])
    return TURBO
