"""All packs of a server: what they are called, and that one which cannot be loaded harms none."""

from __future__ import annotations

import asyncio
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from zimage_comfyui.sandbox.host import supervisor as supervisor_module
from zimage_comfyui.sandbox.host.supervisor import Supervisor
from zimage_comfyui.sandbox.loading.loader import PackLoader
from zimage_comfyui.sandbox.policy.policy import PackRule, Policy, parse
from zimage_comfyui.sandbox.protocol import messages as m
from zimage_comfyui.sandbox.protocol.messages import PackInfo
from zimage_comfyui.tests.fakes.fake_session import FakeSession


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Supervisor, list[m.Begin]]:
    """Two folders of packs, each with one called ``same``, and what their processes are told."""
    began: list[m.Begin] = []
    fake: Any = types.ModuleType("folder_paths")
    fake.folder_names_and_paths = {}
    fake.__file__ = str(tmp_path / "comfyui" / "folder_paths.py")
    (tmp_path / "comfyui").mkdir()
    for name in ("temp", "output", "input", "user"):
        setattr(fake, f"get_{name}_directory", lambda name=name: str(tmp_path / name))
    monkeypatch.setitem(sys.modules, "folder_paths", fake)
    monkeypatch.setattr(Supervisor, "_template", lambda *_: None)
    monkeypatch.setattr(supervisor_module, "start_worker", lambda name, parent, begin, *_: (
        began.append(begin) or FakeSession()))  # fmt: skip
    policy = parse({"packs": {"Same": {"memory": 3}}})
    found = Supervisor(policy, tmp_path / "sandboxes")
    for place in ("one", "other"):
        (tmp_path / place / "same").mkdir(parents=True)
        found.add(str(tmp_path / place / "same"), frozenset())
    return found, began


def test_packs_of_one_name_share_nothing(
    two: tuple[Supervisor, list[m.Begin]], tmp_path: Path
) -> None:
    """Two folders of packs may have the same folder in them: the first has the name, and each has
    its own code, state, temporary folder and description, under the rules of that name."""
    supervisor, began = two
    first, second = supervisor.packs.values()
    assert first.name == first.called == second.called == "same"
    assert re.fullmatch("same-[0-9a-f]{8}", second.name)
    for pack in (first, second):
        pack.ready()
    assert [one.path for one in began] == [str(tmp_path / one / "same") for one in ("one", "other")]
    for of in (lambda one: one.directories["temp"], lambda one: one.environment["HOME"]):
        here, there = map(of, began)
        assert here != there
        assert not set(began[0].jail["write"]) & set(began[1].jail["write"])  # type: ignore[index, call-overload]
    assert first.rule == second.rule == PackRule(memory=3)
    stored = supervisor.descriptions
    for pack in (first, second):
        stored.save(pack.name, "digest", PackInfo(True, [], trace=pack.name))
    for pack in (first, second):
        found = stored.load(pack.name, "digest")
        assert found is not None
        assert found.trace == pack.name


def test_a_name_stays_the_same(two: tuple[Supervisor, list[m.Begin]], tmp_path: Path) -> None:
    """In the next start, and when a pack is loaded again; nobody has the template's."""
    supervisor, _ = two
    before = [*supervisor.packs]
    for place in ("one", "other"):
        supervisor.add(str(tmp_path / place / "same"), frozenset())
    assert [*supervisor.packs] == before
    again = Supervisor(Policy(), tmp_path / "sandboxes")
    for place in ("one", "other"):
        again.add(str(tmp_path / place / "same"), frozenset())
    assert [*again.packs] == before
    assert again.add(str(tmp_path / "template"), frozenset()).name != "template"
    assert again.add(str(tmp_path / "one" / "file.py"), frozenset()).name == "file"
    assert again.add(str(tmp_path / "one" / "file"), frozenset()).name != "file"


def test_no_failure_of_ours_ends_the_start_of_comfyui(tmp_path: Path) -> None:
    """A pack that cannot be loaded for reasons that nobody thought of is left out."""
    loading = PackLoader(Policy("strict"), Supervisor(Policy("strict"), tmp_path))

    async def original(module_path: str, ignore: Any = (), module_parent: str = "custom_nodes"):
        raise AssertionError("it must not be loaded in ComfyUI")

    def broken(*_: Any) -> Any:
        raise RuntimeError("nobody thought of this")

    loading.supervisor.add = broken  # type: ignore[method-assign]
    loading.web.begin = lambda: None  # type: ignore[method-assign]
    assert asyncio.run(loading.wrap(original)(str(tmp_path / "pack"))) is False
