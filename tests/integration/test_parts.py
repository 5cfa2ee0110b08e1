"""Each part of the hardening goes on and comes off a real ComfyUI; the others do not need it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.server import Server, write_paths
from zimage_comfyui.patches.base.registry import NAMES
from zimage_comfyui.patches.requests.pipeline import INNER, OUTER
from zimage_comfyui.tests.integration.troubled import health

pytestmark = pytest.mark.slow

ELSEWHERE = {"origins", "malformed", "history", "fuse", "interrupt"}
"""Parts that are middlewares, which stay and let everything through."""
PACK = Path(__file__).parents[1] / "fakes" / "parts_pack.py"


@pytest.fixture(scope="module")
def found(host: Host, pack_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of it in one ComfyUI, which afterwards serves as a bare one does."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "packs").mkdir()
    shutil.copy(PACK, folder / "packs" / "parts.py")
    write_paths(folder / "paths.yaml", {"custom_nodes": str(folder / "packs")})
    env = {
        **os.environ, "ZIMAGE_OFF": ",".join(NAMES), "ZIMAGE_TEST_PACK": str(pack_dir),
        "ZIMAGE_TEST_FOUND": str(folder / "found.json"),
    }  # fmt: skip
    arguments = ("--extra-model-paths-config", str(folder / "paths.yaml"))
    with Server(host, pack_dir, folder / "server", arguments, env=env) as server:
        assert {part["status"] for part in health(server)["patches"].values()} == {"off"}
        picture = {"width": 16, "height": 16, "batch_size": 1, "color": 0}
        assert server.client.run({
            "1": {"class_type": "EmptyImage", "inputs": picture},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        }).succeeded  # fmt: skip
    return json.loads((folder / "found.json").read_text(encoding="utf-8"))


def test_the_middlewares_of_the_host_are_between_ours(found: dict[str, Any]) -> None:
    """Places come in the order of the pipeline; the host's judgement of origins stays inside."""
    names = found["middlewares"]  # of two copies of the pack; the second one is at both ends
    assert names[: len(OUTER)] == list(OUTER)
    assert names[-len(INNER) :] == list(INNER)
    assert "host" in names[len(OUTER) : -len(INNER)]


@pytest.mark.parametrize("name", NAMES)
def test_a_part_is_applied_once_and_undone(found: dict[str, Any], name: str) -> None:
    """Applying twice is applying once; afterwards the host's own functions are back."""
    changes = name not in ELSEWHERE
    assert found[f"one {name}"] == {
        "active": True, "changes": changes, "again": True, "as before": True
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_others_work_without_a_part(found: dict[str, Any], name: str) -> None:
    """They are applied, a prompt runs through them, and all of them come off again."""
    others = dict.fromkeys(NAMES, "active") | {name: "off"}
    assert found[f"without {name}"] == {
        "statuses": others, "pictures": 1, "completed": True, "as before": True
    }  # fmt: skip
