"""A ComfyUI into which sandboxes do not fit: what must not run in its process is not loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from zimage_comfyui.cli.host import Host
from zimage_comfyui.tests.integration.test_other_hosts import doctored
from zimage_comfyui.tests.integration.test_sandbox import log, server_with

pytestmark = pytest.mark.slow

BLOCKED = '[packs.looks]\nrun = "blocked"\n'


@pytest.mark.parametrize(
    ("mode", "policy", "loaded"),
    [("strict", "", False), ("auto", BLOCKED, False), ("auto", "", True)],
)
def test_no_pack_slips_into_a_host_of_another_version(
    tmp_path: Path, host: Host, pack_dir: Path, mode: str, policy: str, loaded: bool
) -> None:
    """Its loader takes other parameters: that is told, in ``/health`` too, and where some pack is
    to be kept out no other pack is loaded at all; our own is."""
    other = doctored(host, tmp_path / "ComfyUI", {"nodes": ["load_custom_node"]})
    server = server_with(tmp_path, other, pack_dir, mode, ("outside",))
    (tmp_path / "server" / "user" / "__zimage" / "sandbox.toml").write_text(policy)
    with server:
        known = server.client.get("/object_info")
        said = log(server)
        (finding,) = server.client.get("/health")["sandboxes"]["findings"]
    assert ("OutsideEcho" in known) == loaded
    assert "ZImageLoader" in known
    assert "ZI-PATCH-SEAM" in said
    assert finding["code"] == "ZI-SANDBOX-UNFIT"
    assert ("run in ComfyUI's process" in finding["en"]) == loaded
    assert ("no other pack is loaded" in said) != loaded
