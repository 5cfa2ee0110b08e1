"""Packs that say impossible things of their nodes, in a real ComfyUI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.server import Server
from zimage_comfyui.tests.integration.test_sandbox import log, node, outcome, server_with


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, host: Host, pack_dir: Path) -> Iterator[Server]:
    """With two of them, and a sound one."""
    folder = tmp_path_factory.mktemp("odd")
    with server_with(folder, host, pack_dir, "strict", ("odd", "wordy", "outside")) as found:
        yield found


def test_nodes_that_cannot_be_are_left_out_one_by_one(odd) -> None:
    """Each with a code; the sound one is there, and ``/object_info`` answers."""
    known = odd.client.get("/object_info")
    assert "OddSound" in known
    assert "OutsideEcho" in known
    found = odd.client.get("/health")["sandboxes"]["findings"]
    said = [one["en"] for one in found if one["code"] == "ZI-SANDBOX-NODE"]
    assert len(said) == 1
    for name in (
        "OddNoInputs", "OddRaisesInputs", "OddInputsAreNumbers", "OddNoFunction",
        "OddFunctionIsANumber", "OddTypesAreObjects", "OddNoClass", "Odd\\x0aLines",
    ):  # fmt: skip
        assert name not in known, name
        assert f"{name} (" in said[0], (name, said)
    assert not [name for name in known if name.startswith(("Odd\n", "WW", "Wordy"))]
    absurd = [one["pack"] for one in found if one["code"] == "ZI-SANDBOX-ABSURD"]
    assert absurd == ["wordy"]
    assert "\n[core] ERROR forged" not in log(odd)


@pytest.mark.parametrize("what", ["number", "nothing", "few", "strange", "text"])
def test_a_result_of_the_wrong_kind_ends_as_in_the_host(odd, what: str) -> None:
    """With an error or without, but it ends, and the next prompt is as good as any."""
    assert outcome(odd.client, {"1": node("OddSound", what=what)})["status"]["status_str"]
    entry = outcome(odd.client, {"1": node("OutsideEcho", value=5)})
    assert entry["outputs"]["1"]["value"] == [5]
