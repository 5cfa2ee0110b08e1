"""Newer releases of ComfyUI beside the project: every hook fits the functions that they have.

``$ZIMAGE_TEST_HOSTS`` names a folder of source archives (``comfyui-*.tar.xz``); without it
``shared/hosts`` beside the project is taken. Only the source is read: a release needs an
environment of its own to run.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import os
import sys
import tarfile
from inspect import Parameter, Signature
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base import registry
from zimage_comfyui.patches.queue import worker_thread
from zimage_comfyui.sandbox.loading.interception import LOADER
from zimage_comfyui.tests.fakes.seams import seams

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("ZIMAGE_TEST_HOSTS") or ROOT.parent / "shared" / "hosts")
ARCHIVES = sorted(FOLDER.glob("comfyui-*.tar.xz"))
MANAGEMENT = "comfy.model_management"
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ARCHIVES, reason="no newer ComfyUI in $ZIMAGE_TEST_HOSTS"),
]


def hooks() -> dict[str, Any]:
    """Each function of the host's own that a part needs, once."""
    known = [seam for several in seams(registry).values() for seam in several]
    found = {f"{seam} {seam.parameters}": seam for seam in [*known, LOADER]}
    own = {key: seam for key, seam in found.items() if not seam.module.startswith("PIL")}
    return {key: seam for key, seam in own.items() if ".instance." not in seam.path}


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.name)
def release(request: pytest.FixtureRequest) -> dict[str, ast.Module]:
    """The modules of a release that hooks are in, parsed."""
    modules = {seam.module for seam in hooks().values()} | {MANAGEMENT}
    files = {f"{name.replace('.', '/').replace('__main__', 'main')}.py": name for name in modules}
    found: dict[str, ast.Module] = {}
    with tarfile.open(request.param) as archive:
        for member in archive:
            name = files.get(member.name.partition("/")[2])
            if name is not None and (file := archive.extractfile(member)) is not None:
                found[name] = ast.parse(file.read())
    assert found.keys() == modules
    return found


def definition(module: ast.Module, path: str) -> Any:
    """Return the class or function at a path, wherever an ``if`` or ``try`` has put it."""
    place: ast.AST = module
    for name in path.split("."):
        places = [node for node in ast.walk(place) if isinstance(node, Definition)]
        place = next(node for node in places if node.name == name)
    return place


def shape(function: Any) -> Any:
    """Return a function with the parameters of another one that is known as source."""
    given = function.args
    plain = [*given.posonlyargs, *given.args]
    first = len(plain) - len(given.defaults)
    parameters = [
        Parameter(one.arg, Parameter.POSITIONAL_OR_KEYWORD,
                  default=None if number >= first else Parameter.empty)
        for number, one in enumerate(plain)
    ]  # fmt: skip
    if given.vararg:
        parameters.append(Parameter(given.vararg.arg, Parameter.VAR_POSITIONAL))
    for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        without = Parameter.empty if default is None else None
        parameters.append(Parameter(one.arg, Parameter.KEYWORD_ONLY, default=without))
    if given.kwarg:
        parameters.append(Parameter(given.kwarg.arg, Parameter.VAR_KEYWORD))

    def host(*_values: Any, **_named: Any) -> None:
        pass

    made: Any = host
    made.__signature__ = Signature(parameters)
    return made


@pytest.mark.parametrize("hook", sorted(hooks()))
def test_a_hook_fits(release: dict[str, ast.Module], hook: str) -> None:
    """What it needs is among the function's parameters."""
    seam = hooks()[hook]
    seam.verify(shape(definition(release[seam.module], seam.path)))


def test_cancel_is_no_end_of_a_node(
    release: dict[str, ast.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The class that the release raises for it reaches the executor, whatever it is made of."""
    source = definition(release[MANAGEMENT], "InterruptProcessingException")
    bases = tuple(getattr(builtins, base.id) for base in source.bases)
    module: Any = ModuleType(MANAGEMENT)
    module.InterruptProcessingException = kind = type(source.name, bases, {})
    monkeypatch.setitem(sys.modules, MANAGEMENT, module)

    async def node(prompt_id: str, unique_id: str, obj: Any) -> None:
        raise obj

    with pytest.raises(kind):
        asyncio.run(worker_thread.translate_exits(node)("p", "1", kind()))
    with pytest.raises(ZImageError, match="ZI-NODE-EXIT"):
        asyncio.run(worker_thread.translate_exits(node)("p", "1", SystemExit()))
