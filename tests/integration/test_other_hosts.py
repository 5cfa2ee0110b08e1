"""A ComfyUI of another version: what does not fit stands aside, the server starts, the rest works.

The host is a copy whose functions take ``*arguments`` where the hardening counts on names.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from zimage_comfyui.cli.host import Host
from zimage_comfyui.patches.base import registry
from zimage_comfyui.patches.base.registry import NAMES
from zimage_comfyui.tests.fakes.seams import seams
from zimage_comfyui.tests.integration.troubled import Start, ended, graph, health

pytestmark = pytest.mark.slow

WITHOUT = {"origins", "malformed", "disk", "fuse", "interrupt"}
"""Parts that need no parameter of a function of the host; middlewares, and what comes before
``put``."""
LATER = """

def _of_a_later_version(function):
    if __import__("inspect").iscoroutinefunction(function):
        async def later(*arguments, **named):
            return await function(*arguments, **named)
    else:
        def later(*arguments, **named):
            return function(*arguments, **named)
    later.__name__ = function.__name__
    return later

"""


def doctored(host: Host, folder: Path, changed: dict[str, Collection[str]]) -> Host:
    """A copy of a host in which some functions have other parameters, and work as before."""
    left_out = shutil.ignore_patterns("custom_nodes", "user", "temp", "__pycache__", "tests*")
    shutil.copytree(host.path, folder, ignore=left_out)
    (folder / "custom_nodes").mkdir()
    for module, functions in changed.items():
        path = folder / f"{module.replace('.', '/').replace('__main__', 'main')}.py"
        text = path.read_text(encoding="utf-8")
        end = text.rfind("\nif __name__ ==") if module == "__main__" else len(text)
        lines = [f"{name} = _of_a_later_version({name})\n" for name in functions]
        path.write_text(text[:end] + LATER + "".join(lines) + text[end:], encoding="utf-8")
    return replace(host, path=folder)


def everything() -> dict[str, set[str]]:
    """Functions of the host that any part takes hold of, by module."""
    found: dict[str, set[str]] = {}
    for seam in (seam for several in seams(registry).values() for seam in several):
        if not seam.module.startswith("PIL") and ".instance." not in seam.path:
            found.setdefault(seam.module, set()).add(seam.path)
    return found


def by_status(found: dict[str, Any], status: str) -> set[str]:
    """Names of parts in a state."""
    return {name for name, part in found["patches"].items() if part["status"] == status}


def test_one_function_that_differs_costs_one_part(host, start: Start, tmp_path: Path) -> None:
    """And is told with what was found and expected, in ``/health`` and in the log."""
    other = doctored(host, tmp_path / "ComfyUI", {"server": ["send_socket_catch_exception"]})
    with start(tmp_path / "data", host=other) as server:
        found = health(server)
        assert (found["status"], found["reasons"]) == ("degraded", [])
        assert found["degraded"] == ["sockets"]
        assert server.client.get("/health/ready") == {"status": "ok", "reasons": []}
        assert by_status(found, "refused") == {"sockets"}
        assert by_status(found, "active") == {*NAMES} - {"sockets", "guarded"}
        part = found["patches"]["sockets"]
        assert part["code"] == "ZI-PATCH-SEAM"
        assert "(arguments, named)" in part["en"]
        assert "(function, message)" in part["en"]
        assert ended(server, server.client.submit(graph("none"))[1]["prompt_id"])
        log = server.log.read_text(encoding="utf-8")
        assert log.count("hardening sockets") == 1


def test_a_host_that_fits_nowhere_still_works(host, start: Start, tmp_path: Path) -> None:
    """As the bare one does, with what needs none of these functions; health tells of each."""
    other = doctored(host, tmp_path / "ComfyUI", everything())
    with start(tmp_path / "data", host=other) as server:
        found = health(server)
        assert (found["status"], found["reasons"]) == ("unavailable", ["queue"])
        refused = {*NAMES} - WITHOUT - {"guarded"}
        assert {*found["degraded"]} == refused
        assert by_status(found, "refused") == refused
        assert by_status(found, "active") == WITHOUT
        assert {found["patches"][name]["code"] for name in refused} == {"ZI-PATCH-SEAM"}
        assert server.client.run(graph("none")).succeeded
        assert not server.client.run(graph("raise")).succeeded
        status, _ = server.client.request("/prompt", {"prompt": [1]})
        assert status == 400
