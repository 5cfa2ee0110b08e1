"""Names of files stay inside the folders that ComfyUI shares, as they are written."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from aiohttp import FormData, web
from aiohttp.test_utils import TestClient, TestServer

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base import comfyui
from zimage_comfyui.patches.base.hooks import Patch
from zimage_comfyui.patches.requests import paths
from zimage_comfyui.tests.fakes.slots import slots

HOST = """
import os
def annotated_filepath(name):
    for kind in FOLDERS:
        if name.endswith(f"[{kind}]"):
            return name[:-len(kind) - 3], FOLDERS[kind]
    return name, None

def get_annotated_filepath(name, default_dir=None):
    name, base = annotated_filepath(name)
    return os.path.join(base or default_dir or FOLDERS["input"], name)

def exists_annotated_filepath(name):
    name, base = annotated_filepath(name)
    return os.path.exists(os.path.join(base or FOLDERS["input"], name))

def get_directory_by_type(kind):
    return FOLDERS.get(kind)
"""


@pytest.fixture
def folder_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A host's module with three folders, each with ``a.png``."""
    module: Any = ModuleType("folder_paths")
    module.FOLDERS = {kind: str(tmp_path / kind) for kind in ("input", "output", "temp")}
    exec(HOST, vars(module))
    for folder in module.FOLDERS.values():
        Path(folder).mkdir()
        Path(folder, "a.png").touch()
    (tmp_path / "secret.png").touch()
    monkeypatch.setitem(sys.modules, "folder_paths", module)
    return module


@pytest.fixture
def patch(folder_paths) -> Iterator[Patch]:
    """The patch, applied."""
    patch = paths.NamesPatch(paths.NAMES, paths._wrap)
    patch.apply()
    yield patch
    patch.revert()


GOOD = ["a.png", "sub/b.png", "./a.png", "sub/../a.png", "a..b.png", "..a.png", "a.png [output]",
        "a.png [temp]", "", "图.png"]  # fmt: skip
BAD = ["../secret.png", "../input2/a.png", "sub/../../secret.png", "/etc/hostname", "..",
       ".. [input]", "../secret.png [output]", "../output/a.png", "/etc/hostname [temp]",
       "//etc/hostname"]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_inside(folder_paths, patch, name: str) -> None:
    """As the host alone."""
    found = folder_paths.get_annotated_filepath(name), folder_paths.exists_annotated_filepath(name)
    patch.revert()
    assert found == (
        folder_paths.get_annotated_filepath(name),
        folder_paths.exists_annotated_filepath(name),
    )


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("through", ["get_annotated_filepath", "exists_annotated_filepath"])
def test_outside(folder_paths, patch, name: str, through: str) -> None:
    """A code with the name; the host alone lets it pass."""
    with pytest.raises(ZImageError, match="ZI-PATH"):
        getattr(folder_paths, through)(name)
    patch.revert()
    getattr(folder_paths, through)(name)


def test_whole_paths_of_shared_folders(folder_paths, patch) -> None:
    """Nodes of the host hand them on."""
    for folder in folder_paths.FOLDERS.values():
        whole = os.path.join(folder, "a.png")
        assert folder_paths.get_annotated_filepath(whole) == whole


def test_links_that_people_made(folder_paths, patch, tmp_path: Path) -> None:
    """A folder linked into ``input`` belongs to it."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "b.png").touch()
    Path(folder_paths.FOLDERS["input"], "mine").symlink_to(tmp_path / "pictures")
    assert folder_paths.exists_annotated_filepath("mine/b.png")


def test_names_that_are_none(folder_paths, patch) -> None:
    """They fail as they did."""
    with pytest.raises(AttributeError):
        folder_paths.exists_annotated_filepath(5)


def test_applied_twice_and_undone(folder_paths) -> None:
    """The host's own function is back."""
    original = folder_paths.annotated_filepath
    patch = paths.NamesPatch(paths.NAMES, paths._wrap)
    for _ in range(2):
        patch.apply()
    assert patch.active
    patch.revert()
    assert folder_paths.annotated_filepath is original


@pytest.mark.parametrize("name", ["get_annotated_filepath", "exists_annotated_filepath"])
@pytest.mark.parametrize("theirs", [None, lambda other: None, lambda name: "elsewhere"])
def test_another_host_is_left_alone(folder_paths, name: str, theirs: Any) -> None:
    """Without a caller, or with one that does not go through the patched function."""
    original = folder_paths.annotated_filepath
    if theirs is None:
        delattr(folder_paths, name)
    else:
        setattr(folder_paths, name, theirs)
    with pytest.raises(ZImageError, match="ZI-PATCH-SEAM"):
        paths.NamesPatch(paths.NAMES, paths._wrap).apply()
    assert folder_paths.annotated_filepath is original


@pytest.mark.parametrize(
    ("subfolder", "status"),
    [("", 200), ("mine", 200), ("../elsewhere", 400), ("/etc", 400), ("a/../../b", 400)],
)
def test_where_uploads_go(
    folder_paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, subfolder: str, status: int
) -> None:
    """Judged before the host makes the subfolder; what passes reaches the host whole."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"image": (await request.post())["image"].file.read().decode()})

    server = SimpleNamespace(app=web.Application())
    server.app.add_routes([web.post("/api/upload/image", answer)])
    monkeypatch.setitem(sys.modules, "server", SimpleNamespace(
        PromptServer=SimpleNamespace(instance=server)))  # fmt: skip
    monkeypatch.setattr(comfyui, "folder", lambda: tmp_path)
    paths.create(slots(server.app)["paths"]).apply()

    async def go() -> tuple[int, Any]:
        form = FormData({"subfolder": subfolder})
        form.add_field("image", b"content", filename="a.png")
        async with (
            TestClient(TestServer(server.app)) as client,
            client.post("/api/upload/image", data=form) as response,
        ):
            return response.status, json.loads(await response.text())

    found, body = asyncio.run(go())
    assert found == status
    if status == 200:
        assert body == {"image": "content"}
    else:
        assert body["error"]["type"] == "ZI-PATH"
